package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func TestTheGoOAuthClientSignsInAndCalls(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.auth(t, newUpstream(t).url, "audience https://a.example https://b.example")
	for name, style := range map[string]oauth2.AuthStyle{"header": oauth2.AuthStyleInHeader, "body": oauth2.AuthStyleInParams, "detected": oauth2.AuthStyleAutoDetect} {
		t.Run(name, func(t *testing.T) {
			config := clientcredentials.Config{
				ClientID: h.full.clientID, ClientSecret: h.full.secret, TokenURL: "http://" + g.address + "/oauth2/v1/token", AuthStyle: style,
				EndpointParams: url.Values{"audience": {"https://b.example"}},
			}
			token, err := config.Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, "Bearer", token.Type())
			require.WithinDuration(t, time.Now().Add(time.Hour), token.Expiry, time.Minute)
			require.Equal(t, "https://b.example", segment(t, token.AccessToken, 1)["aud"])
			res, err := config.Client(t.Context()).Get("http://" + g.address + h.applications())
			require.NoError(t, err)
			defer func() { _ = res.Body.Close() }()
			require.Equal(t, http.StatusOK, res.StatusCode)
			var seen echoed
			require.NoError(t, json.NewDecoder(res.Body).Decode(&seen))
			require.Equal(t, h.full.clientID, seen.Headers.Get("Keyreeve-Client-Id"))
		})
	}
	for _, c := range []struct {
		secret   string
		audience string
		status   int
		code     string
	}{
		{"not-the-secret", "https://a.example", 401, "invalid_client"},
		{h.readonly.secret, "https://elsewhere.example", 400, "invalid_target"},
	} {
		config := clientcredentials.Config{
			ClientID: h.readonly.clientID, ClientSecret: c.secret, TokenURL: "http://" + g.address + "/oauth2/v1/token",
			AuthStyle: oauth2.AuthStyleInHeader, EndpointParams: url.Values{"audience": {c.audience}},
		}
		_, err := config.Token(context.WithoutCancel(t.Context()))
		var failed *oauth2.RetrieveError
		require.True(t, errors.As(err, &failed), "%v", err)
		require.Equal(t, []any{c.status, c.code}, []any{failed.Response.StatusCode, failed.ErrorCode})
		require.NotEmpty(t, failed.ErrorDescription)
	}
}

var tapCount = regexp.MustCompile(`(?m)^# (tests|pass|fail|cancelled|skipped|todo) (\d+)$`)

// The npm clients are strict where others are lenient; scripts/test-deps
// installs them.
func TestTheJavaScriptOAuthClientsFindNothingWrong(t *testing.T) {
	t.Parallel()
	const dir = "../clients/node"
	_, err := os.Stat(dir + "/node_modules")
	require.NoError(t, err, "run scripts/test-deps, which installs the npm packages of test/clients/node")
	for _, algorithm := range []string{"EdDSA", "ES256", "RS256"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			g := h.auth(t, newUpstream(t).url, "audience https://a.example https://b.example\nalgorithm "+algorithm)
			given, err := json.Marshal(map[string]string{
				"issuer": "http://" + g.address, "client_id": h.full.clientID, "client_secret": h.full.secret, "algorithm": algorithm,
				"default_audience": "https://a.example", "audience": "https://b.example", "resource": "http://" + g.address + h.applications(),
			})
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), "node", "--test", "--test-reporter=tap", "oauth4webapi.test.mjs", "openid-client.test.mjs", "simple-oauth2.test.mjs")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "KEYREEVE_GIVEN="+string(given))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			counts := map[string]int{}
			for _, m := range tapCount.FindAllStringSubmatch(string(out), -1) {
				counts[m[1]], _ = strconv.Atoi(m[2])
			}
			require.GreaterOrEqual(t, counts["pass"], 15, string(out))
			require.Zero(t, counts["fail"]+counts["skipped"]+counts["cancelled"]+counts["todo"], string(out))
		})
	}
}

// zpaClient is a client of the modelled product, written from what is known of
// its public SDK alone: it signs in with a form, reads expires_in as a string and
// the end of the session from the token itself, signs in anew ten seconds before
// it, and takes no answer for an error that is not application/json.
type zpaClient struct {
	base       string
	id, secret string
	now        func() time.Time
	token      string
	expires    time.Time
	signIns    int
}

func (c *zpaClient) signIn(t *testing.T) error {
	t.Helper()
	c.signIns++
	res, err := http.PostForm(c.base+"/signin", url.Values{"client_id": {c.id}, "client_secret": {c.secret}})
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	require.Contains(t, res.Header.Get("Content-Type"), "application/json")
	if res.StatusCode != http.StatusOK {
		require.Contains(t, []int{401, 403}, res.StatusCode, "another status would be repeated a hundred times")
		require.Empty(t, res.Header.Get("Retry-After"), "it would wait that long")
		var failed struct{ ID, Reason string }
		require.NoError(t, json.NewDecoder(res.Body).Decode(&failed))
		return errors.New(failed.ID + ": " + failed.Reason)
	}
	var body struct {
		TokenType   string `json:"token_type"`
		AccessToken string `json:"access_token"`
		ExpiresIn   string `json:"expires_in"` // a number does not decode
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&body))
	seconds, err := strconv.Atoi(body.ExpiresIn)
	require.NoError(t, err)
	require.Equal(t, "Bearer", body.TokenType)
	c.token = body.AccessToken
	c.expires = time.Unix(int64(segment(t, c.token, 1)["exp"].(float64)), 0)
	require.InDelta(t, seconds, time.Until(c.expires).Seconds(), 60)
	return nil
}

// call signs in when there is no session or ten seconds are left of it.
func (c *zpaClient) call(t *testing.T, method, path string) (int, string) {
	t.Helper()
	if c.token == "" || c.now().Add(10*time.Second).After(c.expires) {
		require.NoError(t, c.signIn(t))
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.base+path, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

func TestAClientOfTheModelledProductSignsInRenewsAndSignsOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.auth(t, newUpstream(t).url, "", func(s *site) { s.gate += "\nerror_format zpa" })
	c := &zpaClient{base: "http://" + g.address, id: h.full.clientID, secret: h.full.secret, now: time.Now}
	for range 3 {
		status, _ := c.call(t, "GET", h.applications())
		require.Equal(t, 200, status)
	}
	require.Equal(t, 1, c.signIns, "one session serves all calls")

	first := c.token
	c.now = func() time.Time { return c.expires.Add(-9 * time.Second) }
	status, _ := c.call(t, "GET", h.applications())
	require.Equal(t, 200, status)
	require.Equal(t, 2, c.signIns, "renewed ten seconds before the end")
	require.NotEqual(t, first, c.token)
	c.now = time.Now

	status, _ = c.call(t, "POST", "/signout")
	require.Equal(t, 204, status)
	status, body := c.call(t, "GET", h.applications())
	require.Equal(t, 401, status)
	require.Contains(t, body, "SESSION_NOT_VALID")
	require.NoError(t, c.signIn(t))
	status, _ = c.call(t, "GET", h.applications())
	require.Equal(t, 200, status)

	wrong := &zpaClient{base: c.base, id: h.full.clientID, secret: "not-it", now: time.Now}
	for range 5 { // locked from the third on, and answered alike
		require.EqualError(t, wrong.signIn(t), "access.denied: Access denied")
	}
	require.EqualError(t, c.signIn(t), "access.denied: Access denied")
}
