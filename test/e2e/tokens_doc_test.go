package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fences are the fenced blocks of a page, in order, with the language of each.
func fences(t *testing.T, page string) (found [][2]string) {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for i, part := range strings.Split(string(text), "\n```") {
		if i%2 == 1 {
			language, body, _ := strings.Cut(part, "\n")
			found = append(found, [2]string{language, body + "\n"})
		}
	}
	return found
}

// shell is the commands of a page as one script, and what the page says it
// prints: a block of text behind a command is that one's output.
func shell(t *testing.T, page string) (script, want string) {
	t.Helper()
	const mark = "--- next"
	var printed []string
	script = "set -euo pipefail\n"
	for _, f := range fences(t, page) {
		switch f[0] {
		case "sh":
			script += f[1] + "echo '" + mark + "'\n"
			printed = append(printed, "")
		case "text":
			require.NotEmpty(t, printed, "text before any command")
			printed[len(printed)-1] = f[1]
		}
	}
	require.GreaterOrEqual(t, len(printed), 5, "the examples have gone")
	return script, strings.Join(append(printed, ""), mark+"\n")
}

// The commands of docs/tokens.md are run in one shell, in their order; a block of
// text behind one is what it prints.
func TestTheExamplesOfTheTokensPageDoWhatThePageSays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.auth(t, up.url, "")
	script, want := shell(t, "../../docs/tokens.md")
	var js string
	for _, f := range fences(t, "../../docs/tokens.md") {
		if f[0] == "js" {
			js = f[1]
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "GATE=http://"+g.address, "CLIENT_ID="+h.full.clientID, "CLIENT_SECRET="+h.full.secret, "CUSTOMER="+h.customer)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	require.NoError(t, cmd.Run(), "%s\n%s", &out, &complaints)
	require.Equal(t, want, out.String())

	upstreamSaw(t, g.get(t, h.applications()+"?page=1", marked("assertion"), h.full.basic()))
	h.verifiesLikeThePage(t, g, js, up.received("assertion")[0])
}

// verifiesLikeThePage runs the page's upstream code on a request that an upstream
// received, and on the same for another path.
func (h *house) verifiesLikeThePage(t *testing.T, g *gate, js string, seen echoed) {
	t.Helper()
	packages, err := filepath.Abs("../clients/node/node_modules")
	require.NoError(t, err)
	require.DirExists(t, packages, "run scripts/test-deps, which installs them")
	require.NoError(t, os.Symlink(packages, h.path("node_modules")))
	h.write(t, "upstream.mjs", "import { webcrypto } from 'node:crypto'\nglobalThis.crypto ??= webcrypto\n"+js)
	received, err := json.Marshal(map[string]any{
		"method": seen.Method, "url": seen.Path + "?" + seen.RawQuery,
		"headers": map[string]string{"keyreeve-assertion": seen.Headers.Get("Keyreeve-Assertion")},
	})
	require.NoError(t, err)
	h.write(t, "run.mjs", fmt.Sprintf(`import { caller } from './upstream.mjs'
const request = %s
console.log(JSON.stringify(await caller(request)))
for (const other of [{ url: request.url.replace('/application', '/server') }, { method: 'DELETE' }]) {
  await caller({ ...request, ...other }).then(() => console.log('taken'), (err) => console.log(err.message))
}
`, received))
	cmd := exec.CommandContext(t.Context(), "node", "run.mjs")
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "GATE=http://"+g.address)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, fmt.Sprintf(`{"client":%q,"role":"role_api_full_access","customer":%q}`, h.full.clientID, h.customer)+
		strings.Repeat("\nthis assertion is for another request", 2)+"\n", string(out))
}
