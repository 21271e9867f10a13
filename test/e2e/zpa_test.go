package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// zpa is a client of the modelled product on the gate's own URL, signed in.
func (g *gate) zpa(t *testing.T, as key) *zpaKeys {
	t.Helper()
	c := &zpaClient{base: "http://" + g.address, id: as.clientID, secret: as.secret, now: time.Now}
	require.NoError(t, c.signIn(t))
	return &zpaKeys{zpaClient: c, t: t, customer: g.house.customer}
}

func TestAZPAClientManagesKeysOnTheGatesOwnURL(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	c := g.zpa(t, h.operator)

	made := c.create(zpaKey{Name: "Terraform", Enabled: true, TokenExpiryTimeInSec: "600", RoleID: "28"})
	h.secrets = append(h.secrets, made.ClientSecret)
	require.NotEmpty(t, made.ClientSecret)
	require.Equal(t, []string{"Terraform", "600", "28", h.customer}, []string{made.Name, made.TokenExpiryTimeInSec, made.RoleID, made.CustomerID})
	got, _ := c.get(made.ID)
	shown := made
	shown.ClientSecret = ""
	require.Equal(t, shown, got, "shown once")
	found, count := c.list(url.Values{"search": {"name+EQ+Terraform"}})
	require.Equal(t, []any{[]zpaKey{got}, "1"}, []any{found, count})

	// It signs in there, and the gate lets it through.
	k := key{clientID: made.ClientID, secret: made.ClientSecret}
	robot := g.zpa(t, k)
	require.EqualValues(t, 600, segment(t, robot.token, 1)["exp"].(float64)-segment(t, robot.token, 1)["iat"].(float64))
	status, _ := robot.do("GET", "/application", nil, nil, nil)
	require.Equal(t, http.StatusOK, status)
	status, failed := robot.do("GET", "/apiKeys", nil, nil, nil)
	require.Equal(t, []any{403, "permission.denied"}, []any{status, failed.ID}, "API Full Access holds nothing of Keyreeve's own")

	// The client edits what it got; `false` is left out by it.
	got.Name, got.RoleID = "Terraform 2", "role_api_read_only"
	status, failed = c.do("PUT", "/apiKeys/"+got.ID, nil, got, nil)
	require.Equal(t, http.StatusNoContent, status, failed)
	bearer := "Authorization: Bearer " + robot.token
	g.send(t, "POST", h.applications(), bearer).refused(t, 403, "permission_denied") // the new role counts for the running session
	got.Enabled = false
	status, failed = c.do("PUT", "/apiKeys/"+got.ID, nil, got, nil)
	require.Equal(t, http.StatusNoContent, status, failed)
	now, _ := c.get(got.ID)
	require.False(t, now.Enabled)
	require.Equal(t, "Terraform 2", now.Name)
	require.ErrorContains(t, robot.signIn(t), "access.denied")
	g.get(t, h.applications(), bearer).refused(t, 401, "client_inactive")

	status, _ = c.do("DELETE", "/apiKeys/"+got.ID, nil, nil, nil)
	require.Equal(t, http.StatusNoContent, status)
	status, failed = c.do("GET", "/apiKeys/"+got.ID, nil, nil, nil)
	require.Equal(t, []any{404, "resource.not.found"}, []any{status, failed.ID})
}

func TestAZPAClientReadsPagesAndIsToldItsErrors(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	c := g.zpa(t, h.operator)
	for i := range 7 {
		h.secrets = append(h.secrets, c.create(zpaKey{Name: fmt.Sprintf("n%d", i), RoleID: "28"}).ClientSecret)
	}
	var names []string
	keys, count := c.list(url.Values{"pagesize": {"3"}})
	for _, k := range keys {
		names = append(names, k.Name)
	}
	require.Equal(t, "12", count)
	require.Equal(t, []string{"application-only", "full", "n0", "n1", "n2", "n3", "n4", "n5", "n6", "operator", "policy-only", "readonly"}, names)
	keys, _ = c.list(url.Values{"microtenantId": {h.microtenant}, "pageSize": {"500"}})
	require.Len(t, keys, 1)
	require.Equal(t, []string{"tenant", h.microtenant}, []string{keys[0].Name, keys[0].MicrotenantID})

	for _, bad := range []struct {
		method, path string
		query        url.Values
		body         any
		status       int
		id, word     string
	}{
		{"POST", "/apiKeys", nil, map[string]any{"name": "x", "roleId": "28", "tokenExpiryTimeInSec": "soon"}, 400, "validation.failed", "tokenExpiryTimeInSec"},
		{"POST", "/apiKeys", nil, map[string]any{"name": "x", "roleId": "28", "enabled": "yes"}, 400, "validation.failed", "enabled"},
		{"POST", "/apiKeys", nil, map[string]any{"name": "x", "roleId": "28", "customer_id": "other"}, 400, "unknown.field", "customer_id"},
		{"POST", "/apiKeys", nil, map[string]any{"name": "n1", "roleId": "28"}, 409, "name.taken", "name"},
		{"GET", "/apiKeys", url.Values{"pagesize": {"501"}}, nil, 400, "validation.failed", "pagesize"},
		{"GET", "/apiKeys", url.Values{"page": {"0"}}, nil, 400, "validation.failed", "page"},
		{"GET", "/apiKeys", url.Values{"search": {"name+NE+x"}}, nil, 400, "validation.failed", "search"},
		{"GET", "/apiKeys", url.Values{"microtenantId": {"nowhere"}}, nil, 403, "tenant.mismatch", "microtenant"},
		{"PATCH", "/apiKeys", nil, nil, 405, "method.not.allowed", "PATCH"},
		{"GET", "/apiKeys/key_none", nil, nil, 404, "resource.not.found", "key"},
	} {
		status, failed := c.do(bad.method, bad.path, bad.query, bad.body, nil)
		require.Equal(t, []any{bad.status, bad.id}, []any{status, failed.ID}, failed.Reason)
		require.Contains(t, failed.Reason, bad.word)
	}
	foreign := *c
	foreign.customer = "nobody"
	status, failed := foreign.do("GET", "/apiKeys", nil, nil, nil)
	require.Equal(t, []any{404, "resource.not.found"}, []any{status, failed.ID})
	stale := zpaKeys{zpaClient: &zpaClient{base: c.base, token: c.token + "x"}, t: t, customer: c.customer}
	status, failed = stale.do("GET", "/apiKeys", nil, nil, nil)
	require.Equal(t, []any{401, "SESSION_NOT_VALID"}, []any{status, failed.ID}, "makes the client sign in again")
}

func TestPUTOfAZPAClientKeepsWhatWasSetElsewhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	c := g.zpa(t, h.operator)
	made := g.api(t, "POST", "/v1/keys", `{"name":"rich","role_id":"role_api_read_only","customer_id":"`+h.customer+`","description":"kept",
		"allowed_cidrs":["192.0.2.0/24"],"expires_at":"2090-01-02T03:04:05Z","labels":{"env":"prod"}}`)
	require.Equal(t, 201, made.status, made.body)
	var id struct {
		ID     string `json:"id"`
		Secret string `json:"client_secret"`
	}
	require.NoError(t, json.Unmarshal([]byte(made.body), &id))
	h.secrets = append(h.secrets, id.Secret)
	k, _ := c.get(id.ID)
	k.Name, k.Enabled, k.TokenExpiryTimeInSec = "rich 2", true, "120"
	status, failed := c.do("PUT", "/apiKeys/"+id.ID, nil, k, nil)
	require.Equal(t, http.StatusNoContent, status, failed)
	var now map[string]any
	require.NoError(t, json.Unmarshal([]byte(g.api(t, "GET", "/v1/keys/"+id.ID, "").body), &now))
	require.Equal(t, []any{"rich 2", "kept", []any{"192.0.2.0/24"}, "2090-01-02T03:04:05Z", map[string]any{"env": "prod"}, 120.0, "role_api_read_only"},
		[]any{now["name"], now["description"], now["allowed_cidrs"], now["expires_at"], now["labels"], now["session_validity_seconds"], now["role_id"]})
}

func TestTheGateAnswersOddSpellingsOfTheFacesPaths(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	keys := "/mgmtconfig/v1/admin/customers/" + h.customer + "/apiKeys"
	for _, path := range []string{
		"/" + keys, keys + "//", keys + "/.", keys + "/..", keys + "/../apiKeys", keys + "/%2e%2e", keys + "%2Fx", keys + "/a%2fb", keys + "/a%5cb",
		keys + ";x", keys + "/a;b", keys + "/a%00", keys + "/a%252Fb", "/mgmtconfig/v1/admin/customers//apiKeys",
	} {
		g.get(t, path, h.operator.basic()).refused(t, 400, "ambiguous_path")
	}
	for _, path := range []string{keys + "/", keys + "/a/b", strings.Replace(keys, "apiKeys", "apikeys", 1), strings.Replace(keys, "apiKeys", "api%4Beys", 1)} {
		g.get(t, path, h.operator.basic()).refused(t, 403, "no_route")
	}
	g.get(t, "/v1/keys", h.operator.basic()).refused(t, 403, "no_route") // the admin API is off on this site
	a := g.send(t, "PATCH", keys, h.operator.basic())
	require.Equal(t, []any{405, "GET, HEAD, POST"}, []any{a.status, a.header.Get("Allow")})
	// A wrong secret counts here as everywhere, and the answer is the sign-in's own.
	for range 3 {
		a = g.get(t, keys, h.readonly.wrong())
		require.Equal(t, 401, a.status)
		require.Contains(t, a.body, `"id":"access.denied"`)
	}
	g.isRefused(t, h.readonly)
}

func TestWithTheFaceOffItsPathsAreTheUpstreams(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.auth(t, newUpstream(t).url, "")
	seen := upstreamSaw(t, g.get(t, "/mgmtconfig/v1/admin/customers/"+h.customer+"/apiKeys", h.full.basic()))
	require.Equal(t, h.full.clientID, seen.Headers.Get("Keyreeve-Client-Id"))
}

func TestTheExamplesOfTheZPAPageDoWhatThePageSays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	script, want := shell(t, "../../docs/zpa.md")
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "GATE=http://"+g.address, "CLIENT_ID="+h.operator.clientID, "CLIENT_SECRET="+h.operator.secret, "CUSTOMER="+h.customer)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	require.NoError(t, cmd.Run(), "%s\n%s", &out, &complaints)
	require.Equal(t, want, out.String())
}
