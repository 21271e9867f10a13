package endpoint_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session/authn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const grant = "grant_type=client_credentials"

func TestSignInAnswersAsItsClientsExpect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.post("/signin", w.alice.post())
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	require.Equal(t, "no-cache", a.header.Get("Pragma"))
	body := a.object(t)
	require.True(t, w.verifies(body["access_token"].(string)))
	delete(body, "access_token")
	require.Equal(t, map[string]any{"token_type": "Bearer", "expires_in": "3600"}, body, "a number would end those clients")
}

func TestTheTokenEndpointAnswersAsRFC6749Says(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.edit("alice", func(k *keystore.Key) { k.SessionValidity = 90 * time.Second })
	for name, a := range map[string]answer{
		"basic":               w.post("/oauth2/v1/token", grant, "Authorization", w.alice.basic()),
		"post":                w.post("/oauth2/v1/token", w.alice.post("grant_type", "client_credentials")),
		"basic and client_id": w.post("/oauth2/v1/token", grant+"&client_id="+w.alice.id, "Authorization", w.alice.basic()),
		"unknown parameter":   w.post("/oauth2/v1/token", grant+"&resource_set=1", "Authorization", w.alice.basic()),
		"empty parameters":    w.post("/oauth2/v1/token", grant+"&scope=&audience=&client_secret=&client_assertion=", "Authorization", w.alice.basic()),
		"charset":             w.post("/oauth2/v1/token", grant, "Authorization", w.alice.basic(), "Accept", "application/json"),
		"a query of its own":  w.post("/oauth2/v1/token?version=2", grant, "Authorization", w.alice.basic()),
	} {
		require.Equal(t, 200, a.status, "%s: %s", name, a.body)
		require.Equal(t, "application/json", a.header.Get("Content-Type"))
		require.Equal(t, "no-store", a.header.Get("Cache-Control"))
		require.Equal(t, "no-cache", a.header.Get("Pragma"))
		body := a.object(t)
		require.True(t, w.verifies(body["access_token"].(string)), name)
		delete(body, "access_token")
		require.Equal(t, map[string]any{"token_type": "Bearer", "expires_in": 90.0}, body, name)
	}
	a := w.do("POST", "/oauth2/v1/token", grant, "Content-Type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8", "Authorization", w.alice.basic())
	require.Equal(t, 200, a.status, a.body)
}

func TestAnAllowedAudienceIsInTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for asked, want := range map[string]string{"": "https://api.example", "https://other.example": "https://other.example"} {
		a := w.post("/oauth2/v1/token", grant+"&audience="+url.QueryEscape(asked), "Authorization", w.alice.basic())
		require.Equal(t, 200, a.status, a.body)
		claims, err := w.tokens.Verify(t.Context(), a.object(t)["access_token"].(string), w.clock.Now())
		require.NoError(t, err)
		require.Equal(t, want, claims.Audience)
	}
}

// formEncoded is a Basic value whose parts have every byte but letters and
// digits percent-encoded, as the strictest clients do (RFC 6749 section 2.3.1).
func formEncoded(c client) string {
	encode := func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		return b.String()
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(encode(c.id)+":"+encode(c.secret)))
}

func TestBasicIsTakenFormEncodedAndAsItStands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, secret := range []string{"plain-secret", "a+b/c==", "100%25 or 100%", "with space", "p%41ss", "ümlaut", w.alice.secret} {
		c := client{fmt.Sprintf("imported.%d", i), secret}
		w.withSecret(c.id, c, "c1", "", keystore.RoleFullAccess)
		for name, basic := range map[string]string{"as it stands": c.basic(), "form-encoded": formEncoded(c)} {
			require.Equal(t, 200, w.post("/oauth2/v1/token", grant, "Authorization", basic).status, "%s: %s", secret, name)
		}
		wrong := client{c.id, secret + "+%41"}
		before := w.failures(c.id)
		require.Equal(t, 401, w.post("/oauth2/v1/token", grant, "Authorization", wrong.basic()).status)
		require.Equal(t, before+1, w.failures(c.id), "one attempt counts once, however many readings it has")
	}
}

// row is a request that is refused, and how.
type row struct {
	name      string
	path      string // the token endpoint when empty
	form      string
	headers   []string
	status    int
	code      string
	challenge string
}

const (
	basicChallenge  = `Basic realm="keyreeve"`
	bearerChallenge = `Bearer realm="keyreeve"`
	tokenChallenge  = `Bearer realm="keyreeve", error="invalid_token"`
)

// check holds an error answer to RFC 6749 section 5.2.
func (r row) check(t *testing.T, a answer) {
	t.Helper()
	require.Equal(t, r.status, a.status, a.body)
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	require.Equal(t, "no-cache", a.header.Get("Pragma"))
	require.Equal(t, r.challenge, a.header.Get("WWW-Authenticate"))
	require.Empty(t, a.header.Get("Retry-After"), "waiting is no help")
	body := a.object(t)
	require.Len(t, body, 2)
	if strings.HasPrefix(r.path, "/sign") {
		require.Equal(t, r.code, body["id"])
		require.NotEmpty(t, body["reason"])
		return
	}
	require.Equal(t, r.code, body["error"])
	require.Regexp(t, `^[\x20-\x21\x23-\x5b\x5d-\x7e]+$`, body["error_description"], "the characters that RFC 6749 allows")
}

func TestEveryWrongRequestIsRefusedAsAStrictClientExpects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, basic := w.alice, w.alice.basic()
	good := alice.post("grant_type", "client_credentials")
	token := w.tokenOf(alice)
	padding := "&x=" + strings.Repeat("x", 64<<10)
	const assertion = "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=e30.e30.e30"
	auth := func(value string) []string { return []string{"Authorization", value} }

	rows := []row{
		{name: "no grant", form: alice.post(), status: 400, code: "invalid_request"},
		{name: "an empty grant", form: alice.post("grant_type", ""), status: 400, code: "invalid_request"},
		{name: "an empty body", headers: auth(basic), status: 400, code: "invalid_request"},
		{name: "an unknown grant", form: alice.post("grant_type", "password"), status: 400, code: "unsupported_grant_type"},
		{name: "a grant in another case", form: alice.post("grant_type", "Client_Credentials"), status: 400, code: "unsupported_grant_type"},
		{name: "an audience that is not allowed", form: good + "&audience=https%3A%2F%2Felsewhere.example", status: 400, code: "invalid_target"},
		{name: "an audience spelt otherwise", form: good + "&audience=https%3A%2F%2FAPI.example", status: 400, code: "invalid_target"},
		{name: "a scope", form: good + "&scope=read", status: 400, code: "invalid_scope"},
		{name: "a repeated grant", form: good + "&grant_type=client_credentials", status: 400, code: "invalid_request"},
		{name: "a repeated client_id", form: good + "&client_id=" + alice.id, status: 400, code: "invalid_request"},
		{name: "a repeated secret, once empty", form: good + "&client_secret=", status: 400, code: "invalid_request"},
		{name: "a repeated audience", form: good + "&audience=https%3A%2F%2Fapi.example&audience=https%3A%2F%2Fapi.example", status: 400, code: "invalid_request"},
		{name: "a repeated parameter that nobody knows", form: good + "&x=1&x=1", status: 400, code: "invalid_request"},
		{name: "a name repeated in another encoding", form: good + "&grant%5Ftype=password", status: 400, code: "invalid_request"},
		{name: "semicolons", form: strings.ReplaceAll(good, "&", ";"), status: 400, code: "invalid_request"},
		{name: "broken percent-encoding", form: good + "&x=%zz", status: 400, code: "invalid_request"},

		{name: "Basic and a secret in the body", form: good, headers: auth(basic), status: 400, code: "invalid_request"},
		{name: "Basic and another client_id", form: grant + "&client_id=" + w.bob.id, headers: auth(basic), status: 400, code: "invalid_request"},
		{name: "Bearer and a secret in the body", form: good, headers: auth("Bearer " + token), status: 400, code: "invalid_request"},
		{name: "Basic and an assertion", form: grant + assertion, headers: auth(basic), status: 400, code: "invalid_request"},
		{name: "a secret and an assertion", form: good + assertion, status: 400, code: "invalid_request"},
		{name: "Basic twice", form: grant, headers: append(auth(basic), auth(basic)...), status: 400, code: "invalid_request"},
		{name: "Basic twice in one line", form: grant, headers: auth(basic + ", " + basic), status: 400, code: "invalid_request"},
		{name: "the secret in the query", path: "/oauth2/v1/token?client_secret=" + alice.secret, form: grant, headers: auth(basic), status: 400, code: "invalid_request"},
		{name: "the secret in the query, encoded", path: "/oauth2/v1/token?client%5Fsecret=" + alice.secret + "&client_id=" + alice.id, form: grant, status: 400, code: "invalid_request"},
		{name: "a token in the query", path: "/oauth2/v1/token?access_token=" + token, form: good, status: 400, code: "invalid_request"},

		{name: "no client authentication", form: grant, status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "a client_id alone", form: grant + "&client_id=" + alice.id, status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "a secret alone", form: grant + "&client_secret=" + alice.secret, status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "an assertion, which nobody takes", form: grant + assertion, status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "a bearer token", form: grant, headers: auth("Bearer " + token), status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "Digest", form: grant, headers: auth("Digest username=x"), status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "an unknown client", form: grant, headers: auth(client{"nobody", "x"}.basic()), status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "a client_id in another case", form: grant, headers: auth(client{strings.ToUpper(alice.id), alice.secret}.basic()), status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "a client_id with a blank", form: client{" " + alice.id, alice.secret}.post("grant_type", "client_credentials"), status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "a wrong secret by Basic", form: grant, headers: auth(client{w.bob.id, "wrong"}.basic()), status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "a wrong secret in the body", form: client{w.bob.id, "wrong"}.post("grant_type", "client_credentials"), status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "a secret with NUL", form: client{alice.id, alice.secret + "\x00"}.post("grant_type", "client_credentials"), status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "a secret that is over-long", form: client{alice.id, strings.Repeat("x", 4096)}.post("grant_type", "client_credentials"), status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "Basic that is no base64", form: grant, headers: auth("Basic !!!!"), status: 401, code: "invalid_client", challenge: basicChallenge},
		{name: "Basic that is over-long", form: grant, headers: auth("Basic " + strings.Repeat("A", 16<<10)), status: 401, code: "invalid_client", challenge: basicChallenge},

		{name: "a body over 64 KiB", form: good + padding, status: 413, code: "invalid_request"},

		{name: "sign-in without a secret", path: "/signin", form: "client_id=" + alice.id, status: 401, code: "access.denied", challenge: bearerChallenge},
		{name: "sign-in by Basic", path: "/signin", form: "x=1", headers: auth(basic), status: 401, code: "access.denied", challenge: bearerChallenge},
		{name: "sign-in with a wrong secret", path: "/signin", form: client{w.bob.id, "wrong"}.post(), status: 401, code: "access.denied", challenge: bearerChallenge},
		{name: "sign-in of an unknown client", path: "/signin", form: client{"nobody", "x"}.post(), status: 401, code: "access.denied", challenge: bearerChallenge},
		{name: "sign-in with two credentials", path: "/signin", form: alice.post(), headers: auth(basic), status: 400, code: "invalid.request"},
		{name: "sign-in with a repeated parameter", path: "/signin", form: alice.post() + "&client_id=" + alice.id, status: 400, code: "invalid.request"},
		{name: "sign-in in the query", path: "/signin?" + alice.post(), form: "x=1", status: 400, code: "invalid.request"},
		{name: "sign-in over 64 KiB", path: "/signin", form: alice.post() + padding, status: 413, code: "invalid.request"},

		{name: "sign-out without a token", path: "/signout", status: 401, code: "access.denied", challenge: bearerChallenge},
		{name: "sign-out by Basic", path: "/signout", headers: auth(basic), status: 401, code: "access.denied", challenge: bearerChallenge},
		{name: "sign-out with a token nobody issued", path: "/signout", headers: auth("Bearer e30.e30.e30"), status: 401, code: "SESSION_NOT_VALID", challenge: tokenChallenge},
		{name: "sign-out with what is no token", path: "/signout", headers: auth("Bearer " + strings.Repeat(".", 10_000)), status: 401, code: "SESSION_NOT_VALID", challenge: tokenChallenge},
		{name: "sign-out with the token in the query", path: "/signout?access_token=" + token, status: 400, code: "invalid.request"},
		{name: "sign-out with two tokens", path: "/signout", headers: append(auth("Bearer "+token), auth("Bearer "+token)...), status: 400, code: "invalid.request"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			path := r.path
			if path == "" {
				path = "/oauth2/v1/token"
			}
			r.check(t, w.post(path, r.form, r.headers...))
		})
	}
	require.True(t, w.verifies(token), "nothing of this ended the session")
	require.Zero(t, w.failures("alice"), "nothing of this was a wrong secret of alice")
}

func TestTheBodyMustSayThatItIsAForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, contentType := range []string{"", "application/json", "multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencoded;;"} {
		headers := []string{"Authorization", w.alice.basic()}
		if contentType != "" {
			headers = append(headers, "Content-Type", contentType)
		}
		for _, path := range []string{"/oauth2/v1/token", "/oauth2/v1/introspect", "/oauth2/v1/revoke"} {
			row{status: 400, code: "invalid_request"}.check(t, w.do("POST", path, grant, headers...))
		}
		// 400 is what those clients repeat, a hundred times.
		row{path: "/signin", status: 415, code: "invalid.request"}.check(t, w.do("POST", "/signin", w.alice.post(), headers[2:]...))
	}
	a := w.do("POST", "/oauth2/v1/token", grant, "Content-Type", formType, "Content-Type", "application/json", "Authorization", w.alice.basic())
	row{status: 400, code: "invalid_request"}.check(t, a)
}

func TestAChunkedBodyIsBoundedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := struct{ *strings.Reader }{strings.NewReader(w.alice.post() + "&x=" + strings.Repeat("x", 64<<10))} // of unknown length
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/signin", body)
	require.NoError(t, err)
	req.Header.Set("Content-Type", formType)
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 413, res.StatusCode)
}

func TestEveryCauseOfInvalidClientHasTheSameBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.edit("bob", func(k *keystore.Key) { k.Enabled = false })
	w.edit("tenant", func(k *keystore.Key) { k.ExpiresAt = w.clock.Now().Wall })
	for range 3 {
		require.Equal(t, 401, w.post("/signin", client{w.foreign.id, "wrong"}.post()).status)
	}
	for _, path := range []string{"/signin", "/oauth2/v1/token", "/oauth2/v1/introspect", "/oauth2/v1/revoke"} {
		var first answer
		for i, c := range []client{{"nobody", "x"}, {w.alice.id, "wrong"}, w.bob, w.tenant, w.foreign, {"mal formed", "x"}} {
			a := w.post(path, c.post("grant_type", "client_credentials", "token", "x"))
			a.header.Del("Date")
			if i == 0 {
				first = a
			}
			require.Equal(t, first, a, "%s of client %d", path, i)
		}
		w.update(unlock("alice"))
	}
	require.Equal(t, 401, w.post("/signin", w.foreign.post()).status, "the right secret is not compared while locked")
}

func TestEveryEndpointSharesOneCountWithTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wrong := client{w.alice.id, "wrong"}
	require.Equal(t, 401, w.post("/signin", wrong.post()).status)
	require.Equal(t, 401, w.post("/oauth2/v1/introspect", "token=x", "Authorization", wrong.basic()).status)
	require.Equal(t, 2, w.failures("alice"))
	for range 2 { // were the count not cleared, the third failure would lock
		require.Equal(t, 200, w.post("/oauth2/v1/revoke", w.alice.post("token", "x")).status)
		require.Equal(t, 401, w.post("/oauth2/v1/token", wrong.post("grant_type", "client_credentials")).status)
		require.Equal(t, 401, w.post("/signin", wrong.post()).status)
	}
	require.Equal(t, 200, w.post("/oauth2/v1/introspect", w.alice.post("token", "x")).status)
	for _, path := range []string{"/oauth2/v1/revoke", "/oauth2/v1/token", "/signin"} {
		require.Equal(t, 401, w.post(path, wrong.post("token", "x", "grant_type", "client_credentials")).status)
	}
	require.Equal(t, 401, w.post("/signin", w.alice.post()).status, "locked")
	w.mu.Lock()
	defer w.mu.Unlock()
	require.True(t, w.observed[len(w.observed)-2].Outcome.Locked, "whoever logs is told which failure locked")
}

func TestARefusedRequestCountsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wrong := client{w.alice.id, "wrong"}
	for range 4 {
		w.post("/oauth2/v1/token", wrong.post("grant_type", "password"))
		w.post("/oauth2/v1/token", wrong.post("grant_type", "client_credentials")+"&x=1&x=2")
		w.post("/oauth2/v1/token", wrong.post("grant_type", "client_credentials"), "Authorization", wrong.basic())
	}
	require.Zero(t, w.failures("alice"))
	require.Equal(t, 200, w.post("/signin", w.alice.post()).status)
}

func TestNoInvalidClientLeavesBeforeTheFloor(t *testing.T) {
	t.Parallel()
	const floor = 40 * time.Millisecond
	w := newWorld(t, options{auth: authn.Settings{Lockout: policy.DefaultLockout(), MaxStale: time.Hour, FailureFloor: floor}})
	// The fixed clock makes the floor a plain wait, so that less than it is
	// impossible however busy the machine is.
	for _, form := range []string{grant, client{"nobody", "x"}.post("grant_type", "client_credentials"), client{w.alice.id, "wrong"}.post("grant_type", "client_credentials"), grant + "&client_id=x&client_secret=%00"} {
		began := time.Now()
		require.Equal(t, 401, w.post("/oauth2/v1/token", form).status)
		require.GreaterOrEqual(t, time.Since(began), floor, form)
	}
}

func TestEarlyDataIsRefusedWhereAReplayWouldMatter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{early: true})
	for _, path := range []string{"/signin", "/signout", "/oauth2/v1/token", "/oauth2/v1/introspect", "/oauth2/v1/revoke"} {
		code := "too_early"
		if strings.HasPrefix(path, "/sign") {
			code = "too.early"
		}
		row{path: path, status: 425, code: code}.check(t, w.post(path, w.alice.post("grant_type", "client_credentials", "token", "x")))
	}
	require.Equal(t, 200, w.do("GET", "/.well-known/jwks.json", "").status)
}

func TestWithoutTheStoreTheAnswerIs503WithRetryAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.tokenOf(w.alice)
	stranger := client{"never-seen-here", "x"}
	require.NoError(t, w.keys.Close())
	for name, a := range map[string]answer{
		"sign-in of a known client":     w.post("/signin", w.alice.post()),
		"sign-in of an unknown client":  w.post("/signin", stranger.post()),
		"token for a known client":      w.post("/oauth2/v1/token", grant, "Authorization", w.alice.basic()),
		"token for an unknown client":   w.post("/oauth2/v1/token", grant, "Authorization", stranger.basic()),
		"introspection by an unknown":   w.post("/oauth2/v1/introspect", stranger.post("token", token)),
		"revocation":                    w.post("/oauth2/v1/revoke", w.alice.post("token", token)),
		"sign-out":                      w.post("/signout", "", "Authorization", "Bearer "+token),
		"introspection by a stale node": staleIntrospection(w, token),
	} {
		require.Equal(t, 503, a.status, "%s: %s", name, a.body)
		require.NotEmpty(t, a.header.Get("Retry-After"), name)
		require.NotContains(t, a.body, "closed", "what is wrong with the store is for logs")
	}
}

// staleIntrospection lets max_stale pass first.
func staleIntrospection(w *world, token string) answer {
	w.clock.Advance(59 * time.Minute)
	w.clock.StepWall(-59 * time.Minute) // the token itself is still good
	w.clock.Advance(2 * time.Minute)
	return w.post("/oauth2/v1/introspect", w.alice.post("token", token))
}

func TestASignInThatItsTenantOvertookIsRefusedAndNotGivenADeadToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	refused := 0
	for range 200 {
		// As another node does: this one hears of it with its next look for changes, and
		// proves by what it knows until then.
		_, err := w.keys.Store().Update(t.Context(), func(tx keystore.Tx) error {
			c, err := tx.Customer(t.Context(), "c1")
			require.NoError(t, err)
			c.Generation++ // disabled and enabled again
			return tx.PutCustomer(t.Context(), c)
		})
		require.NoError(t, err)
		a := w.post("/oauth2/v1/token", w.alice.post("grant_type", "client_credentials"))
		if a.status == http.StatusOK {
			continue // it had heard of it
		}
		require.Equal(t, http.StatusUnauthorized, a.status, a.body)
		require.Equal(t, "invalid_client", a.object(t)["error"])
		require.Equal(t, policy.InvalidClient, w.observed[len(w.observed)-1].Reason)
		if refused++; refused == 3 {
			return
		}
	}
	require.Fail(t, "never overtaken")
}
