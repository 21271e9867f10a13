package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
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
