package endpoint_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session/authn"
)

func unlock(key string) func(context.Context, keystore.Tx) error {
	return func(ctx context.Context, tx keystore.Tx) error { return tx.Unlock(ctx, key) }
}

func (w *world) introspect(by client, token string) map[string]any {
	w.t.Helper()
	a := w.post("/oauth2/v1/introspect", "token="+token, "Authorization", by.basic())
	require.Equal(w.t, 200, a.status, a.body)
	require.Equal(w.t, "application/json", a.header.Get("Content-Type"))
	require.Equal(w.t, "no-store", a.header.Get("Cache-Control"))
	return a.object(w.t)
}

var inactive = map[string]any{"active": false}

func TestIntrospectionTellsWhatTheTokenIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := float64(w.clock.Now().Wall.Unix())
	for c, microtenant := range map[client]any{w.alice: nil, w.tenant: "m1"} {
		got := w.introspect(c, w.tokenOf(c))
		require.NotEmpty(t, got["jti"])
		delete(got, "jti")
		want := map[string]any{
			"active": true, "token_type": "Bearer", "client_id": c.id, "sub": c.id, "iss": issuer, "aud": "https://api.example",
			"iat": now, "nbf": now, "exp": now + 3600, "customer": "c1",
		}
		if microtenant != nil {
			want["microtenant"] = microtenant
		}
		require.Equal(t, want, got)
	}
}

func TestIntrospectionTakesBothMethodsAndABearerToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.tokenOf(w.alice)
	for name, a := range map[string]answer{
		"post":             w.post("/oauth2/v1/introspect", w.alice.post("token", token)),
		"bearer":           w.post("/oauth2/v1/introspect", "token="+token, "Authorization", "Bearer "+token),
		"with a hint":      w.post("/oauth2/v1/introspect", w.alice.post("token", token, "token_type_hint", "access_token")),
		"with a bad hint":  w.post("/oauth2/v1/introspect", w.alice.post("token", token, "token_type_hint", "refresh_token")),
		"an unknown hint":  w.post("/oauth2/v1/introspect", w.alice.post("token", token, "token_type_hint", "x")),
		"auditor's bearer": w.post("/oauth2/v1/introspect", "token="+token, "Authorization", "Bearer "+w.tokenOf(w.auditor)),
	} {
		require.Equal(t, 200, a.status, name)
		require.Equal(t, true, a.object(t)["active"], name)
	}
	row{status: 401, code: "invalid_token", challenge: tokenChallenge}.check(t,
		w.post("/oauth2/v1/introspect", "token="+token, "Authorization", "Bearer e30.e30.e30"))
	row{status: 401, code: "invalid_token", challenge: tokenChallenge}.check(t,
		w.post("/oauth2/v1/introspect", "token="+token, "Authorization", "Bearer "+strings.Repeat(".", 100)))
	row{status: 401, code: "invalid_client", challenge: basicChallenge}.check(t, w.post("/oauth2/v1/introspect", "token="+token))
	row{status: 400, code: "invalid_request"}.check(t, w.post("/oauth2/v1/introspect", w.alice.post()))
	row{status: 400, code: "invalid_request"}.check(t, w.post("/oauth2/v1/introspect", w.alice.post("token", token)+"&token="+token))
	row{status: 400, code: "invalid_request"}.check(t, w.post("/oauth2/v1/introspect?token="+token, w.alice.post()))
	row{status: 400, code: "invalid_request"}.check(t, w.post("/oauth2/v1/introspect", w.alice.post("token", token), "Authorization", "Bearer "+token))
}

func TestOnlyWhoMaySeeASessionIsToldThatItsTokenIsActive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	callers := map[string]client{
		"alice": w.alice, "bob": w.bob, "auditor": w.auditor, "tenantAuditor": w.tenantAuditor, "tenant": w.tenant, "foreign": w.foreign, "operator": w.operator,
	}
	for owner, may := range map[string][]string{
		"alice":   {"alice", "auditor", "operator"},
		"tenant":  {"tenant", "auditor", "tenantAuditor", "operator"},
		"foreign": {"foreign", "operator"},
	} {
		token := w.tokenOf(callers[owner])
		for name, c := range callers {
			got := w.introspect(c, token)
			if slices.Contains(may, name) {
				require.Equal(t, callers[owner].id, got["client_id"], "%s of %s", name, owner)
			} else {
				require.Equal(t, inactive, got, "%s of %s", name, owner)
			}
		}
	}
}

func TestATokenThatTheGateWouldRefuseIsInactive(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world, token string){
		"signed out": func(w *world, token string) {
			require.Equal(w.t, 204, w.post("/signout", "", "Authorization", "Bearer "+token).status)
		},
		"expired":       func(w *world, _ string) { w.clock.Advance(time.Hour) },
		"disabled":      func(w *world, _ string) { w.edit("alice", func(k *keystore.Key) { k.Enabled = false }) },
		"sessions over": func(w *world, _ string) { w.edit("alice", func(k *keystore.Key) { k.Generation++ }) },
		"moved":         func(w *world, _ string) { w.edit("alice", func(k *keystore.Key) { k.CustomerID = "c2" }) },
		"secret retired": func(w *world, _ string) {
			w.edit("alice", func(k *keystore.Key) { k.Secrets[0].Retired = w.clock.Now().Wall })
		},
		"deleted": func(w *world, _ string) {
			w.update(func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, "alice") })
		},
		"locked": func(w *world, _ string) {
			for range 3 {
				w.post("/signin", client{w.alice.id, "wrong"}.post())
			}
		},
		"sessions of the customer over": func(w *world, _ string) {
			w.update(func(ctx context.Context, tx keystore.Tx) error {
				c, err := tx.Customer(ctx, "c1")
				if err != nil {
					return err
				}
				c.Generation++ // as when it was disabled and enabled again
				return tx.PutCustomer(ctx, c)
			})
		},
		"customer disabled": func(w *world, _ string) {
			w.update(func(ctx context.Context, tx keystore.Tx) error {
				c, err := tx.Customer(ctx, "c1")
				if err != nil {
					return err
				}
				c.Enabled = false
				return tx.PutCustomer(ctx, c)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			token := w.tokenOf(w.alice)
			require.Equal(t, true, w.introspect(w.operator, token)["active"])
			end(w, token)
			require.Equal(t, inactive, w.introspect(w.operator, token))
		})
	}
	w := newWorld(t)
	for _, token := range []string{"x", "e30.e30.e30", w.alice.secret, strings.Repeat("x", 40<<10)} {
		require.Equal(t, inactive, w.introspect(w.operator, token))
	}
}

// Whoever will use the token is not who asks about it.
func TestTheAskersAddressDoesNotDecideOnTheToken(t *testing.T) {
	t.Parallel()
	settings := authn.Settings{Lockout: policy.DefaultLockout(), SourcePrefix4: 32, SourcePrefix6: 64, MaxStale: time.Hour}
	settings.Lockout.Mode = policy.Guard
	w := newWorld(t, options{auth: settings})
	token := w.tokenOf(w.alice)
	for _, secret := range []string{"wrong1", "wrong2", "wrong3"} {
		require.Equal(t, 401, w.post("/signin", client{w.alice.id, secret}.post()).status)
	}
	require.Equal(t, 401, w.post("/signin", w.alice.post()).status, "this source is locked out")
	require.Equal(t, true, w.introspect(w.operator, token)["active"], "others are not")
}

func TestSignOutEndsTheSessionAndNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	over, kept := w.tokenOf(w.alice), w.tokenOf(w.alice)
	a := w.post("/signout", "", "Authorization", "Bearer "+over)
	require.Equal(t, 204, a.status, a.body)
	require.Empty(t, a.body)
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	require.False(t, w.verifies(over))
	require.True(t, w.verifies(kept))
	row{path: "/signout", status: 401, code: "SESSION_NOT_VALID", challenge: tokenChallenge}.check(t, w.post("/signout", "", "Authorization", "Bearer "+over))
	require.Equal(t, 204, w.do("POST", "/signout", `{"any":"body"}`, "Content-Type", "application/json", "Authorization", "Bearer "+kept).status)
}

func TestASessionSignedOutWhileItsKeyIsLockedStaysOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.tokenOf(w.alice)
	for range 3 {
		require.Equal(t, 401, w.post("/signin", client{w.alice.id, "wrong"}.post()).status)
	}
	require.Equal(t, 204, w.post("/signout", "", "Authorization", "Bearer "+token).status)
	w.update(unlock("alice"))
	require.False(t, w.verifies(token))
	require.Equal(t, 200, w.post("/signin", w.alice.post()).status)
}

func TestRevocationEndsOnesOwnSessionsOnlyAndTellsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, others := w.tokenOf(w.alice), w.tokenOf(w.bob)
	for _, by := range []client{w.alice, w.auditor, w.operator, w.foreign} {
		a := w.post("/oauth2/v1/revoke", "token="+others, "Authorization", by.basic())
		require.Equal(t, 200, a.status, a.body)
		require.JSONEq(t, "{}", a.body)
		require.True(t, w.verifies(others), "another's")
	}
	for range 2 {
		a := w.post("/oauth2/v1/revoke", w.alice.post("token", own, "token_type_hint", "refresh_token"))
		require.Equal(t, 200, a.status, a.body)
		require.JSONEq(t, "{}", a.body)
		require.False(t, w.verifies(own))
	}
	for _, token := range []string{"x", "e30.e30.e30", w.alice.secret} {
		require.Equal(t, 200, w.post("/oauth2/v1/revoke", w.alice.post("token", token)).status)
	}
	row{status: 401, code: "invalid_client", challenge: basicChallenge}.check(t, w.post("/oauth2/v1/revoke", "token="+others))
	row{status: 401, code: "invalid_client", challenge: basicChallenge}.check(t, w.post("/oauth2/v1/revoke", "token="+others, "Authorization", "Bearer "+others))
	row{status: 400, code: "invalid_request"}.check(t, w.post("/oauth2/v1/revoke", w.alice.post()))
	require.True(t, w.verifies(others))
}

func TestAnEndedSessionIsWaitedForOnEveryNodeAndTheAnswerSaysHowFarItGot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, revoked, others := w.tokenOf(w.alice), w.tokenOf(w.alice), w.tokenOf(w.bob)
	for _, end := range []func() answer{
		func() answer { return w.post("/signout", "", "Authorization", "Bearer "+out) },
		func() answer { return w.post("/oauth2/v1/revoke", w.alice.post("token", revoked)) },
		// It is over here, and whoever ended it may still wait for the other nodes.
		func() answer { return w.post("/oauth2/v1/revoke", w.alice.post("token", revoked)) },
		func() answer { return w.post("/oauth2/v1/revoke", w.alice.post("token", out)) },
	} {
		a := end()
		require.Less(t, a.status, 300)
		require.Equal(t, "confirmed=1; pending=1", a.header.Get("Keyreeve-Propagation"))
		require.Len(t, w.waited, 1)
		require.Equal(t, wait{w.keys.Position(), 2 * time.Second, 0}, w.waited[0], "not while a decision is under way: this node confirms nothing before")
		w.waited = nil
	}
	for name, a := range map[string]answer{
		"another's":              w.post("/oauth2/v1/revoke", w.alice.post("token", others)),
		"another's that is over": w.post("/oauth2/v1/revoke", w.bob.post("token", out)),
		"no token":               w.post("/oauth2/v1/revoke", w.alice.post("token", "x")),
		"over already":           w.post("/signout", "", "Authorization", "Bearer "+out),
		"not who it is":          w.post("/oauth2/v1/revoke", client{w.alice.id, "wrong"}.post("token", others)),
		"only asked for":         w.post("/oauth2/v1/introspect", w.alice.post("token", others)),
	} {
		require.Empty(t, a.header.Get("Keyreeve-Propagation"), "nothing is to be learnt: %s", name)
	}
	require.Empty(t, w.waited)
}

func TestMetadataIsServedWhereRFC8414SaysAndOnlyForAnIssuerThatIsAURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ issuer, at string }{
		{"https://auth.example", "/.well-known/oauth-authorization-server"},
		{"https://auth.example/tenants/one", "/.well-known/oauth-authorization-server/tenants/one"},
	} {
		w := newWorld(t, options{issuer: c.issuer})
		a := w.do("GET", c.at, "")
		require.Equal(t, 200, a.status, a.body)
		require.Equal(t, "application/json", a.header.Get("Content-Type"))
		require.Equal(t, "max-age=300", a.header.Get("Cache-Control"))
		methods := []any{"client_secret_basic", "client_secret_post"}
		require.Equal(t, map[string]any{
			"issuer": c.issuer, "token_endpoint": c.issuer + "/oauth2/v1/token",
			"introspection_endpoint": c.issuer + "/oauth2/v1/introspect", "revocation_endpoint": c.issuer + "/oauth2/v1/revoke",
			"jwks_uri": c.issuer + "/.well-known/jwks.json", "response_types_supported": []any{}, "grant_types_supported": []any{"client_credentials"},
			"token_endpoint_auth_methods_supported": methods, "revocation_endpoint_auth_methods_supported": methods,
			"introspection_endpoint_auth_methods_supported": append(methods, "Bearer"),
		}, a.object(t))
		// What the metadata names is served, and at the contract's own paths too.
		for _, base := range []string{"", strings.TrimPrefix(c.issuer, "https://auth.example")} {
			require.Equal(t, 200, w.post(base+"/oauth2/v1/token", grant, "Authorization", w.alice.basic()).status)
			require.Equal(t, 200, w.do("GET", base+"/.well-known/jwks.json", "").status)
		}
		if c.issuer != "https://auth.example" {
			require.Equal(t, http.StatusTeapot, w.do("GET", "/.well-known/oauth-authorization-server", "").status, "that would be the issuer without the path")
		}
	}
	w := newWorld(t, options{issuer: "urn:keyreeve:x", noIssue: true})
	require.Equal(t, http.StatusTeapot, w.do("GET", "/.well-known/oauth-authorization-server", "").status)
	require.Equal(t, 200, w.post("/signin", w.alice.post()).status)
}

func TestThePublishedKeysVerifyAToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.do("GET", "/.well-known/jwks.json", "")
	require.JSONEq(t, `{"keys":[]}`, a.body)
	require.Equal(t, "no-store", a.header.Get("Cache-Control"), "the first key signs as soon as it is made")

	token := w.tokenOf(w.alice)
	a = w.do("GET", "/.well-known/jwks.json", "")
	require.Equal(t, "application/jwk-set+json", a.header.Get("Content-Type"))
	require.Equal(t, "max-age=300", a.header.Get("Cache-Control"))
	var set jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal([]byte(a.body), &set))
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(t, err)
	require.Len(t, set.Key(jws.Signatures[0].Header.KeyID), 1)
	require.True(t, set.Keys[0].IsPublic())
	_, err = jws.Verify(set.Keys[0])
	require.NoError(t, err)

	head := w.do("HEAD", "/.well-known/jwks.json", "")
	require.Equal(t, 200, head.status)
	require.Equal(t, a.header.Get("Content-Type"), head.header.Get("Content-Type"))
	require.Empty(t, head.body)
}

func TestOtherMethodsAre405WithAllowAndOtherPathsArePassedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, allow := range map[string]string{
		"/signin": "POST", "/signout": "POST", "/oauth2/v1/token": "POST", "/oauth2/v1/introspect": "POST", "/oauth2/v1/revoke": "POST",
		"/.well-known/jwks.json": "GET, HEAD", "/.well-known/oauth-authorization-server": "GET, HEAD",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post"} {
			if strings.Contains(", "+allow+",", ", "+method+",") {
				continue
			}
			a := w.do(method, path, "")
			require.Equal(t, 405, a.status, "%s %s", method, path)
			require.Equal(t, allow, a.header.Get("Allow"))
		}
		for _, other := range []string{path + "/", "/x" + path, strings.ToUpper(path), "/" + path, path + "/x", path[:len(path)-1] + fmt.Sprintf("%%%02x", path[len(path)-1])} {
			require.Equal(t, http.StatusTeapot, w.do("POST", other, "").status, other)
		}
	}
}
