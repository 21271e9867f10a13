package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// vault is a database with backups.
type vault struct {
	server *pgtest.Server
	name   string
	dsn    string
	copies int
}

func newVault(t testing.TB) *vault {
	server := pgtest.Shared(t)
	v := &vault{server: server, name: server.NewDatabase(t)}
	v.dsn = server.DSN(pgtest.Superuser, v.name)
	s := v.open(t)
	seed(t, s)
	require.NoError(t, s.Close())
	return v
}

// open opens a store that the test closes, on the database or one of its backups.
func (v *vault) open(t testing.TB, backup ...string) *Store {
	t.Helper()
	dsn := v.dsn
	if len(backup) > 0 {
		dsn = v.server.DSN(pgtest.Superuser, backup[0])
	}
	s, err := Open(t.Context(), Options{DSN: dsn, Clock: keystore.NewSystemClock()})
	require.NoError(t, err)
	s.SealAudit(storetest.NewSealer("mk"))
	return s
}

// backup copies the database, which nobody may have open.
func (v *vault) backup(t testing.TB) string {
	t.Helper()
	v.copies++
	name := fmt.Sprintf("%s_copy%d", v.name, v.copies)
	v.server.Exec(t, "CREATE DATABASE "+name+" TEMPLATE "+v.name)
	t.Cleanup(func() {
		c := connect(t, v.server.DSN(pgtest.Superuser, "postgres"))
		run(t, c, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	})
	return name
}

// restore puts a backup in place of the database, under whoever has it open.
func (v *vault) restore(t testing.TB, backup string) {
	t.Helper()
	v.copies++
	old := fmt.Sprintf("%s_copy%d", v.name, v.copies)
	c := connect(t, v.server.DSN(pgtest.Superuser, "postgres"))
	run(t, c, "ALTER DATABASE "+v.name+" ALLOW_CONNECTIONS false")
	require.Eventually(t, func() bool {
		run(t, c, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+v.name+"'")
		_, err := c.Exec(context.Background(), "ALTER DATABASE "+v.name+" RENAME TO "+old)
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	run(t, c, "ALTER DATABASE "+backup+" RENAME TO "+v.name)
	t.Cleanup(func() {
		c := connect(t, v.server.DSN(pgtest.Superuser, "postgres"))
		run(t, c, "DROP DATABASE IF EXISTS "+old+" WITH (FORCE)")
	})
}

// restoreGate is one node on the database.
type restoreGate struct {
	*keystore.Cached
	logs *observer.ObservedLogs
	way  *cutOff
}

// cutOff is a store that a test keeps from its follower.
type cutOff struct {
	*Store
	held atomic.Bool
}

func (c *cutOff) HeadStamp(ctx context.Context) (keystore.Revision, keystore.Stamp, error) {
	if c.held.Load() {
		return 0, 0, keystore.ErrUnavailable
	}
	return c.Store.HeadStamp(ctx)
}

func (v *vault) gate(t testing.TB) *restoreGate {
	t.Helper()
	way := &cutOff{Store: v.open(t)}
	g := v.gateBy(t, way)
	g.way = way
	return g
}

func (v *vault) gateBy(t testing.TB, way keystore.Store) *restoreGate {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	c, err := keystore.OpenCached(t.Context(), way, keystore.NewSystemClock(),
		keystore.CacheSizes{Keys: 1000, Unknown: 100, UnknownTTL: time.Second}, zap.New(core))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &restoreGate{Cached: c, logs: logs}
}

// request is what somebody shows at a gate.
type request struct {
	key, secret int
	session     string
	from        netip.Addr
	resource    string
}

// accepts is a decision, as far as it is made of what the store knows.
func (g *restoreGate) accepts(r request) bool {
	now := g.Clock().Now()
	k, d, err := g.Look(context.Background(), testKey(r.key).ClientID, now)
	if err != nil || !g.Fresh(now, 5*time.Minute) {
		return false
	}
	s := k.SecretByID(fmt.Sprintf("sec_%08d_%d", r.key, r.secret))
	role := d.Role(k.RoleID)
	generation, _ := keystore.SessionOrigin(r.session)
	return k.Active() && !k.Expired(now.Wall) && k.AllowsAddress(r.from) && d.TenantEnabled(k.CustomerID, k.MicrotenantID) &&
		s != nil && s.Live(now.Wall) && role != nil && role.Permissions.Allow(r.resource, "", policy.Read) &&
		g.Locked(policy.DefaultLockout(), k.ID, netip.Prefix{}, now) == 0 &&
		(r.session == "" || !g.SessionEnded(r.session) && generation == d.SessionGeneration(k))
}

var near = netip.MustParseAddr("192.0.2.1")

func inSession(key int) string {
	return keystore.SessionID(fmt.Sprintf("ses%d", key), 0, fmt.Sprintf("sec_%08d_0", key))
}

// requests are what was accepted when the backup was made, by what takes it away.
func requests() map[string]request {
	return map[string]request{
		"deleted": {key: 0}, "disabled": {key: 1}, "retired": {key: 2}, "removed": {key: 3, secret: 1}, "signed out": {key: 4, session: inSession(4)},
		"all signed out": {key: 5, session: inSession(5)}, "role narrowed": {key: 6, resource: "b"}, "role changed": {key: 7, resource: "b"},
		"networks": {key: 8}, "expired": {key: 9}, "locked": {key: 10}, "tenant disabled": {key: 11}, "tenant signed out": {key: 12, session: inSession(12)},
		"tenant deleted": {key: 13}, "role unknown to the backup": {key: 14, resource: "b"},
	}
}

const lastKey = 16 // of which nothing is taken away, as of those from 15 on

// fill makes the keys as they are when the backup is made.
func (v *vault) fill(t testing.TB) {
	s := v.open(t)
	defer s.Close()
	ctx := t.Context()
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		must := func(err error) { require.NoError(t, err) }
		for _, id := range []string{"c11", "c12", "c13"} {
			must(tx.PutCustomer(ctx, &keystore.Customer{ID: id, Name: id, Enabled: true}))
		}
		wide := policy.Permissions{"a": policy.View, "b": policy.Full}
		must(tx.PutRole(ctx, &keystore.Role{ID: "wide", Name: "Wide", Permissions: wide}))
		must(tx.PutRole(ctx, &keystore.Role{ID: "wide too", Name: "Wide too", Permissions: wide}))
		must(tx.PutRole(ctx, &keystore.Role{ID: "narrow", Name: "Narrow", Permissions: policy.Permissions{"a": policy.View}}))
		for n := range lastKey + 1 {
			k := testKey(n)
			k.Secrets = nil
			for i := range 2 {
				k.Secrets = append(k.Secrets, keystore.Secret{ID: fmt.Sprintf("sec_%08d_%d", n, i), MasterKeyID: "mk", Created: tx.Now().Wall})
			}
			switch n {
			case 6:
				k.RoleID = "wide"
			case 7, 14:
				k.RoleID = "wide too"
			case 11, 12, 13:
				k.CustomerID = fmt.Sprintf("c%d", n)
			}
			must(tx.PutKey(ctx, k))
			if n == 4 || n == 5 || n == 12 {
				must(tx.PutSession(ctx, &keystore.Session{ID: inSession(n), KeyID: k.ID, Issued: tx.Now().Wall, Expires: tx.Now().Wall.Add(time.Hour)}))
			}
		}
		return nil
	})
	require.NoError(t, err)
}

// edit changes a key in a transaction of its own.
func edit(t testing.TB, g *restoreGate, n int, fn func(*keystore.Key)) {
	t.Helper()
	ctx := t.Context()
	_, err := g.Update(ctx, func(tx keystore.Tx) error {
		k, err := tx.Key(ctx, testKey(n).ID)
		if err != nil {
			return err
		}
		fn(k)
		return tx.PutKey(ctx, k)
	})
	require.NoError(t, err)
}

// revoke takes away what requests asks for, all of it.
func revoke(t testing.TB, g *restoreGate) {
	t.Helper()
	ctx := t.Context()
	write := func(fn func(tx keystore.Tx) error) {
		t.Helper()
		_, err := g.Update(ctx, fn)
		require.NoError(t, err)
	}
	write(func(tx keystore.Tx) error { return tx.DeleteKey(ctx, testKey(0).ID) })
	edit(t, g, 1, func(k *keystore.Key) { k.Enabled = false })
	edit(t, g, 2, func(k *keystore.Key) { k.Secrets[0].Retired = time.Now() })
	edit(t, g, 3, func(k *keystore.Key) { k.Secrets = k.Secrets[:1] })
	write(func(tx keystore.Tx) error {
		return tx.PutSession(ctx, &keystore.Session{ID: inSession(4), KeyID: testKey(4).ID, Expires: time.Now().Add(time.Hour), Ended: time.Now(), EndReason: "signed_out"})
	})
	edit(t, g, 5, func(k *keystore.Key) { k.Generation++ })
	write(func(tx keystore.Tx) error {
		return tx.PutRole(ctx, &keystore.Role{ID: "wide", Name: "Wide", Permissions: policy.Permissions{"a": policy.View}})
	})
	edit(t, g, 7, func(k *keystore.Key) { k.RoleID = "narrow" })
	edit(t, g, 8, func(k *keystore.Key) { k.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} })
	edit(t, g, 9, func(k *keystore.Key) { k.ExpiresAt = time.Now().Add(-time.Second) })
	for range policy.DefaultLockout().Attempts {
		g.Fail(policy.DefaultLockout(), keystore.Attempt{KeyID: testKey(10).ID})
	}
	write(func(tx keystore.Tx) error { return tx.PutCustomer(ctx, &keystore.Customer{ID: "c11", Name: "c11"}) })
	write(func(tx keystore.Tx) error {
		return tx.PutCustomer(ctx, &keystore.Customer{ID: "c12", Name: "c12", Enabled: true, Generation: 1})
	})
	write(func(tx keystore.Tx) error {
		if err := tx.DeleteKey(ctx, testKey(13).ID); err != nil {
			return err
		}
		return tx.DeleteCustomer(ctx, "c13")
	})
	write(func(tx keystore.Tx) error {
		return tx.PutRole(ctx, &keystore.Role{ID: "later", Name: "Later", Permissions: policy.Permissions{"a": policy.View}})
	})
	edit(t, g, 14, func(k *keystore.Key) { k.RoleID = "later" })
	// Disabled and enabled again: nothing is taken away.
	edit(t, g, 15, func(k *keystore.Key) { k.Enabled = false })
	edit(t, g, 15, func(k *keystore.Key) { k.Enabled = true })
}

// guard watches gates until stop is called: none may accept what was taken away.
func guard(t testing.TB, gates ...*restoreGate) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	accepted := make(chan string, 1)
	for n, g := range gates {
		watching.Go(func() {
			for ctx.Err() == nil {
				for why, r := range requests() {
					if g.accepts(fromNear(r)) {
						select {
						case accepted <- fmt.Sprintf("node %d accepted: %s", n, why):
						default:
						}
						return
					}
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() {
		t.Helper()
		cancel()
		watching.Wait()
		select {
		case what := <-accepted:
			t.Fatal(what)
		default:
		}
	}
}

func fromNear(r request) request {
	r.from = near
	if r.resource == "" {
		r.resource = "a"
	}
	return r
}

// followed waits until a gate follows the restored database.
func followed(t testing.TB, gates ...*restoreGate) {
	t.Helper()
	for _, g := range gates {
		require.Eventually(t, func() bool {
			return g.logs.FilterMessageSnippet("revoked in the restored database").Len() > 0 && g.Poll(t.Context()) == nil
		}, 30*time.Second, 20*time.Millisecond)
	}
}

func restored(t testing.TB, g *restoreGate) (found *keystore.Restore) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, g.View(ctx, func(r keystore.Reader) (err error) {
		found, err = r.(keystore.RestoreReader).Restored(ctx)
		return err
	}))
	return found
}

func accept(t testing.TB, g *restoreGate) (accepted *keystore.Restore) {
	t.Helper()
	ctx := t.Context()
	_, err := g.Update(ctx, func(tx keystore.Tx) (err error) {
		accepted, err = tx.(keystore.RestoreTx).AcceptRestore(ctx)
		return err
	})
	require.NoError(t, err)
	return accepted
}

func requireRefused(t testing.TB, gates ...*restoreGate) {
	t.Helper()
	for n, g := range gates {
		for why, r := range requests() {
			require.False(t, g.accepts(fromNear(r)), "node %d: %s", n, why)
		}
		require.True(t, g.accepts(fromNear(request{key: lastKey})), "node %d: what nobody touched", n)
		require.True(t, g.accepts(fromNear(request{key: 15})), "node %d: what was given back", n)
	}
}

// replayed is what the audit trail tells of the replays.
func replayed(t testing.TB, g *restoreGate) (all []map[string]int) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, g.View(ctx, func(r keystore.Reader) error {
		events, _, err := r.AuditEvents(ctx, keystore.AuditQuery{AllCustomers: true, Action: "store.restore_replay", Limit: 100})
		for _, e := range events {
			var after struct {
				Replayed map[string]int `json:"replayed"`
			}
			require.NoError(t, json.Unmarshal(e.After, &after))
			all = append(all, after.Replayed)
		}
		return err
	}))
	return all
}

func TestWhatWasRevokedStaysRevokedWhenAnOldBackupIsRestored(t *testing.T) {
	for _, past := range []bool{false, true} {
		t.Run(fmt.Sprintf("written past the old head %v", past), func(t *testing.T) {
			v := newVault(t)
			v.fill(t)
			backup := v.backup(t)
			a, b := v.gate(t), v.gate(t)
			for why, r := range requests() {
				require.True(t, a.accepts(fromNear(r)), why)
			}
			revoke(t, a)
			head := a.Position()
			require.NoError(t, b.AwaitRevision(t.Context(), head))
			require.Eventually(t, func() bool { return !b.accepts(fromNear(requests()["locked"])) }, 10*time.Second, time.Millisecond)
			if past {
				// Numbers that both nodes have seen, and more, of another history.
				s := v.open(t, backup)
				for range int(head) + 5 {
					k := testKey(lastKey)
					k.RoleID, k.Labels = keystore.RoleFullAccess, map[string]string{"n": fmt.Sprint(time.Now().UnixNano())}
					k.Secrets[0].ID = fmt.Sprintf("sec_%08d_0", lastKey)
					_, err := s.Update(t.Context(), func(tx keystore.Tx) error { return tx.PutKey(t.Context(), k) })
					require.NoError(t, err)
				}
				require.NoError(t, s.Close())
			}
			stop := guard(t, a, b)
			v.restore(t, backup)
			followed(t, a, b)
			stop()
			requireRefused(t, a, b)

			found := restored(t, a)
			require.NotNil(t, found)
			require.Equal(t, head, found.From)
			require.Positive(t, found.Replayed)
			require.Equal(t, past, found.To > found.From)
			require.WithinDuration(t, time.Now(), found.Noticed, time.Minute)
			require.Len(t, replayed(t, a), 1, "the second node found nothing left to do")
			require.Equal(t, "", verifyChain(t, v.openFor(t), "c"))

			// A node that knows nothing of before.
			requireRefused(t, v.gate(t))
			require.Equal(t, found, accept(t, b))
			require.Nil(t, restored(t, a))
			edit(t, a, 1, func(k *keystore.Key) { k.Enabled = true })
			require.True(t, a.accepts(fromNear(requests()["disabled"])), "an operator may give back")
			require.NoError(t, b.AwaitRevision(t.Context(), a.Position()))
			require.True(t, b.accepts(fromNear(requests()["disabled"])))
		})
	}
}

// openFor is a store that is closed with the test.
func (v *vault) openFor(t testing.TB) *Store {
	s := v.open(t)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestOneLostRevisionIsNoticed(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	backup := v.backup(t)
	g := v.gate(t)
	edit(t, g, 1, func(k *keystore.Key) { k.Enabled = false })
	v.restore(t, backup)
	followed(t, g)
	require.False(t, g.accepts(fromNear(requests()["disabled"])))
	require.True(t, g.accepts(fromNear(requests()["retired"])))
	require.Equal(t, 1, restored(t, g).Replayed)
	require.Equal(t, []map[string]int{{"key.update": 1}}, replayed(t, g))
}

func TestALossOfNothingThatWasRevokedStillWaitsForAnOperator(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	backup := v.backup(t)
	g := v.gate(t)
	putKeys(t, g.way.Store, 100, 1)
	require.Eventually(t, func() bool { return g.accepts1(t, 100) }, 10*time.Second, 10*time.Millisecond)
	v.restore(t, backup)
	followed(t, g)
	require.Zero(t, restored(t, g).Replayed)
	_, _, err := g.Look(t.Context(), testKey(100).ClientID, g.Clock().Now())
	require.ErrorIs(t, err, keystore.ErrNotFound, "it was lost")
	require.True(t, g.accepts(fromNear(requests()["disabled"])))
}

func (g *restoreGate) accepts1(t testing.TB, n int) bool {
	_, _, err := g.Look(t.Context(), testKey(n).ClientID, g.Clock().Now())
	return err == nil
}

func TestASecondRestoreIsMendedLikeTheFirst(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	first, second := v.backup(t), v.backup(t)
	g := v.gate(t)
	edit(t, g, 1, func(k *keystore.Key) { k.Enabled = false })
	v.restore(t, first)
	followed(t, g)
	accept(t, g)
	edit(t, g, 2, func(k *keystore.Key) { k.Secrets[0].Retired = time.Now() })
	g.logs.TakeAll()
	v.restore(t, second)
	followed(t, g)
	require.False(t, g.accepts(fromNear(requests()["disabled"])), "known from before the first")
	require.False(t, g.accepts(fromNear(requests()["retired"])))
	require.Equal(t, 2, restored(t, g).Replayed)
}

func TestANodeThatComesLateTakesNothingBackThatAnOperatorGave(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	backup := v.backup(t)
	a, late := v.gate(t), v.gate(t)
	edit(t, a, 1, func(k *keystore.Key) { k.Enabled = false })
	require.NoError(t, late.AwaitRevision(t.Context(), a.Position()))
	late.way.held.Store(true)
	require.Error(t, late.Poll(t.Context()))
	v.restore(t, backup)
	followed(t, a)
	accept(t, a)
	edit(t, a, 1, func(k *keystore.Key) { k.Enabled = true })
	late.way.held.Store(false)
	followed(t, late)
	require.True(t, late.accepts(fromNear(requests()["disabled"])))
	require.Nil(t, restored(t, a))
}

func TestAnotherStoreBehindTheSameNameIsNotFollowed(t *testing.T) {
	v, other := newVault(t), newVault(t)
	v.fill(t)
	other.fill(t)
	foreign := other.backup(t)
	g := v.gate(t)
	edit(t, g, 1, func(k *keystore.Key) { k.Enabled = false })
	head := g.Position()
	require.True(t, g.accepts(fromNear(requests()["retired"])))
	v.restore(t, foreign)
	require.Eventually(t, func() bool {
		err := g.Poll(t.Context())
		return errors.Is(err, keystore.ErrParted) && strings.Contains(err.Error(), "another store")
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, head, g.Position())
	require.True(t, g.accepts(fromNear(requests()["retired"])), "what is known is served until max_stale")
	require.False(t, g.accepts(fromNear(requests()["disabled"])))
	s := v.openFor(t)
	var written int64
	c := connect(t, v.dsn)
	require.NoError(t, c.QueryRow(t.Context(), "SELECT count(*) FROM replayed").Scan(&written))
	require.Zero(t, written, "nothing is merged into it")
	_ = s
}

// anySealer seals nothing well: what is in the file is no matter here.
type anySealer struct{}

func (anySealer) CurrentID() string { return "any" }

func (anySealer) Derive(string, string) (key [32]byte, held bool) { return key, true }

func TestANodeThatBeginsFromItsSnapshotBringsWhatItHadSeen(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	backup := v.backup(t)
	file := filepath.Join(t.TempDir(), "snapshot")
	begin := func() (*keystore.Cached, *observer.ObservedLogs) {
		core, logs := observer.New(zap.WarnLevel)
		c, err := keystore.OpenCachedFrom(t.Context(), v.open(t), keystore.NewSystemClock(), keystore.CachedOptions{
			Sizes: keystore.CacheSizes{Keys: 1000, Unknown: 100, UnknownTTL: time.Second}, NodeID: "node",
			Snapshot: &keystore.SnapshotOptions{Path: file, Sealer: anySealer{}, MaxStale: 5 * time.Minute}}, zap.New(core))
		require.NoError(t, err)
		return c, logs
	}
	c, logs := begin()
	g := &restoreGate{Cached: c, logs: logs}
	revoke(t, g)
	require.NoError(t, g.Poll(t.Context()))
	require.NoError(t, c.Close())
	v.restore(t, backup)
	c, logs = begin()
	defer func() { require.NoError(t, c.Close()) }()
	g = &restoreGate{Cached: c, logs: logs}
	followed(t, g)
	requireRefused(t, g)
	require.NotNil(t, restored(t, g))
	require.Len(t, replayed(t, g), 1)
}

func TestNoNodeIsTakenForFencedByWhatARestoredDatabaseKnowsOfIt(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	// In the backup one node is there, long fenced and far ahead; the other is not.
	early := v.gate(t)
	early.Join(keystore.NodeInfo{ID: "early", Name: "early"}, time.Minute)
	require.Eventually(t, func() bool { return early.Confirmed(t) >= early.Position() }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, early.Close())
	backup := v.backup(t)
	s := v.open(t, backup)
	require.NoError(t, s.Renew(t.Context(), keystore.Registration{ID: "gone", Name: "gone", Lease: time.Minute}))
	require.NoError(t, s.Close())
	c := connect(t, v.server.DSN(pgtest.Superuser, backup))
	run(t, c, "UPDATE nodes SET renewed_ns = renewed_ns - 3600000000000, position = 1000000")
	require.NoError(t, c.Close(context.Background()))

	g := v.gate(t)
	g.Join(keystore.NodeInfo{ID: "late", Name: "late"}, time.Minute)
	edit(t, g, 1, func(k *keystore.Key) { k.Enabled = false })
	v.restore(t, backup)
	followed(t, g)
	nodes, err := v.openFor(t).Nodes(t.Context())
	require.NoError(t, err)
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
		require.False(t, n.Fenced(), "%+v", n)
		if n.Name != "late" {
			require.Zero(t, n.Position, "%+v", n)
			require.Greater(t, n.Left, 30*time.Second)
		}
	}
	require.Contains(t, names, "gone")
	require.Contains(t, names, "(nodes that the restored database does not know)")
}

// Confirmed is what the database says that the only node has confirmed.
func (g *restoreGate) Confirmed(t testing.TB) (r keystore.Revision) {
	nodes, err := g.way.Nodes(t.Context())
	require.NoError(t, err)
	for _, n := range nodes {
		r = max(r, n.Position)
	}
	return r
}
