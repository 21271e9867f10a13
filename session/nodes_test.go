package session_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/internal/faultproxy"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/postgres"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
)

// cluster is a database that several nodes follow, each by a way of its own.
type cluster struct {
	t      *testing.T
	server *pgtest.Server
	name   string
	clock  *keystore.SystemClock
	ring   *credential.Keyring
	key    *keystore.Key
}

func newCluster(t *testing.T) *cluster {
	server := pgtest.Start(t, pgtest.Volatile()...)
	return &cluster{t: t, server: server, name: server.NewDatabase(t), clock: keystore.NewSystemClock(), ring: ringOf(t, credential.NewMasterKey()),
		key: &keystore.Key{ID: "key_1", ClientID: "client-1", Name: "One", CustomerID: "c1", RoleID: keystore.RoleReadOnly, Enabled: true,
			Secrets: []keystore.Secret{{ID: "sec_1", MasterKeyID: "mk"}}}}
}

// join is one more node that may serve for maxStale without the store.
func (c *cluster) join(id string, maxStale time.Duration, s session.Settings) (*node, *faultproxy.Proxy) {
	t, ctx := c.t, c.t.Context()
	t.Helper()
	proxy := faultproxy.Start(t, c.server.Address())
	store, err := postgres.Open(ctx, postgres.Options{DSN: c.server.DSNBy(proxy.Address(), pgtest.Superuser, c.name) + "?sslmode=disable", Clock: c.clock})
	require.NoError(t, err)
	store.SealAudit(c.ring)
	keys, err := keystore.OpenCached(ctx, store, c.clock, keystore.CacheSizes{Keys: 100, Unknown: 100}, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, keys.Close()) })
	keys.Join(keystore.NodeInfo{ID: id, Name: id, Started: time.Now()}, maxStale)
	require.True(t, keys.Fresh(c.clock.Now(), maxStale), "it is registered")
	return &node{c.tokens(keys, s), keys}, proxy
}

func (c *cluster) tokens(keys *keystore.Cached, s session.Settings) *session.Tokens {
	c.t.Helper()
	verified, err := session.NewVerified(100)
	require.NoError(c.t, err)
	c.t.Cleanup(verified.Close)
	return session.NewTokens(keys, c.ring, verified, s)
}

func (c *cluster) seed(n *node) {
	c.t.Helper()
	_, err := n.keys.Update(c.t.Context(), func(tx keystore.Tx) error {
		if err := tx.PutCustomer(c.t.Context(), &keystore.Customer{ID: "c1", Name: "C", Enabled: true}); err != nil {
			return err
		}
		return tx.PutKey(c.t.Context(), c.key)
	})
	require.NoError(c.t, err)
}

// after is a moment by a node's clock.
func (c *cluster) after(d time.Duration) policy.Instant {
	now := c.clock.Now()
	now.Wall, now.Since = now.Wall.Add(d), now.Since+d
	return now
}

func (c *cluster) issue(n *session.Tokens, at policy.Instant) (string, error) {
	issued, err := n.Issue(context.WithoutCancel(c.t.Context()), c.key, 0, "sec_1", "", "", at)
	return issued.Token, err
}

// signedBy is the key that signs at a moment.
func (c *cluster) signedBy(n *session.Tokens, at policy.Instant) jose.Header {
	c.t.Helper()
	token, err := c.issue(n, at)
	require.NoError(c.t, err)
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
	require.NoError(c.t, err)
	return parsed.Headers[0]
}

func TestAFirstSigningKeySignsOnceTheNodesThatFollowKnowIt(t *testing.T) {
	c := newCluster(t)
	here, _ := c.join("here", 5*time.Minute, standard)
	there, _ := c.join("there", 5*time.Minute, standard)
	c.seed(here)
	decision := there.keys.Begin() // so that it confirms nothing
	began := time.Now()
	issued := make(chan struct{})
	var token string
	var err error
	go func() {
		defer close(issued)
		token, err = c.issue(here.Tokens, c.clock.Now())
	}()
	require.Eventually(t, func() bool { return len(keyIDs(t, here)) == 1 }, 10*time.Second, time.Millisecond)
	select {
	case <-issued:
		require.GreaterOrEqual(t, time.Since(began), keystore.RevokingWait, "no node waits for ever for another")
	case <-time.After(time.Second):
	}
	there.keys.End(decision)
	<-issued
	require.NoError(t, err)
	require.Len(t, keyIDs(t, there), 1, "nothing was asked for")
	_, err = there.Verify(t.Context(), token, c.clock.Now())
	require.NoError(t, err)
}

func TestANodeThatIsCutOffCannotTellOfATokenByANewKeyAndDoesNotRefuseIt(t *testing.T) {
	c := newCluster(t)
	here, _ := c.join("here", 5*time.Minute, standard)
	there, way := c.join("there", 5*time.Minute, standard)
	c.seed(here)
	forged := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","kid":"sig_made_up","typ":"at+jwt"}`)) + ".e30." + strings.Repeat("A", 86)
	_, err := there.Verify(t.Context(), forged, c.clock.Now())
	require.ErrorContains(t, err, "unknown key id", "it has just asked which keys there are")
	way.Down()
	token, err := c.issue(here.Tokens, c.clock.Now())
	require.NoError(t, err, "who is cut off keeps nobody else from signing in")
	_, err = there.Verify(t.Context(), token, c.clock.Now())
	require.Error(t, err)
	require.NotErrorIs(t, err, session.ErrInvalid)
	_, err = here.Verify(t.Context(), token, c.clock.Now())
	require.NoError(t, err)

	way.Up(t)
	require.Eventually(t, func() bool {
		_, err := there.Verify(t.Context(), token, c.clock.Now())
		require.NotErrorIs(t, err, session.ErrInvalid)
		return err == nil
	}, 30*time.Second, 20*time.Millisecond)
}

func TestANewKeySignsOnceNoRegisteredNodeMayServeWithoutIt(t *testing.T) {
	const day = 24 * time.Hour
	c := newCluster(t)
	here, _ := c.join("here", 5*time.Minute, standard)
	c.join("patient", day, standard)
	c.seed(here)
	first := c.signedBy(here.Tokens, c.after(0)).KeyID

	changed := standard
	changed.Algorithm = session.ES256
	other := c.tokens(here.keys, changed)
	require.Equal(t, first, c.signedBy(other, c.after(0)).KeyID, "the old one goes on")
	require.Len(t, keyIDs(t, here), 2, "and the new one is published")
	require.Equal(t, first, c.signedBy(other, c.after(day)).KeyID)
	require.Equal(t, session.ES256, c.signedBy(other, c.after(day+11*time.Minute)).Algorithm)

	// Nobody has signed in for long, so the successor comes late: it would be due to sign
	// before that node can know it.
	due := 30*day - 30*time.Minute
	require.Equal(t, first, c.signedBy(here.Tokens, c.after(due)).KeyID)
	require.Len(t, keyIDs(t, here), 3)
	require.Equal(t, first, c.signedBy(here.Tokens, c.after(due+day)).KeyID, "for longer than it was made for")
	second := c.signedBy(here.Tokens, c.after(due+day+11*time.Minute)).KeyID
	require.NotEqual(t, first, second)
	require.Contains(t, keyIDs(t, here), first, "its last tokens are good")
}
