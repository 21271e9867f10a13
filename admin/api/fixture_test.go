package api

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// world is a running admin API over a real store, with two customers and a
// signed-in key for each kind of administrator.
type world struct {
	t     *testing.T
	path  string
	store *sqlite.Store
	ring  *credential.Keyring
	clock *storetest.Clock
	svc   *lifecycle.Service
	api   *API
	url   string

	adminRole, viewerRole string
	operator, admin       lifecycle.CreatedKey // customer "acme"
	viewer, bystander     lifecycle.CreatedKey // acme; may read keys; may do nothing here
	tenant                lifecycle.CreatedKey // acme, microtenant "emea", admin there
	foreign               lifecycle.CreatedKey // customer "umbrella", admin there
}

var local = lifecycle.Local("test", false)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: storetest.NewClock(), path: filepath.Join(t.TempDir(), "keys.db")}
	ring, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	w.ring = ring
	w.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: w.path, Clock: w.clock})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.store.Close()) })
	w.store.SealAudit(ring)
	w.svc = lifecycle.New(lifecycle.Config{Store: w.store, Keyring: ring})
	w.api = New(w.svc, w.authenticate)
	server := httptest.NewServer(w.api)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.seed()
	return w
}

func (w *world) seed() {
	t, ctx := w.t, w.t.Context()
	for _, id := range []string{"acme", "umbrella"} {
		_, _, err := w.svc.CreateCustomer(ctx, local, lifecycle.NewCustomer{ID: id, Name: id})
		require.NoError(t, err)
	}
	for _, id := range []string{"emea", "apac"} {
		_, _, err := w.svc.CreateMicrotenant(ctx, local, lifecycle.NewMicrotenant{ID: id, CustomerID: "acme", Name: id})
		require.NoError(t, err)
	}
	role := func(name string, p policy.Permissions) string {
		r, _, err := w.svc.CreateRole(ctx, local, lifecycle.NewRole{Name: name, CustomerID: lifecycle.Null[string](), Permissions: p})
		require.NoError(t, err)
		return r.ID
	}
	w.adminRole = role("Admin", policy.Permissions{"*": policy.View, "keyreeve/keys": policy.Full, "keyreeve/locks": policy.Full, "keyreeve/roles": policy.View})
	w.viewerRole = role("Viewer", policy.Permissions{"keyreeve/keys": policy.View})
	w.operator = w.key(lifecycle.NewKey{Name: "operator", RoleID: keystore.RoleOperator, CustomerID: "acme"})
	w.admin = w.key(lifecycle.NewKey{Name: "admin", RoleID: w.adminRole, CustomerID: "acme"})
	w.viewer = w.key(lifecycle.NewKey{Name: "viewer", RoleID: w.viewerRole, CustomerID: "acme"})
	w.bystander = w.key(lifecycle.NewKey{Name: "bystander", RoleID: keystore.RoleFullAccess, CustomerID: "acme"})
	w.tenant = w.key(lifecycle.NewKey{Name: "tenant", RoleID: w.adminRole, CustomerID: "acme", MicrotenantID: lifecycle.Some("emea")})
	w.foreign = w.key(lifecycle.NewKey{Name: "foreign", RoleID: w.adminRole, CustomerID: "umbrella"})
}

func (w *world) key(in lifecycle.NewKey) lifecycle.CreatedKey {
	w.t.Helper()
	k, _, err := w.svc.CreateKey(w.t.Context(), local, in)
	require.NoError(w.t, err)
	return k
}

// authenticate proves a Basic credential against the stored verifier, as the
// gate does.
func (w *world) authenticate(r *http.Request) (lifecycle.Actor, *AuthProblem) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		return lifecycle.Actor{}, &AuthProblem{Status: http.StatusUnauthorized, Code: "credentials_required"}
	}
	denied := &AuthProblem{Status: http.StatusUnauthorized, Code: "invalid_client"}
	k, err := w.store.KeyByClientID(r.Context(), id)
	if err != nil || !k.Enabled {
		return lifecycle.Actor{}, denied
	}
	verifier, ok := w.ring.Verifier(k.Secrets[0].MasterKeyID, w.ring.Digest(secret))
	if !ok || !credential.Equal(verifier, k.Secrets[0].Verifier) {
		return lifecycle.Actor{}, denied
	}
	var role *keystore.Role
	err = w.store.View(r.Context(), func(s keystore.Reader) (err error) {
		role, err = s.Role(r.Context(), k.RoleID)
		return err
	})
	if err != nil {
		return lifecycle.Actor{}, denied
	}
	return lifecycle.ForKey(k, role, "192.0.2.1", ""), nil
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// do sends one request; headers are given as name, value pairs. A body is JSON
// unless a Content-Type says otherwise.
func (w *world) do(as lifecycle.CreatedKey, method, path, body string, headers ...string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	if as.ClientID != "" {
		req.SetBasicAuth(as.ClientID, as.ClientSecret)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(w.t, err)
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	require.NoError(w.t, err)
	a := answer{status: res.StatusCode, header: res.Header, raw: string(data)}
	if len(bytes.TrimSpace(data)) > 0 {
		require.NoError(w.t, json.Unmarshal(data, &a.body), "body of %s %s: %s", method, path, data)
	}
	require.Equal(w.t, "no-store", res.Header.Get("Cache-Control"), "every answer")
	if a.status >= 400 && method != http.MethodHead {
		w.requireProblem(a)
	}
	return a
}

// requireProblem holds an error answer to RFC 9457 and to Keyreeve's members.
func (w *world) requireProblem(a answer) {
	w.t.Helper()
	require.Equal(w.t, "application/problem+json", a.header.Get("Content-Type"), a.raw)
	require.Equal(w.t, "about:blank", a.body["type"], a.raw)
	require.Equal(w.t, http.StatusText(a.status), a.body["title"], a.raw)
	require.EqualValues(w.t, a.status, a.body["status"], a.raw)
	require.NotEmpty(w.t, a.body["code"], a.raw)
	require.NotEmpty(w.t, a.body["request_id"], a.raw)
}

// fields are the names in errors[], with their codes.
func (a answer) fields() map[string]string {
	out := map[string]string{}
	list, _ := a.body["errors"].([]any)
	for _, e := range list {
		m := e.(map[string]any)
		out[m["field"].(string)] = m["code"].(string)
	}
	return out
}

func (a answer) code() string {
	code, _ := a.body["code"].(string)
	return code
}

// names are those of a list's items, in order.
func (a answer) names() []string {
	names := []string{}
	for _, item := range a.body["items"].([]any) {
		names = append(names, item.(map[string]any)["name"].(string))
	}
	return names
}

// only is the body's JSON cut down to some members.
func (a answer) only(members ...string) string {
	cut := map[string]any{}
	for _, m := range members {
		cut[m] = a.body[m]
	}
	text, _ := json.Marshal(cut)
	return string(text)
}

// asLocal asks as the local operator does, through Caddy's admin endpoint.
func (w *world) asLocal(method, path, body string) answer {
	w.t.Helper()
	api := New(w.svc, func(*http.Request) (lifecycle.Actor, *AuthProblem) { return local, nil })
	server := httptest.NewServer(api)
	defer server.Close()
	there := *w
	there.url = server.URL
	return there.do(lifecycle.CreatedKey{}, method, path, body)
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

func escaped(s string) string { return url.QueryEscape(s) }

func hexOf(b []byte) string    { return hex.EncodeToString(b) }
func base64Of(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// reopen opens the store again after a test closed it, for the world's own cleanup.
func reopen(w *world) (err error) {
	w.store, err = sqlite.Open(w.t.Context(), sqlite.Options{Path: w.path, Clock: w.clock})
	return err
}
