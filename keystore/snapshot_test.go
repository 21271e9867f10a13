package keystore_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

const maxStale = 5 * time.Minute

// node is a gate's view of a store, as far as a snapshot is concerned.
type node struct {
	t      testing.TB
	db     string
	file   string
	clock  keystore.Clock
	sealer keystore.SnapshotSealer
	master credential.MasterKey
	log    *observer.ObservedLogs
}

func newNode(t testing.TB, clock keystore.Clock) *node {
	n := &node{t: t, db: filepath.Join(fastDir(t), "keys.db"), clock: clock, file: filepath.Join(t.TempDir(), "made", "snapshot"), master: credential.NewMasterKey()}
	n.sealer = ring(t, n.master)
	return n
}

func ring(t testing.TB, keys ...credential.MasterKey) *credential.Keyring {
	r, err := credential.NewKeyring(keys...)
	require.NoError(t, err)
	return r
}

// reach opens the store itself.
func (n *node) reach() keystore.Store {
	s, err := sqlite.Open(context.Background(), sqlite.Options{Path: n.db, Clock: n.clock})
	require.NoError(n.t, err)
	s.SealAudit(storetest.NewSealer("mk"))
	return s
}

// lost is the same store, out of reach.
func (n *node) lost() keystore.Store {
	identity, err := sqlite.Identity(n.db)
	require.NoError(n.t, err)
	return n.lostAt(identity)
}

func (n *node) lostAt(identity string) keystore.Store {
	d, err := keystore.OpenDeferred(context.Background(), keystore.DeferredOptions{Identity: identity, Logger: zap.NewNop(),
		Open: func(context.Context) (keystore.Store, error) {
			return nil, fmt.Errorf("%w: no route to host", keystore.ErrUnavailable)
		}})
	require.NoError(n.t, err)
	return d
}

// start starts the node on a store, to be closed by the caller or with the test.
func (n *node) start(s keystore.Store) *keystore.Cached {
	n.t.Helper()
	core, log := observer.New(zapcore.InfoLevel)
	n.log = log
	c, err := keystore.OpenCachedFrom(context.Background(), s, n.clock, keystore.CachedOptions{
		Sizes: sizes, NodeID: credential.NewID("node"), WithoutStore: true,
		Snapshot: &keystore.SnapshotOptions{Path: n.file, Sealer: n.sealer, MaxStale: maxStale},
	}, zap.New(core))
	require.NoError(n.t, err)
	return c
}

func (n *node) close(c *keystore.Cached) { require.NoError(n.t, c.Close()) }

// whyRefused is what a start said about the snapshot, "" if it is served from.
func (n *node) whyRefused() string {
	for _, e := range n.log.All() {
		if err, ok := e.ContextMap()["error"].(string); ok && (e.Message == "nothing is served from the snapshot" || e.Message == "the snapshot is not used; this node knows nothing without the store") {
			return err
		}
	}
	return ""
}

func (n *node) update(c *keystore.Cached, fn func(tx keystore.Tx) error) keystore.Revision {
	n.t.Helper()
	rev, err := c.Update(context.Background(), fn)
	require.NoError(n.t, err)
	return rev
}

func (n *node) seed(c *keystore.Cached, keys ...string) {
	ctx := context.Background()
	rev := n.update(c, func(tx keystore.Tx) error {
		if err := tx.PutCustomer(ctx, &keystore.Customer{ID: "c1", Name: "One", Enabled: true}); err != nil {
			return err
		}
		for _, id := range keys {
			if err := putKey(ctx, tx, id, true); err != nil {
				return err
			}
		}
		return nil
	})
	for _, id := range keys {
		n.look(c, id)
	}
	require.NoError(n.t, c.Durable(rev))
}

// present waits for a snapshot: while there is none, nothing has to be in one.
func (n *node) present() {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		_, err := os.Stat(n.file)
		return err == nil
	}, patience, time.Millisecond)
}

func (n *node) look(c *keystore.Cached, id string) (*keystore.Key, error) {
	k, _, err := c.Look(context.Background(), id, n.clock.Now())
	return k, err
}

// serves reports whether a node would decide on this client's key.
func (n *node) serves(c *keystore.Cached, id string) bool {
	k, err := n.look(c, id)
	if err != nil {
		require.NotErrorIs(n.t, err, keystore.ErrNotFound, "a store out of reach says nothing about what is unknown")
		require.ErrorIs(n.t, err, keystore.ErrUnavailable)
		return false
	}
	return c.Fresh(n.clock.Now(), maxStale) && k.Enabled
}

func TestANodeStartsAgainWithoutTheStoreAsItEnded(t *testing.T) {
	clock := storetest.NewClock()
	n := newNode(t, clock)
	c := n.start(n.reach())
	n.seed(c, "a", "b")
	ctx := t.Context()
	guard := policy.Lockout{Mode: policy.Guard, Attempts: 3, Duration: 30 * time.Minute, ResetAfter: time.Hour, Ceiling: 100}
	source := netip.MustParsePrefix("192.0.2.0/24")
	for i := range 3 {
		c.Fail(guard, keystore.Attempt{KeyID: "key_a", Source: source, Fingerprint: uint64(i + 1)})
	}
	rev := n.update(c, func(tx keystore.Tx) error {
		if err := tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "m", CustomerID: "c1", Name: "M", Enabled: true}); err != nil {
			return err
		}
		if err := tx.PutRole(ctx, &keystore.Role{ID: "role_x", CustomerID: "c1", Name: "X", Permissions: policy.Permissions{"thing": policy.View}}); err != nil {
			return err
		}
		now := tx.Now().Wall
		return tx.PutSession(ctx, &keystore.Session{ID: "s1", KeyID: "key_b", Issued: now, Expires: now.Add(time.Hour), Ended: now, EndReason: "signed out"})
	})
	require.NoError(t, c.Durable(rev))
	directory, id := c.Directory(), c.NodeID()
	n.close(c)

	clock.Advance(time.Minute)
	c = n.start(n.lost())
	defer n.close(c)
	require.Empty(t, n.whyRefused())
	require.Equal(t, id, c.NodeID(), "it is the node that it was")
	require.Equal(t, rev, c.Position())
	require.True(t, n.serves(c, "a"))
	require.False(t, n.serves(c, "unknown"))
	require.Equal(t, directory.Role("role_x"), c.Directory().Role("role_x"))
	require.Equal(t, directory.Customer("c1"), c.Directory().Customer("c1"))
	enabled, known := c.Directory().Microtenant("c1", "m")
	require.True(t, enabled && known)
	require.True(t, c.SessionEnded("s1"))
	require.False(t, c.SessionEnded("s2"))
	require.Equal(t, 29*time.Minute, c.Locked(guard, "key_a", source, clock.Now()))
	require.Zero(t, c.Locked(guard, "key_a", netip.MustParsePrefix("198.51.100.0/24"), clock.Now()))
}

func TestWhatAnOutageCountedIsKeptOverAStart(t *testing.T) {
	clock := storetest.NewClock()
	n := newNode(t, clock)
	c := n.start(n.reach())
	n.seed(c, "a")
	n.close(c)
	l := policy.DefaultLockout()
	c = n.start(n.lost())
	c.Fail(l, keystore.Attempt{KeyID: "key_a", Fingerprint: 1})
	c.Fail(l, keystore.Attempt{KeyID: "key_a", Fingerprint: 2})
	n.close(c)
	c = n.start(n.lost())
	require.Zero(t, c.Locked(l, "key_a", netip.Prefix{}, clock.Now()))
	c.Fail(l, keystore.Attempt{KeyID: "key_a", Fingerprint: 3})
	require.Equal(t, l.Duration, c.Locked(l, "key_a", netip.Prefix{}, clock.Now()), "two before the start and one behind it are three")
	n.close(c)
	clock.NewBoot()
	clock.StepWall(time.Minute)
	c = n.start(n.lost())
	require.GreaterOrEqual(t, c.Locked(l, "key_a", netip.Prefix{}, clock.Now()), l.Duration-time.Minute, "never shorter over a boot")
	n.close(c)
	c = n.start(n.reach())
	defer n.close(c)
	require.Eventually(t, func() bool { return c.Owed() == 0 }, patience, time.Millisecond)
	require.NoError(t, c.View(t.Context(), func(r keystore.Reader) error {
		locks, _, err := r.Locks(t.Context(), keystore.LockQuery{AllCustomers: true, Limit: 10})
		require.Len(t, locks, 1, "the store was told")
		return err
	}))
}

func TestStartingAgainDoesNotMakeASnapshotYounger(t *testing.T) {
	clock := storetest.NewClock()
	n := newNode(t, clock)
	c := n.start(n.reach())
	n.seed(c, "a")
	n.close(c)
	for minute := 1; minute <= 6; minute++ {
		if minute == 3 {
			clock.NewBoot()
		}
		clock.Advance(time.Minute)
		c := n.start(n.lost())
		require.Equal(t, minute <= 5, n.serves(c, "a"), "minute %d", minute)
		require.Eventually(t, func() bool { return c.Rewritings() > 0 }, patience, time.Millisecond)
		n.close(c)
	}
}

func TestASnapshotIsItsOwnersAloneAndSaysNothingToOthers(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	c := n.start(n.reach())
	n.seed(c, "client-canary")
	keys := ring(t, n.master)
	secret := credential.NewSecret()
	verifier, _ := keys.Verifier(keys.CurrentID(), keys.Digest(secret))
	rev := n.update(c, func(tx keystore.Tx) error {
		k, err := tx.Key(t.Context(), "key_client-canary")
		if err != nil {
			return err
		}
		k.Secrets = []keystore.Secret{{ID: "sec_1", MasterKeyID: keys.CurrentID(), Verifier: verifier, Hint: credential.Hint(secret)}}
		return tx.PutKey(t.Context(), k)
	})
	_, err := n.look(c, "client-canary")
	require.NoError(t, err)
	n.present()
	require.NoError(t, c.Durable(rev))
	c.RewriteSnapshot()
	require.NoError(t, c.Durable(rev))
	text, err := os.ReadFile(n.file)
	require.NoError(t, err)
	for _, canary := range []string{secret, string(verifier[:]), "client-canary", "sec_1"} {
		require.False(t, bytes.Contains(text, []byte(canary)))
	}
	n.close(c)
	head, err := keystore.ReadSnapshotHead(n.file, n.sealer)
	require.NoError(t, err)
	require.Equal(t, []string{keys.CurrentID()}, head.MasterKeyIDs)
	for path, mode := range map[string]fs.FileMode{n.file: 0o600, n.file + ".lock": 0o600, filepath.Dir(n.file): 0o700} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			require.Equal(t, mode, info.Mode().Perm(), path)
		}
	}
	require.NoFileExists(t, n.file+".new")
}

func TestKeysUnderAMasterKeyThatIsGoneAreUnknownRatherThanWrong(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	c := n.start(n.reach())
	n.seed(c, "a", "b")
	n.update(c, func(tx keystore.Tx) error {
		k, err := tx.Key(t.Context(), "key_a")
		if err != nil {
			return err
		}
		k.Secrets = []keystore.Secret{{ID: "sec_1", MasterKeyID: "0123456789ab"}}
		return tx.PutKey(t.Context(), k)
	})
	_, err := n.look(c, "a")
	require.NoError(t, err)
	n.close(c)
	c = n.start(n.lost())
	defer n.close(c)
	require.False(t, n.serves(c, "a"))
	require.True(t, n.serves(c, "b"))
}

func TestTwoProcessesDoNotKeepOneSnapshot(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	first := n.start(n.reach())
	n.seed(first, "a")
	second := n.start(n.lost())
	require.NotEqual(t, first.NodeID(), second.NodeID())
	require.False(t, n.serves(second, "a"))
	n.close(second)
	n.close(first)
	_, err := keystore.LoadSnapshot(n.file, n.sealer)
	require.NoError(t, err)
}

func TestANodeThatKnowsNothingStartsAndLearns(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	s := n.reach()
	identity := s.Identity()
	require.NoError(t, s.Close())
	up := make(chan struct{})
	d, err := keystore.OpenDeferred(t.Context(), keystore.DeferredOptions{Identity: identity, Logger: zap.NewNop(),
		Open: func(context.Context) (keystore.Store, error) {
			select {
			case <-up:
				return n.reach(), nil
			default:
				return nil, fmt.Errorf("%w: refused", keystore.ErrUnavailable)
			}
		}})
	require.NoError(t, err)
	c := n.start(d)
	defer n.close(c)
	require.False(t, n.serves(c, "a"))
	require.False(t, c.Fresh(n.clock.Now(), time.Hour))
	close(up)
	require.Eventually(t, func() bool { return c.Fresh(n.clock.Now(), maxStale) }, patience, time.Millisecond)
	n.seed(c, "a")
	require.True(t, n.serves(c, "a"))
}

func TestASnapshotThatCannotBeBegunIsNoReasonToWait(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	require.NoError(t, os.MkdirAll(filepath.Join(n.file+".new", "in the way"), 0o700))
	c := n.start(n.reach())
	n.seed(c, "a") // durable: there is nothing to start from
	n.close(c)
	_, err := keystore.LoadSnapshot(n.file, n.sealer)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestASnapshotThatDoesNotGoOnIsTakenAwayBeforeMoreIsConfirmed(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	c := n.start(n.reach())
	n.seed(c, "a")
	n.close(c)
	require.NoError(t, os.MkdirAll(filepath.Join(n.file+".new", "in the way"), 0o700))
	c = n.start(n.lost())
	n.close(c)
	_, err := keystore.LoadSnapshot(n.file, n.sealer)
	require.NoError(t, err, "without the store it is all there is")
	c = n.start(n.reach())
	defer n.close(c)
	require.NoError(t, c.Durable(n.update(c, func(tx keystore.Tx) error { return disable(t.Context(), tx, "a") })))
	_, err = keystore.LoadSnapshot(n.file, n.sealer)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Eventually(t, func() bool { return n.log.FilterMessageSnippet("can be written and none is left").Len() == 1 }, patience, time.Millisecond)
}
