package session_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is one process's view of a store, with a token service on it.
type node struct {
	*session.Tokens
	keys *keystore.Cached
}

// world is a database, a clock and the master keys that nodes share.
type world struct {
	t     *testing.T
	path  string
	clock *storetest.Clock
	// master is the key that ring holds.
	master credential.MasterKey
	ring   *credential.Keyring
	key    *keystore.Key
}

var standard = session.Settings{
	Issuer: "https://issuer.example", Audiences: []string{"https://api.example", "other"},
	DefaultValidity: time.Hour, MaxValidity: 2 * time.Hour, MaxPerKey: 1000, Algorithm: session.EdDSA, MaxStale: 5 * time.Minute,
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, path: filepath.Join(t.TempDir(), "keys.db"), clock: storetest.NewClock(), master: credential.NewMasterKey()}
	w.ring = ringOf(t, w.master)
	n := w.node(standard)
	w.key = &keystore.Key{ID: "key_1", ClientID: "client-1", Name: "One", CustomerID: "c1", MicrotenantID: "m1", RoleID: keystore.RoleReadOnly, Enabled: true,
		Secrets: []keystore.Secret{{ID: "sec_1", MasterKeyID: w.ring.CurrentID(), Created: w.clock.Now().Wall}}}
	_, err := n.keys.Update(t.Context(), func(tx keystore.Tx) error {
		ctx := t.Context()
		if err := tx.PutCustomer(ctx, &keystore.Customer{ID: "c1", Name: "C", Enabled: true}); err != nil {
			return err
		}
		if err := tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "m1", CustomerID: "c1", Name: "M", Enabled: true}); err != nil {
			return err
		}
		return tx.PutKey(ctx, w.key)
	})
	require.NoError(t, err)
	return w
}

func ringOf(t *testing.T, keys ...credential.MasterKey) *credential.Keyring {
	t.Helper()
	ring, err := credential.NewKeyring(keys...)
	require.NoError(t, err)
	return ring
}

func (w *world) node(s session.Settings) *node {
	w.t.Helper()
	n, store := w.unsealed(s)
	store.SealAudit(w.ring)
	return n
}

// unsealed is a node that cannot append to the audit trail yet.
func (w *world) unsealed(s session.Settings) (*node, *sqlite.Store) {
	w.t.Helper()
	store, err := sqlite.Open(w.t.Context(), sqlite.Options{Path: w.path, Clock: w.clock})
	require.NoError(w.t, err)
	keys, err := keystore.OpenCached(w.t.Context(), store, w.clock, keystore.CacheSizes{Keys: 100, Unknown: 100}, zap.NewNop())
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, keys.Close()) })
	verified, err := session.NewVerified(100)
	require.NoError(w.t, err)
	w.t.Cleanup(verified.Close)
	return &node{session.NewTokens(keys, w.ring, verified, s), keys}, store
}

func (w *world) issue(n *node) session.Issued {
	w.t.Helper()
	issued, err := n.Issue(w.t.Context(), w.key, w.key.Generation, "sec_1", "", "192.0.2.1", w.clock.Now())
	require.NoError(w.t, err)
	return issued
}

func (w *world) verify(n *node, token string) (*session.Claims, error) {
	return n.Verify(w.t.Context(), token, w.clock.Now())
}

func TestATokenSaysWhatTheContractPromisesAndUpstreamsCanVerifyIt(t *testing.T) {
	for _, algorithm := range session.Algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			w := newWorld(t)
			settings := standard
			settings.Algorithm = algorithm
			n := w.node(settings)
			issued := w.issue(n)
			require.Equal(t, time.Hour, issued.Lifetime)

			// As an upstream would: by the JWKS and nothing else.
			var set jose.JSONWebKeySet
			jwks, err := n.JWKS()
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(jwks, &set))
			require.NotContains(t, string(jwks), `"d"`, "no private half is published")
			parsed, err := jwt.ParseSigned(issued.Token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
			require.NoError(t, err)
			require.Equal(t, "at+jwt", parsed.Headers[0].ExtraHeaders[jose.HeaderType])
			keys := set.Key(parsed.Headers[0].KeyID)
			require.Len(t, keys, 1)
			var claims map[string]any
			require.NoError(t, parsed.Claims(keys[0].Key, &claims))
			now := float64(w.clock.Now().Wall.Unix())
			require.Equal(t, issued.Claims.ID, claims["jti"])
			delete(claims, "jti")
			require.Equal(t, map[string]any{
				"iss": "https://issuer.example", "aud": "https://api.example", "sub": "client-1", "client_id": "client-1",
				"iat": now, "nbf": now, "exp": now + 3600, "customer": "c1", "microtenant": "m1",
			}, claims)

			got, err := w.verify(n, issued.Token)
			require.NoError(t, err)
			require.Equal(t, issued.Claims, got)
			generation, secret := got.Origin()
			require.Zero(t, generation)
			require.Equal(t, "sec_1", secret)
		})
	}
}

func TestATokenEndsWithItsLifetimeCachedOrNot(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	issued := w.issue(n)
	for range 3 {
		_, err := w.verify(n, issued.Token)
		require.NoError(t, err)
	}
	w.clock.Advance(time.Hour - time.Second)
	_, err := w.verify(n, issued.Token)
	require.NoError(t, err)
	w.clock.Advance(time.Second)
	_, err = w.verify(n, issued.Token)
	require.ErrorIs(t, err, session.ErrInvalid)
	_, err = w.verify(w.node(standard), issued.Token)
	require.ErrorIs(t, err, session.ErrInvalid)
}

func TestLifetimeIsTheKeysWithinTheBoundsAndTheKeysOwnEnd(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	now := w.clock.Now().Wall
	for _, c := range []struct {
		validity time.Duration
		expires  time.Time
		want     time.Duration
	}{
		{0, time.Time{}, time.Hour},
		{90 * time.Second, time.Time{}, 90 * time.Second},
		{24 * time.Hour, time.Time{}, 2 * time.Hour},
		{time.Hour, now.Add(5 * time.Minute), 5 * time.Minute},
	} {
		w.key.SessionValidity, w.key.ExpiresAt = c.validity, c.expires
		require.Equal(t, c.want, w.issue(n).Lifetime)
	}
}

func TestOnlyAllowedAudiencesAreIssuedAndAccepted(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	_, err := n.Issue(t.Context(), w.key, w.key.Generation, "sec_1", "https://elsewhere.example", "", w.clock.Now())
	require.ErrorIs(t, err, session.ErrAudience)
	issued, err := n.Issue(t.Context(), w.key, w.key.Generation, "sec_1", "other", "", w.clock.Now())
	require.NoError(t, err)
	require.Equal(t, "other", issued.Claims.Audience)
	_, err = w.verify(n, issued.Token)
	require.NoError(t, err)
	narrowed := standard
	narrowed.Audiences = []string{"https://api.example"}
	_, err = w.verify(w.node(narrowed), issued.Token)
	require.ErrorIs(t, err, session.ErrInvalid)
	moved := standard
	moved.Issuer = "https://another.example"
	_, err = w.verify(w.node(moved), issued.Token)
	require.ErrorIs(t, err, session.ErrInvalid)
}

func TestAnEndedSessionIsRefusedOnThisNodeAtOnceAndOnOthersByTheFeed(t *testing.T) {
	w := newWorld(t)
	here, there := w.node(standard), w.node(standard)
	issued, kept := w.issue(here), w.issue(here)
	for _, n := range []*node{here, there} {
		_, err := w.verify(n, issued.Token)
		require.NoError(t, err)
	}
	_, err := here.Revoke(t.Context(), issued.Claims, session.Ending{Reason: "sign_out", Address: "192.0.2.7", RequestID: "req-7"})
	require.NoError(t, err)
	_, err = w.verify(here, issued.Token)
	require.ErrorIs(t, err, session.ErrInvalid)
	require.Eventually(t, func() bool { _, err := w.verify(there, issued.Token); return err != nil }, 10*time.Second, 10*time.Millisecond)
	_, err = w.verify(w.node(standard), issued.Token)
	require.ErrorIs(t, err, session.ErrInvalid, "a node that starts later knows it too")
	_, err = w.verify(here, kept.Token)
	require.NoError(t, err, "other sessions go on")
}

func TestTheOldestSessionEndsWhenAKeyHasTooMany(t *testing.T) {
	w := newWorld(t)
	few := standard
	few.MaxPerKey = 3
	n := w.node(few)
	var tokens []string
	for range 5 {
		tokens = append(tokens, w.issue(n).Token)
		w.clock.Advance(time.Second)
	}
	for i, token := range tokens {
		_, err := w.verify(n, token)
		if i < 2 {
			require.ErrorIs(t, err, session.ErrInvalid, "session %d", i)
		} else {
			require.NoError(t, err, "session %d", i)
		}
	}
}

func keyIDs(t *testing.T, n *node) []string {
	t.Helper()
	var set jose.JSONWebKeySet
	jwks, err := n.JWKS()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(jwks, &set))
	ids := []string{}
	for _, k := range set.Keys {
		ids = append(ids, k.KeyID)
	}
	return ids
}

func kid(t *testing.T, token string) string {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(t, err)
	return parsed.Headers[0].KeyID
}

func TestSigningKeysRotateWithOverlapAndAreKnownBeforeTheySign(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	require.Empty(t, keyIDs(t, n), "made at first use, not before")
	first := kid(t, w.issue(n).Token)
	var second string
	published := time.Duration(0)
	day := 24 * time.Hour
	for step := time.Duration(0); step < 62*day; step += time.Hour {
		w.clock.Advance(time.Hour)
		token := w.issue(n).Token
		_, err := w.verify(n, token)
		require.NoError(t, err)
		ids := keyIDs(t, n)
		if len(ids) == 2 && published == 0 {
			published = step
		}
		if second == "" && kid(t, token) != first {
			second = kid(t, token)
			require.GreaterOrEqual(t, step-published, day, "known to nodes and upstreams for a day before it signs")
			require.Contains(t, ids, first, "the old one still verifies")
			require.InDelta(t, 30*day, step, float64(2*time.Hour))
		}
	}
	require.NotEmpty(t, second)
	require.NotContains(t, keyIDs(t, w.node(standard)), first, "forgotten once its last token is over")
}

func TestAnotherNodesNewKeyIsFoundByOneReadHoweverManyAsk(t *testing.T) {
	w := newWorld(t)
	here, there := w.node(standard), w.node(standard)
	token := w.issue(there).Token // its first key, which `here` has not seen
	var waiting sync.WaitGroup
	var refused atomic.Int64
	for range 20 {
		waiting.Go(func() {
			if _, err := w.verify(here, token); err != nil {
				refused.Add(1)
			}
		})
	}
	waiting.Wait()
	require.Zero(t, refused.Load())
}

func TestPrivateKeysAreSealedAndMoveToANewMasterKey(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	token := w.issue(n).Token
	read := func() (all []*keystore.SigningKey) {
		require.NoError(t, n.keys.View(t.Context(), func(r keystore.Reader) (err error) {
			all, err = r.SigningKeys(t.Context())
			return err
		}))
		return all
	}
	stored := read()
	require.Len(t, stored, 1)
	require.Equal(t, w.ring.CurrentID(), stored[0].MasterKeyID)

	w.ring = ringOf(t, credential.NewMasterKey())
	_, err := w.node(standard).Issue(t.Context(), w.key, w.key.Generation, "sec_1", "", "", w.clock.Now())
	require.ErrorContains(t, err, "master key", "without the master key nobody signs")

	next := credential.NewMasterKey()
	w.ring = ringOf(t, next, w.master)
	w.issue(w.node(standard))
	require.Equal(t, next.ID(), read()[0].MasterKeyID, "sealed anew at its next use")
	w.ring = ringOf(t, next)
	last := w.node(standard)
	w.issue(last)
	_, err = w.verify(last, token)
	require.NoError(t, err, "the key itself stayed")
}

func TestAVerifiedTokenIsFoundByAllOfItAndNothingLess(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	token := w.issue(n).Token
	_, err := w.verify(n, token)
	require.NoError(t, err)
	for i := range len(token) - 1 { // the last character of base64 has bits without meaning
		if token[i] == '.' || token[i+1] == '.' {
			continue
		}
		other := byte('A')
		if token[i] == other {
			other = 'B'
		}
		_, err := w.verify(n, token[:i]+string(other)+token[i+1:])
		require.ErrorIs(t, err, session.ErrInvalid, "byte %d", i)
	}
}

func TestAnotherAlgorithmSignsOnceEveryNodeCanKnowItsKey(t *testing.T) {
	w := newWorld(t)
	before := w.issue(w.node(standard)).Token
	changed := standard
	changed.Algorithm = session.ES256
	n := w.node(changed)
	algorithm := func() string {
		token := w.issue(n).Token
		_, err := w.verify(n, token)
		require.NoError(t, err)
		parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
		require.NoError(t, err)
		return parsed.Headers[0].Algorithm
	}
	require.Equal(t, session.EdDSA, algorithm(), "the old one goes on")
	require.Len(t, keyIDs(t, n), 2, "and the new one is published")
	w.clock.Advance(14 * time.Minute)
	require.Equal(t, session.EdDSA, algorithm())
	w.clock.Advance(2 * time.Minute)
	require.Equal(t, session.ES256, algorithm())
	require.Len(t, keyIDs(t, n), 2)
	_, err := w.verify(n, before)
	require.NoError(t, err)
}

func TestASessionTheStoreForgotCanStillBeEnded(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	issued := w.issue(n)
	other := *issued.Claims
	other.ID = strings.Replace(other.ID, "ses_", "ses_x", 1) // as if its row were gone
	_, err := n.Revoke(t.Context(), &other, session.Ending{Reason: "sign_out"})
	require.NoError(t, err)
	require.True(t, n.keys.SessionEnded(other.ID))
	require.False(t, n.keys.SessionEnded(issued.Claims.ID))
}

func TestAProofThatWasOvertakenOpensNoSession(t *testing.T) {
	for name, between := range map[string]func(ctx context.Context, tx keystore.Tx, k *keystore.Key) error{
		"the microtenant was disabled and enabled again": func(ctx context.Context, tx keystore.Tx, k *keystore.Key) error {
			m, err := tx.Microtenant(ctx, k.CustomerID, k.MicrotenantID)
			require.NoError(t, err)
			m.Generation++
			return tx.PutMicrotenant(ctx, m)
		},
		"the customer was": func(ctx context.Context, tx keystore.Tx, k *keystore.Key) error {
			c, err := tx.Customer(ctx, k.CustomerID)
			require.NoError(t, err)
			c.Generation++
			return tx.PutCustomer(ctx, c)
		},
		"all sessions of the key were ended": func(ctx context.Context, tx keystore.Tx, k *keystore.Key) error {
			k.Generation++
			return tx.PutKey(ctx, k)
		},
		"the secret was retired": func(ctx context.Context, tx keystore.Tx, k *keystore.Key) error {
			k.Secrets[0].Retired = tx.Now().Wall
			return tx.PutKey(ctx, k)
		},
		"the key was deleted": func(ctx context.Context, tx keystore.Tx, k *keystore.Key) error { return tx.DeleteKey(ctx, k.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n := w.node(standard)
			generation := n.keys.Directory().SessionGeneration(w.key) // at the proof
			_, err := n.keys.Update(t.Context(), func(tx keystore.Tx) error {
				k, err := tx.Key(t.Context(), w.key.ID)
				require.NoError(t, err)
				return between(t.Context(), tx, k)
			})
			require.NoError(t, err)
			_, err = n.Issue(t.Context(), w.key, generation, "sec_1", "", "", w.clock.Now())
			require.ErrorIs(t, err, session.ErrOvertaken)
			require.NoError(t, n.keys.View(t.Context(), func(r keystore.Reader) error {
				_, total, err := r.ListSessions(t.Context(), keystore.SessionQuery{AllCustomers: true})
				require.Zero(t, total)
				return err
			}))
		})
	}
}

func TestTheNewestOfOneSecondIsNotTheOneThatEnds(t *testing.T) {
	w := newWorld(t)
	one := standard
	one.MaxPerKey = 1
	n := w.node(one)
	for range 20 { // ids are random, so that each order of them comes
		issued := w.issue(n)
		_, err := w.verify(n, issued.Token)
		require.NoError(t, err)
	}
}
