package session_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/session"
)

func (w *world) assert(n *node) (string, error) {
	return n.Assert(w.t.Context(), w.key, keystore.RoleReadOnly, "GET", "/a/b%2Fc", w.clock.Now())
}

func TestAnAssertionSaysWhoSentWhatAndUpstreamsCanVerifyIt(t *testing.T) {
	for _, algorithm := range session.Algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			w := newWorld(t)
			settings := standard
			settings.Algorithm = algorithm
			n := w.node(settings)
			token, err := w.assert(n)
			require.NoError(t, err)

			var set jose.JSONWebKeySet
			jwks, err := n.JWKS()
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(jwks, &set))
			parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
			require.NoError(t, err)
			require.Equal(t, "keyreeve-assertion+jwt", parsed.Headers[0].ExtraHeaders[jose.HeaderType])
			var claims map[string]any
			require.NoError(t, parsed.Claims(set.Key(parsed.Headers[0].KeyID)[0].Key, &claims))
			require.NotEmpty(t, claims["jti"])
			delete(claims, "jti")
			now := float64(w.clock.Now().Wall.Unix())
			require.Equal(t, map[string]any{
				"iss": "https://issuer.example", "aud": "https://api.example", "sub": "client-1", "client_id": "client-1",
				"iat": now, "exp": now + 60, "htm": "GET", "htp": "/a/b%2Fc",
				"key_id": "key_1", "role": keystore.RoleReadOnly, "customer": "c1", "microtenant": "m1",
			}, claims)

			_, err = w.verify(n, token)
			require.ErrorIs(t, err, session.ErrInvalid, "an upstream cannot call with what it was told")
			again, err := w.assert(n)
			require.NoError(t, err)
			require.NotEqual(t, token, again, "each request has its own")
		})
	}
}

func TestAssertionsAloneKeepTheSigningKeysRotating(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	kids := map[string]bool{}
	for range 100 {
		token, err := w.assert(n)
		require.NoError(t, err)
		kids[kid(t, token)] = true
		w.clock.Advance(12 * time.Hour)
	}
	require.Len(t, kids, 2)
}

func TestWithoutTheStoreTheKeyInUseSignsOn(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	first, err := w.assert(n)
	require.NoError(t, err)
	require.NoError(t, n.keys.Store().Close())
	w.clock.Advance(29*24*time.Hour + 12*time.Hour) // its successor is due
	for range 3 {
		again, err := w.assert(n)
		require.NoError(t, err)
		require.Equal(t, kid(t, first), kid(t, again))
	}
	w.clock.Advance(24 * time.Hour)
	_, err = w.assert(n)
	require.Error(t, err, "past its time it signs no more")
}
