package cluster

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/postgres"
)

// TestHowLongARevocationTakesIsMeasured writes straight into the store, as a command
// does, so that the moment of the commit is known, and asks every gate until it refuses.
// Beside that, on the same server and in turn: what a notification takes, which is the
// soonest that anybody can know of a commit. All are measured from before the commit is
// sent. What a gate's answer to a request takes is in the first and not in the second.
func TestHowLongARevocationTakesIsMeasured(t *testing.T) {
	c := newCluster(t, options{gates: 3})
	store, err := postgres.Open(t.Context(), postgres.Options{DSN: c.server.DSN(gateUser, c.database), Clock: keystore.NewSystemClock(), Visit: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	bare := newBareNotifier(t, c)
	role := c.role(t, "all")
	took := map[string][]time.Duration{}
	note := func(what string, d time.Duration) { took[what] = append(took[what], d) }
	for round := range rounds(30) {
		k := c.gates[0].create(t, fmt.Sprint("key ", round), role)
		for _, g := range c.gates {
			g.accepts(t, k)
		}
		for _, g := range c.gates {
			began := time.Now()
			g.accepts(t, k)
			note("3. a gate's answer to a known key", time.Since(began))
		}
		note("1. commit to NOTIFY, bare", bare.measure(t))

		refused := make([]time.Time, len(c.gates))
		var asking sync.WaitGroup
		for i, g := range c.gates {
			asking.Go(func() { refused[i] = g.firstRefusal(k) })
		}
		var committing time.Time
		_, err := store.Update(t.Context(), func(tx keystore.Tx) error {
			stored, err := tx.Key(t.Context(), k.id)
			if err != nil {
				return err
			}
			stored.Enabled = false
			err = tx.PutKey(t.Context(), stored)
			committing = time.Now()
			return err
		})
		require.NoError(t, err)
		asking.Wait()
		for _, at := range refused {
			require.False(t, at.IsZero())
			note("2. commit to applied, as a request sees it", at.Sub(committing))
		}

		other := c.gates[0].create(t, fmt.Sprint("other ", round), role)
		done := c.gates[round%3].disable(t, other)
		require.Equal(t, http.StatusOK, done.status, done.body)
		note("4. a revoking call until it is answered, over three gates", done.ended.Sub(done.began))
	}
	var names []string
	for what := range took {
		names = append(names, what)
	}
	slices.Sort(names)
	for _, what := range names {
		all := took[what]
		slices.Sort(all)
		t.Logf("%-60s p50 %9s  p99 %9s  (%d)", what, percentile(all, 50), percentile(all, 99), len(all))
	}
}

// firstRefusal asks until a key is refused, and is when that answer was there; zero for
// never.
func (g *gate) firstRefusal(k key) time.Time {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if a, err := g.get(k.basic()); err == nil && a.status == http.StatusUnauthorized {
			return a.ended
		}
	}
	return time.Time{}
}

// bareNotifier is two connections to the gates' database, one of which listens.
type bareNotifier struct{ sends, hears *pgx.Conn }

func newBareNotifier(t *testing.T, c *cluster) *bareNotifier {
	t.Helper()
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), c.server.DSN(pgtest.Superuser, c.database))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	b := &bareNotifier{connect(), connect()}
	_, err := b.hears.Exec(t.Context(), "LISTEN bare")
	require.NoError(t, err)
	return b
}

// measure is from before a commit is sent until the other connection has its notification.
func (b *bareNotifier) measure(t *testing.T) time.Duration {
	t.Helper()
	tx, err := b.sends.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT pg_notify('bare', '')")
	require.NoError(t, err)
	heard := make(chan time.Time, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := b.hears.WaitForNotification(ctx); err != nil {
			t.Error(err)
		}
		heard <- time.Now()
	}()
	sent := time.Now()
	require.NoError(t, tx.Commit(t.Context()))
	return (<-heard).Sub(sent)
}
