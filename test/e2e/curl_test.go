package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// curl runs curl, which reads its further arguments, with the secrets in them, from its
// standard input, as one does whose process list others can see. It returns the body, and
// what is written out after it.
func curl(t *testing.T, config string, args ...string) (body, written string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "curl", append([]string{"-q", "-sS", "--max-time", "30", "-w", "\n%{http_code} %{num_connects}", "-K", "-"}, args...)...)
	cmd.Stdin = strings.NewReader(config)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	at := strings.LastIndexByte(out.String(), '\n')
	require.GreaterOrEqual(t, at, 0, "curl wrote nothing")
	return out.String()[:at], out.String()[at+1:], cmd.ProcessState.ExitCode()
}

func TestCurlSignsInCallsAndSeesWhatIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.auth(t, up.url, "")
	gate := "http://" + g.address
	own := func(body string) {
		t.Helper()
		var seen echoed
		require.NoError(t, json.Unmarshal([]byte(body), &seen))
		require.Equal(t, []string{h.full.clientID}, seen.Headers["Keyreeve-Client-Id"])
		require.NotContains(t, seen.Headers, "Authorization")
	}

	body, written, code := curl(t, "user = \""+h.full.clientID+":"+h.full.secret+"\"", gate+h.applications())
	require.Equal(t, []any{"200 1", 0}, []any{written, code})
	own(body)

	body, written, code = curl(t, "user = \""+h.full.clientID+":"+h.full.secret+"\"", "-d", "grant_type=client_credentials", gate+"/oauth2/v1/token")
	require.Equal(t, []any{"200 1", 0}, []any{written, code})
	var token struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &token))
	bearer := "oauth2-bearer = \"" + token.AccessToken + "\""
	body, written, code = curl(t, bearer, gate+h.applications())
	require.Equal(t, []any{"200 1", 0}, []any{written, code})
	own(body)

	// Let curl choose by the challenges: it asks without a credential first.
	before := up.total()
	body, written, code = curl(t, "user = \""+h.full.clientID+":"+h.full.secret+"\"", "--anyauth", gate+h.applications())
	require.Equal(t, []any{"200 1", 0}, []any{written, code}, "on the connection of the challenge")
	own(body)
	require.Equal(t, before+1, up.total())

	// What is refused fails the command, and the body says why.
	before = up.total()
	for _, c := range []struct{ config, status, code string }{
		{"", "401 1", "credentials_required"},
		{"user = \"" + h.readonly.clientID + ":not-the-secret\"", "401 1", "invalid_client"},
		{"oauth2-bearer = \"" + token.AccessToken + "x\"", "401 1", "invalid_token"},
		{bearer + "\nuser = \"" + h.full.clientID + ":" + h.full.secret + "\"\nheader = \"Authorization: Bearer x\"", "401 1", "invalid_token"},
	} {
		body, written, code = curl(t, c.config, "--fail-with-body", gate+h.applications())
		var problem struct{ Code string }
		require.NoError(t, json.Unmarshal([]byte(body), &problem))
		require.Equal(t, []any{c.status, c.code, 22}, []any{written, problem.Code, code})
	}
	require.Equal(t, 1, g.lock(t, h.readonly).FailedAttempts)

	_, written, code = curl(t, bearer, "-X", "POST", "-d", "", gate+"/signout")
	require.Equal(t, []any{"204 1", 0}, []any{written, code})
	_, written, _ = curl(t, bearer, gate+h.applications())
	require.Equal(t, "401 1", written)
	require.Equal(t, before, up.total(), "nothing that is refused reaches the upstream")
}
