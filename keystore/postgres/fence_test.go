package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/internal/faultproxy"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

const (
	// shortStale makes a node refuse, and be fenced, within seconds.
	shortStale = time.Second
	// fencedIn bounds every wait for what should have happened seconds before.
	fencedIn = 30 * time.Second
)

// nodes are processes that follow one database, each by a way of its own that can be
// cut. Their clocks are the machine's.
type nodes struct {
	t             testing.TB
	server        *pgtest.Server
	database, dsn string
	clock         keystore.Clock
}

type follower struct {
	*keystore.Cached
	id    string
	proxy *faultproxy.Proxy
	stale time.Duration
}

func newNodes(t testing.TB) *nodes {
	server := pgtest.Shared(t)
	n := &nodes{t: t, server: server, database: server.NewDatabase(t), clock: keystore.NewSystemClock()}
	n.dsn = server.DSN(pgtest.Superuser, n.database)
	return n
}

// join is one more node.
func (n *nodes) join(id string, stale time.Duration) *follower {
	n.t.Helper()
	f := &follower{id: id, proxy: faultproxy.Start(n.t, n.server.Address()), stale: stale}
	s, err := Open(n.t.Context(), Options{DSN: n.server.DSNBy(f.proxy.Address(), pgtest.Superuser, n.database) + "?sslmode=disable", Clock: n.clock})
	require.NoError(n.t, err)
	s.SealAudit(storetest.NewSealer("mk"))
	f.Cached, err = keystore.OpenCached(n.t.Context(), s, n.clock, keystore.CacheSizes{Keys: 1000, Unknown: 1000, UnknownTTL: time.Minute}, zap.NewNop())
	require.NoError(n.t, err)
	n.t.Cleanup(func() { require.NoError(n.t, f.Close()) })
	f.Join(keystore.NodeInfo{ID: id, Name: "gate " + id, Version: "v1", Started: time.Now()}, stale)
	require.True(n.t, f.Fresh(n.clock.Now(), stale), "it is registered")
	return f
}

// accepts decides as a gate does.
func (f *follower) accepts(key int) bool {
	d := f.Begin()
	defer f.End(d)
	now := f.Clock().Now()
	k, _, err := f.Look(context.Background(), testKey(key).ClientID, now)
	return err == nil && k.Enabled && f.Fresh(now, f.stale)
}

// enable stores a key that is enabled or not.
func (f *follower) enable(t testing.TB, key int, enabled bool) keystore.Revision {
	t.Helper()
	rev, err := f.Update(t.Context(), func(tx keystore.Tx) error {
		k := testKey(key)
		k.Enabled = enabled
		return tx.PutKey(t.Context(), k)
	})
	if !errors.Is(err, keystore.ErrUnseen) { // which a loaded machine may come to: stored all the same
		require.NoError(t, err)
	}
	return rev
}

func (f *follower) begin(t testing.TB) {
	t.Helper()
	_, err := f.Update(t.Context(), func(tx keystore.Tx) error {
		return tx.PutCustomer(t.Context(), &keystore.Customer{ID: "c", Name: "C", Enabled: true})
	})
	require.NoError(t, err)
}

// confirmed waits until a revision is confirmed by all.
func (f *follower) confirmed(t testing.TB, rev keystore.Revision) keystore.Propagation {
	t.Helper()
	p := f.Propagate(t.Context(), rev, fencedIn)
	require.Empty(t, p.Pending)
	return p
}

func (n *nodes) row(id string) (found *keystore.Registered) {
	n.t.Helper()
	s := open(n.t, n.dsn, n.clock)
	all, err := s.Nodes(n.t.Context())
	require.NoError(n.t, err)
	for i := range all {
		if all[i].ID == id {
			found = &all[i]
		}
	}
	require.NoError(n.t, s.Close())
	return found
}

func TestOnceARevocationIsConfirmedNoDecisionThatBeginsThenAccepts(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 30
	}
	all := newNodes(t)
	a, b, c := all.join("a", 5*time.Minute), all.join("b", 5*time.Minute), all.join("c", 5*time.Minute)
	a.begin(t)
	var revoked atomic.Bool
	var accepted, wrong atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for _, f := range []*follower{a, b, c} {
		load.Go(func() {
			for ctx.Err() == nil {
				after := revoked.Load()
				if f.accepts(0) {
					accepted.Add(1)
					if after {
						wrong.Add(1)
					}
				}
				time.Sleep(50 * time.Microsecond)
			}
		})
	}
	var slowest, sum time.Duration
	for range rounds {
		a.confirmed(t, a.enable(t, 0, true))
		rev := a.enable(t, 0, false)
		began := time.Now()
		require.Equal(t, 3, a.confirmed(t, rev).Confirmed)
		slowest, sum = max(slowest, time.Since(began)), sum+time.Since(began)
		revoked.Store(true)
		for _, f := range []*follower{a, b, c} {
			require.GreaterOrEqual(t, f.Position(), rev)
			require.False(t, f.accepts(0))
		}
		revoked.Store(false)
	}
	stop()
	load.Wait()
	require.Zero(t, wrong.Load())
	require.Positive(t, accepted.Load())
	t.Logf("%d accepted before; confirmed in %s, at most %s", accepted.Load(), sum/time.Duration(rounds), slowest)
}

func TestANodeThatIsCutOffIsPendingUntilItIsFencedAndRefusesByThen(t *testing.T) {
	all := newNodes(t)
	a, b := all.join("a", 5*time.Minute), all.join("b", shortStale)
	a.begin(t)
	a.confirmed(t, a.enable(t, 0, true))
	a.confirmed(t, a.enable(t, 1, true))
	require.True(t, b.accepts(1))
	b.accepts(0)
	b.proxy.Down()
	rev := a.enable(t, 0, false)
	p := a.Propagate(t.Context(), rev, 0)
	require.Equal(t, 1, len(p.Pending), "also where nothing is waited for")
	require.Equal(t, "gate b", p.Pending[0].Name)
	require.WithinDuration(t, time.Now().Add(3*time.Second), p.Pending[0].AcceptsUntil, fencedIn)
	until := p.Pending[0].AcceptsUntil
	require.Equal(t, 2, a.confirmed(t, rev).Confirmed)
	require.False(t, b.accepts(0), "others were told that it refuses")
	require.False(t, b.accepts(1), "and all else")
	require.True(t, b.Membership().Fenced)
	require.False(t, time.Now().Before(until.Add(-100*time.Millisecond)), "it was waited for")

	b.proxy.Up(t)
	require.Eventually(t, func() bool {
		require.False(t, b.accepts(0), "it refuses until it has caught up")
		return b.accepts(1)
	}, fencedIn, 100*time.Microsecond)
	require.GreaterOrEqual(t, b.Position(), rev)
}

func TestANodeThatMayServeIsNotForgottenAndComesBackIfItWas(t *testing.T) {
	all := newNodes(t)
	a, b := all.join("a", 5*time.Minute), all.join("b", 5*time.Minute)
	a.begin(t)
	a.confirmed(t, a.enable(t, 0, true))
	b.proxy.Down()
	rev := a.enable(t, 0, false)
	require.Len(t, a.Propagate(t.Context(), rev, 300*time.Millisecond).Pending, 1)
	forget := func(id string) (n keystore.Registered, err error) {
		_, err = a.Update(t.Context(), func(tx keystore.Tx) error {
			n, err = tx.(keystore.RegistryTx).ForgetNode(t.Context(), id)
			return err
		})
		return n, err
	}
	n, err := forget("b")
	require.ErrorIs(t, err, keystore.ErrInUse)
	require.WithinDuration(t, time.Now().Add(5*time.Minute), n.Until, time.Minute)
	_, err = forget("z")
	require.ErrorIs(t, err, keystore.ErrNotFound)

	run(t, connect(t, all.dsn), "UPDATE nodes SET renewed_ns = renewed_ns - 600e9 WHERE id = 'b'") // as if that long ago
	require.Equal(t, 2, a.confirmed(t, rev).Confirmed, "fenced")
	n, err = forget("b")
	require.NoError(t, err)
	require.Equal(t, "gate b", n.Name)
	require.Nil(t, all.row("b"))
	require.Equal(t, 1, a.confirmed(t, rev).Confirmed)

	b.proxy.Up(t)
	b.Join(keystore.NodeInfo{ID: "b", Name: "gate b"}, 5*time.Minute) // and a renewal is due
	require.Eventually(t, func() bool {
		r := all.row("b")
		return r != nil && r.Position >= rev
	}, fencedIn, 50*time.Millisecond, "it confirms what it had confirmed")
	require.Equal(t, 2, a.confirmed(t, rev).Confirmed)
}

func TestAClockThatWasSetFencesNobody(t *testing.T) {
	all := newNodes(t)
	clock := turnClock(t, all.dsn)
	a, b := all.join("a", 5*time.Minute), all.join("b", 5*time.Minute)
	a.begin(t)
	a.confirmed(t, a.enable(t, 0, true))
	require.True(t, b.accepts(0))
	b.proxy.Down()
	rev := a.enable(t, 0, false)
	clock.Ahead(time.Hour)
	for range 10 {
		p := a.Propagate(t.Context(), rev, 100*time.Millisecond)
		require.Len(t, p.Pending, 1, "nor in the era that begins")
		require.True(t, b.accepts(0), "it serves still")
	}
	// Who opens the store now has never seen the clock before.
	other := open(t, all.dsn, all.clock)
	found, err := other.Nodes(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.False(t, found[1].Fenced())
	clock.Ahead(-time.Hour)
	require.Len(t, a.Propagate(t.Context(), rev, 300*time.Millisecond).Pending, 1)
}

func TestANodeThatClosesIsTakenOutAndOneThatIsReplacedRefuses(t *testing.T) {
	all := newNodes(t)
	a, b := all.join("a", 5*time.Minute), all.join("b", 5*time.Minute)
	a.begin(t)
	a.confirmed(t, a.enable(t, 0, true))
	require.True(t, b.accepts(0))
	require.NoError(t, b.Close())
	require.Nil(t, all.row("b"))
	require.False(t, b.accepts(0))

	again := all.join("a", 5*time.Minute) // as a copy of its snapshot would be
	require.True(t, again.accepts(0))
	a.Join(keystore.NodeInfo{ID: "a"}, 5*time.Minute)
	require.Eventually(t, func() bool { return !a.accepts(0) }, fencedIn, 10*time.Millisecond)
	require.True(t, a.Membership().Fenced)
	require.True(t, again.accepts(0))
	require.NoError(t, a.Close())
	require.NotNil(t, all.row("a"), "it is another's")
}

func TestAProcessWhosePlaceAnotherTookIsWaitedForWhileItMayServe(t *testing.T) {
	all := newNodes(t)
	old, w := all.join("a", shortStale), all.join("w", 5*time.Minute)
	w.begin(t)
	w.confirmed(t, w.enable(t, 0, true))
	require.True(t, old.accepts(0))
	old.proxy.Down()
	next := all.join("a", 5*time.Minute) // as where its volume went to another machine
	rev := w.enable(t, 0, false)
	require.Equal(t, 3, w.confirmed(t, rev).Confirmed, "the old process counts as one more")
	require.False(t, old.accepts(0), "others were told that it refuses")
	require.False(t, next.accepts(0))
	require.GreaterOrEqual(t, next.Position(), rev)
}

func TestAShorterLeaseAppliesAtOnceAndALongerOneOnceItIsRenewed(t *testing.T) {
	all := newNodes(t)
	a := all.join("a", 5*time.Minute)
	require.Equal(t, 5*time.Minute+5*time.Second, all.row("a").Lease)
	a.proxy.Down()
	a.Join(keystore.NodeInfo{ID: "a"}, shortStale)
	require.Equal(t, 2*time.Second, a.Membership().Lease)
	a.Join(keystore.NodeInfo{ID: "a"}, 10*time.Minute)
	require.Equal(t, 2*time.Second, a.Membership().Lease)
	a.proxy.Up(t)
	require.Eventually(t, func() bool { return a.Membership().Lease == 10*time.Minute+5*time.Second }, fencedIn, 10*time.Millisecond)
	require.Equal(t, 10*time.Minute, all.row("a").MaxStale)
}

func TestAnUndecidedRequestHoldsTheConfirmationBack(t *testing.T) {
	all := newNodes(t)
	a, b := all.join("a", 5*time.Minute), all.join("b", 5*time.Minute)
	a.begin(t)
	a.confirmed(t, a.enable(t, 0, true))
	d := b.Begin()
	rev := a.enable(t, 0, false)
	require.Eventually(t, func() bool { return b.Position() >= rev }, fencedIn, time.Millisecond)
	require.False(t, b.accepts(0), "whoever begins now is refused")
	p := a.Propagate(t.Context(), rev, 300*time.Millisecond)
	require.Len(t, p.Pending, 1)
	require.Equal(t, "b", p.Pending[0].ID)
	b.End(d)
	a.confirmed(t, rev)
}

func TestTheNodeThatWroteIsPendingForItsDecisionsAloneAndNotForItsRow(t *testing.T) {
	all := newNodes(t)
	a := all.join("a", 5*time.Minute)
	a.begin(t)
	a.confirmed(t, a.enable(t, 0, true))
	d := a.Begin()
	rev := a.enable(t, 0, false)
	p := a.Propagate(t.Context(), rev, 0)
	require.Len(t, p.Pending, 1, "one that began before is under way")
	require.Equal(t, "a", p.Pending[0].ID)
	a.End(d)
	a.confirmed(t, rev)

	other := connect(t, all.dsn)
	run(t, other, "BEGIN; SELECT 1 FROM nodes FOR UPDATE")
	rev = a.enable(t, 0, true)
	require.Equal(t, 1, a.confirmed(t, rev).Confirmed)
	require.Less(t, all.row("a").Position, rev, "its row cannot say so")
	run(t, other, "COMMIT")
	require.Eventually(t, func() bool { return all.row("a").Position >= rev }, fencedIn, 10*time.Millisecond)

	// Another process has the row: what it has seen this one cannot tell.
	run(t, other, "UPDATE nodes SET token = 'another', position = 0")
	rev = a.enable(t, 0, false)
	require.Len(t, a.Propagate(t.Context(), rev, 0).Pending, 1)
}

func TestDecisionsThatOverlapForLongAreWaitedForAndNotForEver(t *testing.T) {
	all := newNodes(t)
	a, b := all.join("a", time.Minute), all.join("b", time.Minute)
	a.begin(t)
	a.confirmed(t, a.enable(t, 0, true))
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for n := range 6 {
		load.Go(func() {
			time.Sleep(time.Duration(n) * 250 * time.Millisecond)
			for ctx.Err() == nil {
				d := b.Begin()
				time.Sleep(1500 * time.Millisecond)
				b.End(d)
			}
		})
	}
	time.Sleep(1500 * time.Millisecond) // until all are under way
	a.confirmed(t, a.enable(t, 0, false))
	stop()
	load.Wait()
}

// unread is a store that does not answer what is asked of keys until it is let go on.
type unread struct {
	keystore.Store
	asked chan struct{}
	goOn  chan struct{}
}

func (u *unread) Unwrap() keystore.Store { return u.Store }

func (u *unread) KeyByClientID(ctx context.Context, id string) (*keystore.Key, error) {
	u.asked <- struct{}{}
	<-u.goOn
	return u.Store.KeyByClientID(ctx, id)
}

func TestADecisionThatWaitsForTheStoreHoldsNoConfirmationBackAndSeesWhatWasConfirmed(t *testing.T) {
	all := newNodes(t)
	a := all.join("a", time.Minute)
	a.begin(t)
	a.confirmed(t, a.enable(t, 0, true))
	slow := &unread{Store: open(t, all.dsn, all.clock), asked: make(chan struct{}), goOn: make(chan struct{})}
	b, err := keystore.OpenCached(t.Context(), slow, all.clock, keystore.CacheSizes{Keys: 10, Unknown: 10, UnknownTTL: time.Minute}, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	b.Join(keystore.NodeInfo{ID: "b"}, time.Minute)
	d := b.Begin()
	looked := make(chan *keystore.Directory, 1)
	go func() {
		_, directory, _ := b.LookWithin(context.Background(), &d, testKey(1).ClientID, all.clock.Now())
		looked <- directory
	}()
	<-slow.asked
	rev, err := a.Update(t.Context(), func(tx keystore.Tx) error {
		return tx.PutCustomer(t.Context(), &keystore.Customer{ID: "c", Name: "C"})
	})
	require.NoError(t, err)
	require.Equal(t, 2, a.confirmed(t, rev).Confirmed)
	require.EqualValues(t, 1, b.UnderWay())
	close(slow.goOn)
	<-looked
	require.True(t, d.Waited())
	b.End(d)
	require.Zero(t, b.UnderWay())

	// And one that goes on to decide holds the next back.
	a.confirmed(t, a.enable(t, 1, true))
	d = b.Begin()
	go func() {
		_, directory, _ := b.LookWithin(context.Background(), &d, testKey(1).ClientID, all.clock.Now())
		looked <- directory
	}()
	select {
	case <-slow.asked:
	case <-time.After(fencedIn):
		t.Fatal("it was not asked")
	}
	directory := <-looked
	require.False(t, directory.TenantEnabled("c", ""))
	rev = a.enable(t, 0, false)
	require.Len(t, a.Propagate(t.Context(), rev, 300*time.Millisecond).Pending, 1)
	b.End(d)
	a.confirmed(t, rev)
}

func TestWithTheRegistryOutOfReachNothingIsConfirmed(t *testing.T) {
	all := newNodes(t)
	a := all.join("a", 5*time.Minute)
	a.begin(t)
	rev := a.enable(t, 0, true)
	a.confirmed(t, rev)
	a.proxy.Down()
	began := time.Now()
	p := a.Propagate(t.Context(), rev, 100*time.Millisecond)
	require.Equal(t, keystore.Propagation{Pending: []keystore.PendingNode{{}}}, p)
	require.Less(t, time.Since(began), 5*time.Second)
}
