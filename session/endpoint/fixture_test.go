package endpoint_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
	"github.com/keyreeve/keyreeve/session/authn"
	"github.com/keyreeve/keyreeve/session/endpoint"
)

// client is a key with its secret.
type client struct{ id, secret string }

func (c client) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.id+":"+c.secret))
}

func (c client) post(more ...string) string {
	form := url.Values{"client_id": {c.id}, "client_secret": {c.secret}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form.Encode()
}

// world is the endpoints over a real store, in front of real HTTP.
type world struct {
	t      *testing.T
	clock  *storetest.Clock
	keys   *keystore.Cached
	ring   *credential.Keyring
	tokens *session.Tokens
	url    string

	mu       sync.Mutex
	observed []authn.Result
	// waited are the waits for other nodes, which are pending.
	waited []wait

	alice, bob    client // customer c1
	auditor       client // customer c1, may read sessions
	tenantAuditor client // customer c1, microtenant m1, may read sessions there
	tenant        client // customer c1, microtenant m1
	foreign       client // customer c2
	operator      client // customer c2, Operator
}

const issuer = "https://auth.example"

// options are what a world may have otherwise.
type options struct {
	issuer  string // "" is issuer
	auth    authn.Settings
	early   bool
	noIssue bool // an issuer that is no URL
}

func newWorld(t *testing.T, with ...options) *world {
	t.Helper()
	o := options{auth: authn.Settings{Lockout: policy.DefaultLockout(), SourcePrefix4: 32, SourcePrefix6: 64, MaxStale: time.Hour}}
	for _, w := range with {
		if w.auth == (authn.Settings{}) {
			w.auth = o.auth
		}
		o = w
	}
	if o.issuer == "" {
		o.issuer = issuer
	}
	w := &world{t: t, clock: storetest.NewClock()}
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "keyreeve-test-"); err == nil { // syncs cost nothing there
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(shm)) })
		dir = shm
	}
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "keys.db"), Clock: w.clock})
	require.NoError(t, err)
	w.keys, err = keystore.OpenCached(t.Context(), store, w.clock, keystore.CacheSizes{Keys: 100, Unknown: 100, UnknownTTL: time.Second}, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.keys.Close() }) // a test may have closed it
	w.ring, err = credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	store.SealAudit(w.ring)
	verified, err := session.NewVerified(100)
	require.NoError(t, err)
	t.Cleanup(verified.Close)
	w.tokens = session.NewTokens(w.keys, w.ring, verified, session.Settings{
		Issuer: o.issuer, Audiences: []string{"https://api.example", "https://other.example"},
		DefaultValidity: time.Hour, MaxValidity: time.Hour, MaxPerKey: 100, Algorithm: session.EdDSA,
	})
	shown := o.issuer
	if o.noIssue {
		shown = ""
	}
	h := endpoint.New(endpoint.Config{
		Auth: authn.New(w.keys, w.ring, w.tokens, o.auth), Tokens: w.tokens, Clock: w.clock, Issuer: shown,
		Address:   func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") },
		RequestID: func(*http.Request) string { return "req-1" },
		EarlyData: func(*http.Request) bool { return o.early },
		Enter: func() func() {
			use := w.keys.Aside()
			return func() { w.keys.End(use) }
		},
		Propagate: w.propagate,
		Observe: func(_ *http.Request, _ string, res authn.Result, _ error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.observed = append(w.observed, res)
		},
	})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !h.Match(r) {
			rw.WriteHeader(http.StatusTeapot) // passed on
			return
		}
		h.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	w.seed()
	return w
}

// wait is one for other nodes to have a revision.
type wait struct {
	revision keystore.Revision
	most     time.Duration
	deciding int64 // how many decisions were under way
}

func (w *world) propagate(_ context.Context, r keystore.Revision, most time.Duration) keystore.Propagation {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waited = append(w.waited, wait{r, most, w.keys.UnderWay()})
	return keystore.Propagation{Confirmed: 1, Pending: []keystore.PendingNode{{ID: "node_2"}}}
}

func (w *world) seed() {
	w.update(func(ctx context.Context, tx keystore.Tx) error {
		for _, id := range []string{"c1", "c2"} {
			if err := tx.PutCustomer(ctx, &keystore.Customer{ID: id, Name: id, Enabled: true}); err != nil {
				return err
			}
		}
		if err := tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "m1", CustomerID: "c1", Name: "M", Enabled: true}); err != nil {
			return err
		}
		return tx.PutRole(ctx, &keystore.Role{ID: "role_auditor", Name: "Auditor", Permissions: policy.Permissions{"keyreeve/sessions": policy.View}})
	})
	w.alice = w.key("alice", "c1", "", keystore.RoleFullAccess)
	w.bob = w.key("bob", "c1", "", keystore.RoleFullAccess)
	w.auditor = w.key("auditor", "c1", "", "role_auditor")
	w.tenantAuditor = w.key("tenant-auditor", "c1", "m1", "role_auditor")
	w.tenant = w.key("tenant", "c1", "m1", keystore.RoleFullAccess)
	w.foreign = w.key("foreign", "c2", "", "role_auditor")
	w.operator = w.key("operator", "c2", "", keystore.RoleOperator)
}

func (w *world) update(fn func(context.Context, keystore.Tx) error) {
	w.t.Helper()
	_, err := w.keys.Update(w.t.Context(), func(tx keystore.Tx) error { return fn(w.t.Context(), tx) })
	require.NoError(w.t, err)
}

// key makes a key whose id is its name.
func (w *world) key(name, customer, microtenant, role string) client {
	c := client{credential.NewClientID(), credential.NewSecret()}
	w.withSecret(name, c, customer, microtenant, role)
	return c
}

func (w *world) withSecret(name string, c client, customer, microtenant, role string) {
	w.t.Helper()
	w.update(func(ctx context.Context, tx keystore.Tx) error {
		v, _ := w.ring.Verifier(w.ring.CurrentID(), w.ring.Digest(c.secret))
		return tx.PutKey(ctx, &keystore.Key{ID: name, ClientID: c.id, Name: name, CustomerID: customer, MicrotenantID: microtenant, RoleID: role, Enabled: true,
			Secrets: []keystore.Secret{{ID: credential.NewID("sec"), Verifier: v, MasterKeyID: w.ring.CurrentID(), Created: tx.Now().Wall}}})
	})
}

// edit changes a stored key.
func (w *world) edit(name string, fn func(*keystore.Key)) {
	w.t.Helper()
	w.update(func(ctx context.Context, tx keystore.Tx) error {
		k, err := tx.Key(ctx, name)
		if err != nil {
			return err
		}
		fn(k)
		return tx.PutKey(ctx, k)
	})
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// object is the body, which must be one JSON object.
func (a answer) object(t *testing.T) map[string]any {
	t.Helper()
	var o map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &o), a.body)
	return o
}

// do sends one request; headers are name, value pairs.
func (w *world) do(method, path, body string, headers ...string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(w.t, err)
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	require.NoError(w.t, err)
	return answer{res.StatusCode, res.Header, string(data)}
}

const formType = "application/x-www-form-urlencoded"

// post sends a form.
func (w *world) post(path, form string, headers ...string) answer {
	w.t.Helper()
	return w.do(http.MethodPost, path, form, append([]string{"Content-Type", formType}, headers...)...)
}

// tokenOf gets a token by the token endpoint.
func (w *world) tokenOf(c client) string {
	w.t.Helper()
	a := w.post("/oauth2/v1/token", "grant_type=client_credentials", "Authorization", c.basic())
	require.Equal(w.t, 200, a.status, a.body)
	return a.object(w.t)["access_token"].(string)
}

// verifies reports whether a token's signature and session are good.
func (w *world) verifies(token string) bool {
	_, err := w.tokens.Verify(w.t.Context(), token, w.clock.Now())
	return err == nil
}

// failures is the count of a key.
func (w *world) failures(name string) (n int) {
	w.t.Helper()
	require.NoError(w.t, w.keys.View(w.t.Context(), func(r keystore.Reader) error {
		list, err := r.Tallies(w.t.Context(), name)
		for _, t := range list {
			n += int(t.Failures)
		}
		return err
	}))
	return n
}
