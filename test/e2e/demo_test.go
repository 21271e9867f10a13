package e2e

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestADemoOnItsOldDirectoryKeepsItsKeysAndPrintsNoSecret(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p, out, err := launchDemo(h.dir, "--listen", freeAddress(), "--admin-listen", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{process: p, house: h, address: strings.TrimPrefix(out.GateURL, "http://"), admin: strings.TrimPrefix(out.AdminURL, "http://")}
	g.endWith(t)
	require.Nil(t, out.LoginURL)
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
		r := h.command(t, append([]string{"demo", "--listen", freeAddress(), "--admin-listen", freeAddress()}, args...)...)
		require.NotZero(t, r.code, args)
		require.NotEmpty(t, r.stderr, args)
		require.Empty(t, r.stdout, args)
	}
}

// curlLine is a line of the demo's output to copy.
var curlLine = regexp.MustCompile(`^curl -u '([^']+)' (?:-X ([A-Z]+) )?'?(http://([^/]+)([^']*))'?$`)

func TestTheLinesThatTheDemoPrintsWork(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dir := h.path("demo")
	p, err := launch(h.dir, "demo", "--dir", dir, "--listen", freeAddress(), "--admin-listen", freeAddress())
	require.NoError(t, err)
	g := &gate{process: p, house: h}
	g.endWith(t)
	var statuses []int
	lists := 0
	for {
		line, err := p.stdout.ReadString('\n')
		require.NoError(t, err, p.stderr.String())
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Ctrl-C") {
			break
		}
		if m := curlLine.FindStringSubmatch(line); m != nil {
			method := m[2]
			if method == "" {
				method = "GET"
			}
			credential := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(m[1]))
			statuses = append(statuses, send(t, m[4], request(method, m[5], credential, "Content-Length: 0")).status)
		}
		if command, found := strings.CutPrefix(line, "keyreeve "); found {
			r := h.command(t, strings.Fields(command)...)
			require.Zero(t, r.code, r.stderr)
			require.Contains(t, r.stdout, "policy-only")
			lists++
		}
	}
	require.Equal(t, []int{200, 403, 200, 200}, statuses, "full reads, readonly does not create, tenant reads its own, operator lists keys")
	require.Equal(t, 1, lists)
}
