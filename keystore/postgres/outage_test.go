package postgres

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/faultproxy"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestKnownKeysAreServedAndTheRestIsRefusedAtOnceWhateverHappensToTheNetwork(t *testing.T) {
	faults := map[string]func(g *gate, p *faultproxy.Proxy){
		"partitioned": func(g *gate, p *faultproxy.Proxy) { p.Down() },
		"half open":   func(g *gate, p *faultproxy.Proxy) { p.Silence(g.t) },
		"deaf":        func(g *gate, p *faultproxy.Proxy) { p.Deaf(g.t) },
		"slow":        func(g *gate, p *faultproxy.Proxy) { p.Slow(g.t, 5*time.Second) },
		"reset":       func(g *gate, p *faultproxy.Proxy) { p.Reset(g.t) },
		"cut short":   func(g *gate, p *faultproxy.Proxy) { p.Limit(g.t, 40) },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, pgtest.Shared(t))
			by := g.other()
			before := goroutines()
			end := g.load()
			time.Sleep(300 * time.Millisecond)
			fault(g, g.proxy)
			noticed := g.lost()
			g.refuses()
			rev := g.edit(by)
			if !testing.Short() && name == "partitioned" {
				time.Sleep(5 * time.Second) // until it is tried as rarely as it ever is
			}
			require.False(t, g.keys.Position() >= rev)
			if name == "partitioned" {
				g.proxy.Up(t)
			} else {
				g.proxy.Heal()
			}
			healed := g.heals(rev)
			end()
			t.Logf("noticed in %s, converged in %s, the slowest unknown took %s; %d known, %d unknown",
				noticed.Round(time.Millisecond), healed.Round(time.Millisecond), time.Duration(g.slowest.Load()).Round(time.Millisecond), g.known.Load(), g.unknown.Load())
			require.Eventually(t, func() bool { return g.connections() <= 2*DefaultMaxConns }, 20*time.Second, 50*time.Millisecond, "connections")
			require.Eventually(t, func() bool { return goroutines() <= before+10 }, 20*time.Second, 50*time.Millisecond, "goroutines")
		})
	}
}

func TestKnownKeysAreServedWhileTheServerIsKilledOrRestarted(t *testing.T) {
	server := pgtest.Start(t)
	g := newGate(t, server)
	by := g.other()
	end := g.load()
	for name, stop := range map[string]func(testing.TB){"killed": server.Kill, "stopped": server.Stop} {
		stop(t)
		noticed := g.lost()
		g.refuses()
		server.Start(t)
		began := time.Now()
		healed := g.heals(g.edit(by))
		t.Logf("%s: noticed in %s, converged in %s (%s with the edit)", name, noticed, healed, time.Since(began))
	}
	end()
}

func TestACallUnderWayEndsWithTheLossThatIsNoticed(t *testing.T) {
	g := newGate(t, pgtest.Shared(t))
	ctx := context.Background()
	errs := make(chan error, 3)
	begun := make(chan struct{}, 3)
	silent := make(chan struct{})
	go func() {
		_, err := g.keys.Update(ctx, func(tx keystore.Tx) error {
			begun <- struct{}{}
			<-silent
			return tx.PutKey(ctx, testKey(500))
		})
		errs <- err
	}()
	for range 2 {
		go func() {
			errs <- g.keys.View(ctx, func(r keystore.Reader) error {
				begun <- struct{}{}
				<-silent
				_, err := r.Roles(ctx, "")
				return err
			})
		}()
	}
	for range 3 {
		<-begun
	}
	g.proxy.Silence(t)
	close(silent)
	began := time.Now()
	for range 3 {
		err := <-errs
		require.ErrorIs(t, err, keystore.ErrUnavailable)
		require.NotErrorIs(t, err, context.Canceled, "nobody hung up")
		require.NotErrorIs(t, err, keystore.ErrInDoubt)
	}
	require.Less(t, time.Since(began), 2*noticesIn)
	g.proxy.Heal()
	g.heals(0)
	require.False(t, g.knows(500))
}

func TestAServerWithoutConnectionsLeftIsOutOfReachAndComesBack(t *testing.T) {
	server := pgtest.Shared(t)
	g := newGate(t, server)
	server.CreateUser(t, "limited")
	database := server.NewDatabase(t)
	server.Exec(t, "GRANT ALL ON DATABASE "+database+" TO limited")
	server.Exec(t, "ALTER DATABASE "+database+" OWNER TO limited")
	dsn := server.DSN("limited", database)
	s := open(t, dsn, g.clock)
	seed(t, s)
	putKeys(t, s, 0, 3)
	// No further connection is let in: what there are go on.
	var held []func()
	for range cap(s.reading) {
		held = append(held, holdView(t, s))
	}
	server.Exec(t, "ALTER ROLE limited CONNECTION LIMIT 1")
	_, err := pgx.Connect(t.Context(), dsn)
	require.ErrorContains(t, err, "53300")
	for _, release := range held {
		release()
	}
	for range 20 {
		_, err := s.KeyByClientID(t.Context(), testKey(0).ClientID)
		require.NoError(t, err, "by the connections that there are")
	}
	s.Interrupt() // and now by none
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := s.KeyByClientID(t.Context(), testKey(0).ClientID)
			if err != nil {
				require.ErrorIs(t, err, keystore.ErrUnavailable)
			}
		})
	}
	all.Wait()
	server.Exec(t, "ALTER ROLE limited CONNECTION LIMIT -1")
	_, err = s.KeyByClientID(t.Context(), testKey(0).ClientID)
	require.NoError(t, err)
}

// holdView keeps a snapshot open until the function is called.
func holdView(t testing.TB, s *Store) (release func()) {
	t.Helper()
	begun, end, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.View(context.Background(), func(keystore.Reader) error {
			close(begun)
			<-end
			return nil
		})
	}()
	select {
	case <-begun:
	case err := <-ended:
		require.NoError(t, err, "the view began")
	}
	return func() {
		close(end)
		require.NoError(t, <-ended)
	}
}

func TestManyNodesComeBackWithoutAStampede(t *testing.T) {
	const nodes = 20
	server := pgtest.Start(t, append(pgtest.Volatile(), "max_connections=400")...)
	g := newGate(t, server)
	by := g.other()
	database := g.store.pool.Config().ConnConfig.Database
	all := []*keystore.Cached{g.keys}
	for range nodes - 1 {
		_, c := g.node(g.proxy, database)
		all = append(all, c)
	}
	g.proxy.Down()
	for _, c := range all {
		require.Eventually(t, func() bool { _, _, lost := c.Followed(); return lost }, 2*noticesIn, time.Millisecond)
		for n := range 200 { // clients that try again and again, and counts that are owed
			_, _, err := c.Look(t.Context(), testKey(warm+n%warm).ClientID, g.clock.Now())
			require.Error(t, err)
		}
		c.Fail(policy.DefaultLockout(), keystore.Attempt{KeyID: testKey(3).ID, Fingerprint: 1})
	}
	rev := g.edit(by)
	before := g.sessions()
	g.proxy.Up(t)
	began := time.Now()
	most := 0
	for {
		behind := 0
		for _, c := range all {
			if c.Position() < rev {
				behind++
			}
		}
		most = max(most, g.connections())
		if behind == 0 {
			break
		}
		require.Less(t, time.Since(began), convergesIn, "%d nodes are behind", behind)
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(began)
	require.Eventually(t, func() bool { return g.sessions() > before }, 20*time.Second, 50*time.Millisecond)
	t.Logf("%d nodes converged in %s; %d connections at most at one time, %d opened", nodes, took.Round(time.Millisecond), most, g.sessions()-before)
	require.LessOrEqual(t, most, nodes*4, "one or two each, not all that they may have")
}
