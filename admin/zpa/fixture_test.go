package zpa

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

var local = lifecycle.Local("test", false)

// world is a face over a real store, with the customers acme (microtenants emea,
// apac and the disabled shut) and umbrella, and a key for each kind of caller.
type world struct {
	*testing.T
	store *sqlite.Store
	clock *storetest.Clock
	svc   *lifecycle.Service
	face  *Handler
	ring  *credential.Keyring
	url   string

	operator, admin, tenant, viewer, nobody, foreign lifecycle.CreatedKey
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, clock: storetest.NewClock()}
	ring, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	w.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "keys.db"), Clock: w.clock})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.store.Close()) })
	w.store.SealAudit(ring)
	w.ring = ring
	w.svc = lifecycle.New(lifecycle.Config{Store: w.store, Keyring: ring})
	w.face = New(w.svc, w.authenticate)
	server := httptest.NewServer(w.face)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.seed()
	return w
}

func (w *world) seed() {
	t, ctx := w.T, w.Context()
	for _, id := range []string{"acme", "umbrella"} {
		_, _, err := w.svc.CreateCustomer(ctx, local, lifecycle.NewCustomer{ID: id, Name: id})
		require.NoError(t, err)
	}
	for _, id := range []string{"emea", "apac", "shut"} {
		_, _, err := w.svc.CreateMicrotenant(ctx, local, lifecycle.NewMicrotenant{ID: id, CustomerID: "acme", Name: strings.ToUpper(id)})
		require.NoError(t, err)
	}
	_, _, err := w.svc.UpdateMicrotenant(ctx, local, lifecycle.MicrotenantRef{ID: "shut", CustomerID: "acme"}, lifecycle.TenantPatch{Enabled: lifecycle.Some(false)}, nil)
	require.NoError(t, err)
	role := func(name string, p policy.Permissions) string {
		r, _, err := w.svc.CreateRole(ctx, local, lifecycle.NewRole{Name: name, CustomerID: lifecycle.Null[string](), Permissions: p})
		require.NoError(t, err)
		return r.ID
	}
	admin := role("Admin", policy.Permissions{"*": policy.Full, "keyreeve/keys": policy.Full})
	viewer := role("Viewer", policy.Permissions{"keyreeve/keys": policy.View})
	w.operator = w.key(lifecycle.NewKey{Name: "operator", RoleID: keystore.RoleOperator, CustomerID: "acme"})
	w.admin = w.key(lifecycle.NewKey{Name: "admin", RoleID: admin, CustomerID: "acme"})
	w.viewer = w.key(lifecycle.NewKey{Name: "viewer", RoleID: viewer, CustomerID: "acme"})
	w.nobody = w.key(lifecycle.NewKey{Name: "nobody", RoleID: keystore.RoleFullAccess, CustomerID: "acme"})
	w.tenant = w.key(lifecycle.NewKey{Name: "tenant", RoleID: admin, CustomerID: "acme", MicrotenantID: lifecycle.Some("emea")})
	w.foreign = w.key(lifecycle.NewKey{Name: "foreign", RoleID: admin, CustomerID: "umbrella"})
}

func (w *world) key(in lifecycle.NewKey) lifecycle.CreatedKey {
	w.Helper()
	k, _, err := w.svc.CreateKey(w.Context(), local, in)
	require.NoError(w, err)
	return k
}

// stored is a key as the other doors see it.
func (w *world) stored(id string) lifecycle.Key {
	w.Helper()
	k, err := w.svc.GetKey(w.Context(), local, id)
	require.NoError(w, err)
	return k
}

// authenticate takes the client ID alone for proof. How secrets are proven is no
// business of the face: it is given the function.
func (w *world) authenticate(r *http.Request) (lifecycle.Actor, *api.AuthProblem) {
	id, code, _ := r.BasicAuth()
	switch {
	case id == "":
		return lifecycle.Actor{}, &api.AuthProblem{Status: http.StatusUnauthorized, Code: policy.CredentialsRequired.Code()}
	case code != "":
		status := http.StatusUnauthorized
		if code == policy.InvalidRequest.Code() {
			status = http.StatusBadRequest
		}
		return lifecycle.Actor{}, &api.AuthProblem{Status: status, Code: code, Detail: "No."}
	}
	var actor lifecycle.Actor
	err := w.store.View(r.Context(), func(s keystore.Reader) error {
		k, err := s.KeyByClientID(r.Context(), id)
		if err != nil {
			return err
		}
		role, err := s.Role(r.Context(), k.RoleID)
		actor = lifecycle.ForKey(k, role, "192.0.2.1", "")
		return err
	})
	if err != nil {
		return lifecycle.Actor{}, &api.AuthProblem{Status: http.StatusServiceUnavailable, Code: policy.StoreUnavailable.Code()}
	}
	return actor, nil
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

const acmeKeys = "/mgmtconfig/v1/admin/customers/acme/apiKeys"

// do sends one request; headers are given as name, value pairs.
func (w *world) do(as lifecycle.CreatedKey, method, path, body string, headers ...string) answer {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w, err)
	if as.ClientID != "" {
		req.SetBasicAuth(as.ClientID, "")
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(w, err)
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	require.NoError(w, err)
	a := answer{status: res.StatusCode, header: res.Header, raw: string(data)}
	require.Equal(w, "no-store", res.Header.Get("Cache-Control"), "every answer")
	if len(data) > 0 {
		require.Equal(w, "application/json", res.Header.Get("Content-Type"), "what clients read")
		require.NoError(w, json.Unmarshal(data, &a.body), "%s %s: %s", method, path, data)
	}
	if a.status >= 400 && method != http.MethodHead {
		require.Len(w, a.body, 2, a.raw)
		require.NotEmpty(w, a.body["reason"], a.raw)
		require.NotContains(w, repeated, a.body["id"], "clients send such a request again and again")
	}
	return a
}

// repeated are the ids that make clients repeat a request.
var repeated = []any{"bad.request", "non.restricted.entity.authorization.failed", "db.simultaneous.request", "api.concurrent.access.error", "", nil}

// refused holds an answer to a status, an id and words of its reason.
func (a answer) refused(t *testing.T, status int, id string, words ...string) {
	t.Helper()
	require.Equal(t, []any{status, id}, []any{a.status, a.body["id"]}, a.raw)
	for _, word := range words {
		require.Contains(t, a.body["reason"], word)
	}
}

// create makes a key through the face and returns its id.
func (w *world) create(as lifecycle.CreatedKey, path, body string) string {
	w.Helper()
	a := w.do(as, http.MethodPost, path, body)
	require.Equal(w, http.StatusCreated, a.status, a.raw)
	return a.body["id"].(string)
}

// names are those of a list's keys, in order.
func (a answer) names() []string {
	names := []string{}
	list, _ := a.body["list"].([]any)
	for _, item := range list {
		names = append(names, item.(map[string]any)["name"].(string))
	}
	return names
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// owned gives acme a source and one key that it owns.
func (w *world) owned(name, rule string) string {
	w.Helper()
	_, _, err := w.svc.CreateSource(w.Context(), local, lifecycle.NewSource{Name: name, CustomerID: "acme", Owner: "Directory team", Rule: rule, MaxRoleID: keystore.RoleReadOnly})
	require.NoError(w, err)
	pushed, _, err := w.svc.PushSourceKeys(w.Context(), local, lifecycle.SourceRef{Name: name, CustomerID: "acme"}, lifecycle.SourcePush{Keys: []lifecycle.SourceKey{{
		ClientID: name + "-client", Name: "of " + name, RoleID: keystore.RoleReadOnly, SecretSHA256: strings.Repeat("ab", 32),
	}}}, nil)
	require.NoError(w, err)
	return *pushed.Items[0].ID
}
