package e2e

import (
	"encoding/base64"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

func TestADemoOnItsOldDirectoryKeepsItsKeysAndPrintsNoSecret(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p, out, err := launchDemo(h.dir, "--listen", proctest.FreeAddress(), "--admin-listen", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{Process: p, house: h, address: strings.TrimPrefix(out.GateURL, "http://"), admin: strings.TrimPrefix(out.AdminURL, "http://")}
	g.endWith(t)
	require.NotNil(t, out.LoginURL)
	require.Regexp(t, "^"+regexp.QuoteMeta(out.AdminURL)+"/keyreeve/login/[A-Z2-7]{52}$", *out.LoginURL)
	require.Equal(t, []string{h.customer, h.microtenant}, []string{out.CustomerID, out.MicrotenantID})
	require.Len(t, out.Keys, 6)
	for i, k := range h.keys() {
		require.Equal(t, []string{k.name, k.clientID, k.role}, []string{out.Keys[i].Name, out.Keys[i].ClientID, out.Keys[i].Role})
		require.Nil(t, out.Keys[i].Secret, "secrets are shown once")
	}
	g.works(t, h.full)
	require.Equal(t, 200, g.api(t, "GET", "/v1/keys", "").status)
}

func TestTheDemosArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	file := h.write(t, "file", "")
	for _, args := range [][]string{
		{"-o", "xml"}, {"--listen", "nonsense"}, {"--listen", "127.0.0.1:99999"}, {"--admin-listen", ":::"}, {"--dir", file}, {"--dir", file + "/sub"}, {"surplus"}, {"--unknown"},
	} {
		r := h.command(t, append([]string{"demo", "--listen", proctest.FreeAddress(), "--admin-listen", proctest.FreeAddress()}, args...)...)
		require.NotZero(t, r.code, args)
		require.NotEmpty(t, r.stderr, args)
		require.Empty(t, r.stdout, args)
	}
}

func TestTheDemoSharesNoPortAndKeepsTheFilesOfItsUser(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const mine = "version: 1 # mine\n"
	own := h.write(t, "policy.yaml", mine)
	_, port, _ := net.SplitHostPort(proctest.FreeAddress())
	p, out, err := launchDemo(h.dir, "--listen", ":"+port, "--admin-listen", ":0")
	require.NoError(t, err)
	g := &gate{Process: p, house: h, address: strings.TrimPrefix(out.GateURL, "http://"), admin: strings.TrimPrefix(out.AdminURL, "http://")}
	g.endWith(t)
	require.Equal(t, "127.0.0.1:"+port, g.address, "an address that can be called")
	require.Regexp(t, `^127\.0\.0\.1:[1-9]`, g.admin)
	g.works(t, h.full)
	require.Equal(t, 200, g.api(t, "GET", "/v1/keys", "").status)
	left, err := os.ReadFile(own)
	require.NoError(t, err)
	require.Equal(t, mine, string(left))

	for flag, other := range map[string]string{"--listen": "--admin-listen", "--admin-listen": "--listen"} {
		r := h.command(t, "demo", "--dir", h.path("other"), flag, g.address, other, "127.0.0.1:0")
		require.Equal(t, 1, r.code)
		require.Contains(t, r.stderr, flag+": ")
		require.Contains(t, r.stderr, "already in use")
		require.Empty(t, r.stdout)
	}
}

// curlLine is a line of the demo's output to copy.
var curlLine = regexp.MustCompile(`^curl -u '([^']+)' (?:-X ([A-Z]+) )?(?:-d (\S+) )?'?(http://([^/]+)([^']*))'?$`)

func TestTheLinesThatTheDemoPrintsWork(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dir := h.path("demo")
	p, err := launch(h.dir, "demo", "--dir", dir, "--listen", proctest.FreeAddress(), "--admin-listen", proctest.FreeAddress())
	require.NoError(t, err)
	g := &gate{Process: p, house: h}
	g.endWith(t)
	var statuses []int
	lists := 0
	for {
		line, err := p.Stdout.ReadString('\n')
		require.NoError(t, err, p.Said())
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Ctrl-C") {
			break
		}
		if m := curlLine.FindStringSubmatch(line); m != nil {
			method := m[2]
			if method == "" {
				method = "GET"
			}
			lines := []string{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(m[1])), "Content-Length: " + itoa(len(m[3]))}
			if m[3] != "" {
				method, lines = "POST", append(lines, "Content-Type: application/x-www-form-urlencoded")
			}
			statuses = append(statuses, send(t, m[5], request(method, m[6], lines...)+m[3]).status)
		}
		if command, found := strings.CutPrefix(line, "keyreeve "); found {
			r := h.command(t, strings.Fields(command)...)
			require.Zero(t, r.code, r.stderr)
			require.Contains(t, r.stdout, "policy-only")
			lists++
		}
	}
	require.Equal(t, []int{200, 403, 200, 200, 200}, statuses, "full reads, readonly does not create, tenant reads its own, full signs in, operator lists keys")
	require.Equal(t, 1, lists)
}
