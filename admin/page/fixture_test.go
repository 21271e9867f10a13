package page

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// world is a page over a real store. Its door proves secrets against stored
// verifiers; that the real one counts and locks is caddymodule's to show.
type world struct {
	*testing.T
	store *sqlite.Store
	ring  *credential.Keyring
	clock *storetest.Clock
	svc   *lifecycle.Service
	page  *Page
	door  *door
	url   string

	adminRole                        string
	operator, admin, viewer, foreign lifecycle.CreatedKey
	tenant, bystander                lifecycle.CreatedKey
}

// local is whoever sits at the machine.
var atMachine = lifecycle.Local("test", false)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, clock: storetest.NewClock()}
	var err error
	w.ring, err = credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	w.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "keys.db"), Clock: w.clock})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.store.Close()) })
	w.store.SealAudit(w.ring)
	w.svc = lifecycle.New(lifecycle.Config{Store: w.store, Keyring: w.ring})
	now := func() time.Time { return w.clock.Now().Wall }
	w.door = &door{w: w, sessions: map[string]string{}, ids: map[string]string{}, links: NewLinks(now)}
	w.page = New(Config{Service: w.svc, Door: w.door, Keyring: w.ring, Now: now,
		Secure: func(r *http.Request) bool { return r.Header.Get("X-Test-TLS") != "" }})
	server := httptest.NewServer(w.page)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.seed()
	return w
}

func (w *world) seed() {
	ctx := w.Context()
	for _, id := range []string{"acme", "umbrella"} {
		_, _, err := w.svc.CreateCustomer(ctx, atMachine, lifecycle.NewCustomer{ID: id, Name: strings.ToUpper(id)})
		require.NoError(w, err)
	}
	_, _, err := w.svc.CreateMicrotenant(ctx, atMachine, lifecycle.NewMicrotenant{ID: "emea", CustomerID: "acme", Name: "Europe"})
	require.NoError(w, err)
	role := func(name string, p policy.Permissions) string {
		r, _, err := w.svc.CreateRole(ctx, atMachine, lifecycle.NewRole{Name: name, CustomerID: lifecycle.Null[string](), Permissions: p})
		require.NoError(w, err)
		return r.ID
	}
	w.adminRole = role("Admin", policy.Permissions{"*": policy.View, "keyreeve/keys": policy.Full, "keyreeve/locks": policy.Full})
	viewer := role("Viewer", policy.Permissions{"keyreeve/keys": policy.View})
	w.operator = w.key(lifecycle.NewKey{Name: "operator", RoleID: keystore.RoleOperator, CustomerID: "acme"})
	w.admin = w.key(lifecycle.NewKey{Name: "admin", RoleID: w.adminRole, CustomerID: "acme"})
	w.viewer = w.key(lifecycle.NewKey{Name: "viewer", RoleID: viewer, CustomerID: "acme"})
	w.tenant = w.key(lifecycle.NewKey{Name: "tenant", RoleID: w.adminRole, CustomerID: "acme", MicrotenantID: lifecycle.Some("emea")})
	w.foreign = w.key(lifecycle.NewKey{Name: "foreign", RoleID: w.adminRole, CustomerID: "umbrella"})
	w.bystander = w.key(lifecycle.NewKey{Name: "bystander", RoleID: keystore.RoleFullAccess, CustomerID: "acme"})
}

func (w *world) key(in lifecycle.NewKey) lifecycle.CreatedKey {
	w.Helper()
	k, _, err := w.svc.CreateKey(w.Context(), atMachine, in)
	require.NoError(w, err)
	return k
}

// door opens sessions that last an hour; their tokens are the keys' client IDs.
type door struct {
	w        *world
	sessions map[string]string // client ID by token
	ids      map[string]string // of sessions that are in the store too, by token
	links    *Links
	asked    int // how often a session was resumed
}

func (d *door) find(r *http.Request, clientID string) (*keystore.Key, *keystore.Role) {
	k, err := d.w.store.KeyByClientID(r.Context(), clientID)
	if err != nil || !k.Enabled {
		return nil, nil
	}
	var role *keystore.Role
	err = d.w.store.View(r.Context(), func(s keystore.Reader) (err error) {
		role, err = s.Role(r.Context(), k.RoleID)
		return err
	})
	require.NoError(d.w, err)
	return k, role
}

func refusedBy(code string) *api.AuthProblem {
	return &api.AuthProblem{Status: http.StatusUnauthorized, Code: code}
}

func (d *door) SignIn(r *http.Request, clientID, secret string) (Session, *api.AuthProblem) {
	k, role := d.find(r, clientID)
	if k == nil {
		return Session{}, refusedBy(policy.InvalidClient.Code())
	}
	verifier, _ := d.w.ring.Verifier(k.Secrets[0].MasterKeyID, d.w.ring.Digest(secret))
	if !credential.Equal(verifier, k.Secrets[0].Verifier) {
		return Session{}, refusedBy(policy.InvalidClient.Code())
	}
	return d.open(r, k, role)
}

func (d *door) open(r *http.Request, k *keystore.Key, role *keystore.Role) (Session, *api.AuthProblem) {
	if role.Permissions.On(lifecycle.ResourceKeys, "") == 0 {
		return Session{}, &api.AuthProblem{Status: http.StatusForbidden, Code: CodeNoAdministrator}
	}
	token := "token-" + k.ClientID + "-" + d.w.clock.Now().Wall.String()
	d.sessions[token] = k.ClientID
	return Session{Token: token, Actor: d.actor(k, role)}, nil
}

func (*door) actor(k *keystore.Key, role *keystore.Role) lifecycle.Actor {
	a := lifecycle.ForKey(k, role, "192.0.2.1", "req-1")
	a.Kind = lifecycle.ActorSession
	return a
}

func (d *door) Resume(r *http.Request, token string) (lifecycle.Actor, *api.AuthProblem) {
	d.asked++
	k, role := d.find(r, d.sessions[token])
	if k == nil {
		return lifecycle.Actor{}, refusedBy(policy.InvalidToken.Code())
	}
	return d.actor(k, role), nil
}

func (d *door) SessionID(_ *http.Request, token string) string { return d.ids[token] }

func (d *door) SignOut(_ *http.Request, token string) error {
	delete(d.sessions, token)
	return nil
}

func (d *door) Redeem(r *http.Request, code string) (Session, *api.AuthProblem) {
	clientID, ok := d.links.Take(code)
	if !ok {
		return Session{}, refusedBy(CodeLinkUsed)
	}
	k, role := d.find(r, clientID)
	return d.open(r, k, role)
}

// browser keeps cookies and follows nothing.
type browser struct {
	w      *world
	client *http.Client
}

// answer is a response read to its end.
type answer struct {
	*http.Response
	body string
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(w, err)
	return &browser{w, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// as is a browser that is signed in.
func (w *world) as(k lifecycle.CreatedKey) *browser {
	w.Helper()
	b := w.browser()
	a := b.post("/keyreeve/login", url.Values{"client_id": {k.ClientID}, "client_secret": {k.ClientSecret}})
	require.Equal(w, http.StatusSeeOther, a.StatusCode, a.says())
	return b
}

// do sends a request; headers are given as name, value pairs.
func (b *browser) do(method, path, body string, headers ...string) answer {
	t := b.w
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, t.url+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return answer{res, string(data)}
}

func (b *browser) get(path string, headers ...string) answer {
	b.w.Helper()
	return b.do(http.MethodGet, path, "", headers...)
}

func (b *browser) post(path string, form url.Values, headers ...string) answer {
	b.w.Helper()
	return b.do(http.MethodPost, path, form.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

// seen is what is read of a page or a part of it: the text of its main, without tags.
func seen(body string) string {
	if _, rest, there := strings.Cut(body, "<main"); there {
		body, _, _ = strings.Cut("<main"+rest, "</main>")
	}
	return strings.Join(strings.Fields(tag.ReplaceAllString(body, " ")), " ")
}

var tag = regexp.MustCompile(`<[^>]*>`)

// says is seen, short enough to be told by a test that failed.
func (a answer) says() string { return fmt.Sprintf("the page says: %.400s", seen(a.body)) }

// holds asserts that a page holds a text. What it tells of a failure can be read,
// which the whole page could not.
func holds(t require.TestingT, body, text string, about ...any) {
	if h, is := t.(interface{ Helper() }); is {
		h.Helper()
	}
	if !strings.Contains(body, text) {
		require.Fail(t, fmt.Sprintf("%q is not there; the page says: %.400s", text, seen(body)), about...)
	}
}

// lacks asserts that a page does not hold a text. Random ids are 22 letters and digits:
// a text of a few of those alone is in one of them some day.
func lacks(t require.TestingT, body, text string, about ...any) {
	if h, is := t.(interface{ Helper() }); is {
		h.Helper()
	}
	if at := strings.Index(body, text); at >= 0 {
		around := body[max(0, at-100):min(len(body), at+len(text)+100)]
		require.Fail(t, fmt.Sprintf("%q is there: …%s…", text, strings.ToValidUTF8(around, "")), about...)
	}
}
