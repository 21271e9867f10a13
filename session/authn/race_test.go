package authn_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
	"github.com/keyreeve/keyreeve/session/authn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is an authenticator over a real store with one key.
type bench struct {
	t      *testing.T
	clock  *storetest.Clock
	keys   *keystore.Cached
	master credential.MasterKey
	ring   *credential.Keyring
	tokens *session.Tokens
	auth   *authn.Authenticator
	secret string
}

var settings = authn.Settings{Lockout: policy.DefaultLockout(), MaxStale: time.Hour}

const clientID = "client-1"

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "keyreeve-test-"); err == nil { // syncs cost nothing there
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(shm)) })
		dir = shm
	}
	b := &bench{t: t, clock: storetest.NewClock(), secret: credential.NewSecret()}
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "keys.db"), Clock: b.clock})
	require.NoError(t, err)
	b.keys, err = keystore.OpenCached(t.Context(), store, b.clock, keystore.CacheSizes{Keys: 100, Unknown: 100}, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.keys.Close()) })
	b.master = credential.NewMasterKey()
	b.ring, err = credential.NewKeyring(b.master)
	require.NoError(t, err)
	store.SealAudit(b.ring)
	verified, err := session.NewVerified(100)
	require.NoError(t, err)
	t.Cleanup(verified.Close)
	b.tokens = session.NewTokens(b.keys, b.ring, verified, session.Settings{
		Issuer: "urn:test", DefaultValidity: time.Hour, MaxValidity: time.Hour, MaxPerKey: 10, Algorithm: session.EdDSA,
	})
	b.auth = authn.New(b.keys, b.ring, b.tokens, settings)
	b.reset()
	return b
}

// reset makes the key good again, with a fresh secret id, unlocked.
func (b *bench) reset() {
	b.update(func(ctx context.Context, tx keystore.Tx) error {
		if err := tx.PutCustomer(ctx, &keystore.Customer{ID: "c1", Name: "C", Enabled: true}); err != nil {
			return err
		}
		if err := tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "m1", CustomerID: "c1", Name: "M", Enabled: true}); err != nil {
			return err
		}
		v, _ := b.ring.Verifier(b.ring.CurrentID(), b.ring.Digest(b.secret))
		err := tx.PutKey(ctx, &keystore.Key{
			ID: "key_1", ClientID: clientID, Name: "One", CustomerID: "c1", MicrotenantID: "m1", RoleID: keystore.RoleFullAccess, Enabled: true,
			Secrets: []keystore.Secret{{ID: credential.NewID("sec"), Verifier: v, MasterKeyID: b.ring.CurrentID(), Created: tx.Now().Wall}},
		})
		if err != nil {
			return err
		}
		return tx.Unlock(ctx, "key_1")
	})
}

func (b *bench) update(fn func(context.Context, keystore.Tx) error) {
	b.t.Helper()
	_, err := b.keys.Update(b.t.Context(), func(tx keystore.Tx) error { return fn(b.t.Context(), tx) })
	require.NoError(b.t, err)
}

// edit changes the stored key.
func (b *bench) edit(fn func(*keystore.Key)) {
	b.t.Helper()
	b.update(func(ctx context.Context, tx keystore.Tx) error {
		k, err := tx.Key(ctx, "key_1")
		if err != nil {
			return err
		}
		fn(k)
		return tx.PutKey(ctx, k)
	})
}

func from() netip.Addr { return netip.MustParseAddr("192.0.2.1") }

func (b *bench) show(secret string) authn.Result {
	return b.auth.Secret(b.t.Context(), clientID, secret, from, b.clock.Now())
}

func (b *bench) bearer(token string) authn.Result {
	return b.auth.Bearer(b.t.Context(), token, from, b.clock.Now())
}

func (b *bench) signIn() session.Issued {
	b.t.Helper()
	r := b.show(b.secret)
	require.True(b.t, r.Allow, r.Detail)
	issued, err := b.tokens.Issue(b.t.Context(), r.Key, r.SessionGeneration(), r.SecretID, "", from().String(), b.clock.Now())
	require.NoError(b.t, err)
	return issued
}

// revocations are the ways in which a running session is to end, each with the
// reason that its token is refused for from then on.
var revocations = []struct {
	name   string
	revoke func(b *bench, issued session.Issued)
	want   policy.Reason
}{
	{"disable", func(b *bench, _ session.Issued) {
		b.edit(func(k *keystore.Key) { k.Enabled = false; k.Generation++ })
	}, policy.ClientInactive},
	{"disable and enable again", func(b *bench, _ session.Issued) {
		b.edit(func(k *keystore.Key) { k.Generation++ })
	}, policy.ClientInactive},
	{"delete", func(b *bench, _ session.Issued) {
		b.update(func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, "key_1") })
	}, policy.ClientInactive},
	{"secret retirement", func(b *bench, _ session.Issued) {
		b.edit(func(k *keystore.Key) { k.Secrets[0].Retired = b.clock.Now().Wall })
	}, policy.ClientInactive},
	{"expiry of the key", func(b *bench, _ session.Issued) {
		b.edit(func(k *keystore.Key) { k.ExpiresAt = b.clock.Now().Wall })
	}, policy.ClientInactive},
	{"microtenant disabled", func(b *bench, _ session.Issued) {
		b.update(func(ctx context.Context, tx keystore.Tx) error {
			return tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "m1", CustomerID: "c1", Name: "M"})
		})
	}, policy.ClientInactive},
	{"customer disabled", func(b *bench, _ session.Issued) {
		b.update(func(ctx context.Context, tx keystore.Tx) error {
			return tx.PutCustomer(ctx, &keystore.Customer{ID: "c1", Name: "C"})
		})
	}, policy.ClientInactive},
	{"microtenant disabled and enabled again", func(b *bench, _ session.Issued) {
		b.update(func(ctx context.Context, tx keystore.Tx) error {
			return tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "m1", CustomerID: "c1", Name: "M", Enabled: true, Generation: 1})
		})
	}, policy.ClientInactive},
	{"customer disabled and enabled again", func(b *bench, _ session.Issued) {
		b.update(func(ctx context.Context, tx keystore.Tx) error {
			return tx.PutCustomer(ctx, &keystore.Customer{ID: "c1", Name: "C", Enabled: true, Generation: 1})
		})
	}, policy.ClientInactive},
	{"move to customer level", func(b *bench, _ session.Issued) {
		b.edit(func(k *keystore.Key) { k.MicrotenantID = "" })
	}, policy.ClientInactive},
	{"sign-out", func(b *bench, issued session.Issued) {
		_, err := b.tokens.Revoke(b.t.Context(), issued.Claims, session.Ending{Reason: "sign_out"})
		require.NoError(b.t, err)
	}, policy.InvalidToken},
	{"lock", func(b *bench, _ session.Issued) {
		for i := range 3 {
			b.show(fmt.Sprintf("wrong-%d", i))
		}
	}, policy.ClientLocked},
	{"networks", func(b *bench, _ session.Issued) {
		b.edit(func(k *keystore.Key) { k.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} })
	}, policy.SourceNotAllowed},
}

func TestNoTokenIsAcceptedByADecisionThatStartsAfterTheRevocationsReply(t *testing.T) {
	rounds := 10_000
	if testing.Short() {
		rounds = 300
	}
	b := newBench(t)
	for i := range rounds {
		kind := revocations[i%len(revocations)]
		b.reset()
		issued := b.signIn()
		stop := make(chan struct{})
		var users sync.WaitGroup
		for range 2 {
			users.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						b.bearer(issued.Token)
					}
				}
			})
		}
		before := b.bearer(issued.Token)
		require.True(t, before.Allow, "round %d, before %s: %s", i, kind.name, before.Detail)
		kind.revoke(b, issued)
		for range 3 {
			r := b.bearer(issued.Token)
			require.False(t, r.Allow, "round %d, %s: accepted after the reply", i, kind.name)
			require.Equal(t, kind.want, r.Reason, kind.name)
		}
		close(stop)
		users.Wait()
		require.False(t, b.bearer(issued.Token).Allow, "round %d, %s", i, kind.name)
	}
}

func TestARoleEditGovernsRunningSessions(t *testing.T) {
	b := newBench(t)
	issued := b.signIn()
	require.Equal(t, keystore.RoleFullAccess, b.bearer(issued.Token).Role.ID)
	b.edit(func(k *keystore.Key) { k.RoleID = keystore.RoleReadOnly })
	r := b.bearer(issued.Token)
	require.True(t, r.Allow)
	require.Equal(t, policy.View, r.Subject().Permissions.On("anything", ""))
}

func TestExistingTokensAllowLetsALockedClientsSessionsGoOn(t *testing.T) {
	b := newBench(t)
	issued := b.signIn()
	for i := range 3 {
		b.show(fmt.Sprintf("wrong-%d", i))
	}
	require.Equal(t, policy.ClientLocked, b.bearer(issued.Token).Reason)
	lenient := settings
	lenient.ExistingTokens = true
	require.True(t, authn.New(b.keys, b.ring, b.tokens, lenient).Bearer(t.Context(), issued.Token, from, b.clock.Now()).Allow)
	b.clock.Advance(30 * time.Minute)
	require.True(t, b.bearer(issued.Token).Allow, "the lock is over, the session is not")
}

func TestARetiredSecretIsRefusedButNotCounted(t *testing.T) {
	b := newBench(t)
	old := b.secret
	v, _ := b.ring.Verifier(b.ring.CurrentID(), b.ring.Digest("krs_new"))
	b.edit(func(k *keystore.Key) {
		k.Secrets[0].Retired = b.clock.Now().Wall
		k.Secrets = append([]keystore.Secret{{ID: "sec_new", Verifier: v, MasterKeyID: b.ring.CurrentID(), Created: b.clock.Now().Wall}}, k.Secrets...)
	})
	for range 10 {
		r := b.show(old)
		require.Equal(t, policy.InvalidClient, r.Reason)
		require.False(t, r.Outcome.Counted)
	}
	require.True(t, b.show("krs_new").Allow, "not locked")
}

func TestASecretUnderAnOlderMasterKeyIsRewrappedOnUse(t *testing.T) {
	b := newBench(t)
	next := credential.NewMasterKey()
	masterKeyID := func() (id string) {
		require.NoError(t, b.keys.View(t.Context(), func(r keystore.Reader) error {
			k, err := r.Key(t.Context(), "key_1")
			if err == nil {
				id = k.Secrets[0].MasterKeyID
			}
			return err
		}))
		return id
	}
	with := func(keys ...credential.MasterKey) *authn.Authenticator {
		ring, err := credential.NewKeyring(keys...)
		require.NoError(t, err)
		return authn.New(b.keys, ring, b.tokens, settings)
	}
	show := func(a *authn.Authenticator) bool {
		return a.Secret(t.Context(), clientID, b.secret, from, b.clock.Now()).Allow
	}
	require.True(t, show(with(next, b.master)), "the older key is still read")
	require.Eventually(t, func() bool { return masterKeyID() == next.ID() }, 5*time.Second, time.Millisecond)
	// The write is in the store before this node sees it, and until then the secret
	// would be a wrong one that counts.
	require.Eventually(t, func() bool {
		return with(next).Peek(t.Context(), clientID, b.secret, from, b.clock.Now()).Allow
	}, 5*time.Second, time.Millisecond, "and not needed any more")
	require.True(t, show(with(next)))
	require.False(t, show(with(b.master)), "nor good for anything")
}
