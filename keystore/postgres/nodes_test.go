package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func registration(id string) keystore.Registration {
	return keystore.Registration{ID: id, Name: "gate " + id, Version: "v1", Started: time.UnixMilli(1_700_000_000_000).UTC(),
		MaxStale: time.Minute, Lease: 65 * time.Second, Boot: "boot-1"}
}

func onlyNode(t *testing.T, s *Store) keystore.Registered {
	t.Helper()
	all, err := s.Nodes(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	return all[0]
}

func TestANodeIsListedAsItRenewedLast(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	all, err := s.Nodes(ctx)
	require.NoError(t, err)
	require.Empty(t, all)
	r := registration("a")
	require.NoError(t, s.Renew(ctx, r))
	n := onlyNode(t, s)
	require.Equal(t, r, n.Registration)
	require.False(t, n.Fenced())
	require.WithinDuration(t, time.Now(), n.Renewed, 10*time.Second)
	require.Equal(t, n.Renewed.Add(65*time.Second+time.Second+650*time.Millisecond), n.Until)
	require.InDelta(t, 66, n.Left.Seconds(), 10)
	r.Name, r.Lease, r.Stopped = "moved", 30*time.Second, true
	require.NoError(t, s.Renew(ctx, r))
	again := onlyNode(t, s)
	require.Equal(t, r, again.Registration)
	require.True(t, again.Renewed.After(n.Renewed))
	require.NoError(t, s.Leave(ctx, "a"))
	require.NoError(t, s.Leave(ctx, "a"))
	all, err = s.Nodes(ctx)
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestOnlyWhatThisHistoryHasIsConfirmedAndNeverLess(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	putKeys(t, s, 0, 1)
	require.NoError(t, s.Renew(ctx, registration("a")))
	head, stamp, err := s.HeadStamp(ctx)
	require.NoError(t, err)
	confirmed := func(r keystore.Revision, seen keystore.Stamp) keystore.Revision {
		t.Helper()
		require.NoError(t, s.Confirm(ctx, "a", r, seen))
		return onlyNode(t, s).Position
	}
	require.Zero(t, confirmed(head+1, stamp), "not there yet, or not any more")
	require.Zero(t, confirmed(head, stamp+1), "another history's")
	require.Equal(t, head, confirmed(head, stamp))
	require.NoError(t, s.Renew(ctx, registration("a")))
	require.Equal(t, head, onlyNode(t, s).Position, "a renewal leaves it")
	require.NoError(t, s.Confirm(ctx, "nobody", head, stamp))
	require.NoError(t, s.using(ctx, func(c *conn) error { // nothing of a confirmation's haste stays
		return c.c.QueryRow(ctx, "SELECT 1 WHERE current_setting('synchronous_commit') = (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit')").Scan(new(int))
	}))
}

func TestARenewalThatComesLateChangesNothing(t *testing.T) {
	dsn := newDSN(t)
	clock := keystore.NewSystemClock()
	old, next := open(t, dsn, clock), open(t, dsn, clock)
	ctx := t.Context()
	require.NoError(t, old.Renew(ctx, registration("a")))
	require.NoError(t, old.Renew(ctx, registration("a")))
	late := func(turn int64) {
		t.Helper()
		before := onlyNode(t, old)
		require.NoError(t, old.using(ctx, func(c *conn) error {
			found, err := old.renewed(ctx, c, renewNode, []any{"a", old.registry.token, turn, "late", "", int64(0), int64(1), int64(1), true, ""})
			require.False(t, found)
			return err
		}))
		require.Equal(t, before.Registration, onlyNode(t, old).Registration)
	}
	late(1)
	late(2)
	seed(t, next)
	putKeys(t, next, 0, 1)
	head, stamp, err := next.HeadStamp(ctx)
	require.NoError(t, err)
	require.NoError(t, old.Confirm(ctx, "a", head, stamp))
	require.NoError(t, next.Renew(ctx, registration("a")), "the process that was started next takes the row")
	require.Zero(t, onlyNode(t, next).Position, "and has yet to confirm")
	late(99)
	require.ErrorIs(t, old.Renew(ctx, registration("a")), keystore.ErrReplaced)
	require.NoError(t, old.Confirm(ctx, "a", head, stamp))
	require.NoError(t, old.Leave(ctx, "a"))
	require.Zero(t, onlyNode(t, next).Position)
	run(t, connect(t, dsn), "UPDATE nodes SET renewed_ns = renewed_ns - 120e9")
	require.NoError(t, old.Renew(ctx, registration("a")), "once the other is fenced")
}

func TestWhoTakesANodeOverLeavesARemnantUnlessTheProcessBeforeIsProvenToBeGone(t *testing.T) {
	for name, c := range map[string]struct {
		was, is string // the boots
		change  func(*keystore.Registration)
		sql     string
		remnant bool
	}{
		"in the same boot":     {was: "1", is: "1"},
		"in another boot":      {was: "1", is: "2", remnant: true},
		"without a snapshot":   {remnant: true},
		"with one only since":  {is: "1", remnant: true},
		"after it had stopped": {was: "1", is: "2", change: func(r *keystore.Registration) { r.Stopped = true }},
		"after it was fenced":  {was: "1", is: "2", sql: "UPDATE nodes SET renewed_ns = renewed_ns - 120e9"},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := newDSN(t)
			clock := keystore.NewSystemClock()
			old, next := open(t, dsn, clock), open(t, dsn, clock)
			ctx, r := t.Context(), registration("a")
			r.Boot = c.was
			require.NoError(t, old.Renew(ctx, r))
			if c.change != nil {
				c.change(&r)
				require.NoError(t, old.Renew(ctx, r))
			}
			if c.sql != "" {
				run(t, connect(t, dsn), c.sql)
			}
			before := onlyNode(t, old)
			r = registration("a")
			r.Boot = c.is
			require.NoError(t, next.Renew(ctx, r))
			all, err := next.Nodes(ctx)
			require.NoError(t, err)
			if !c.remnant {
				require.Len(t, all, 1)
				return
			}
			require.Len(t, all, 2)
			require.Equal(t, "a", all[0].ID)
			require.Equal(t, []bool{false, true}, []bool{all[0].Former, all[1].Former})
			require.Equal(t, before.Renewed, all[1].Renewed)
			require.Equal(t, before.Until, all[1].Until)
			require.ErrorIs(t, old.Renew(ctx, r), keystore.ErrReplaced, "nor does it renew that one")
			require.NoError(t, next.Trim(ctx, policy.DefaultLockout(), time.Hour))
			all, err = next.Nodes(ctx)
			require.NoError(t, err)
			require.Len(t, all, 2, "it may serve still")
			run(t, connect(t, dsn), "UPDATE nodes SET renewed_ns = renewed_ns - 120e9 WHERE id <> 'a'")
			require.NoError(t, next.Trim(ctx, policy.DefaultLockout(), time.Hour))
			require.Equal(t, "a", onlyNode(t, next).ID)
		})
	}
}

func TestANodeThatRenewedByAClockThatWasSetBackIsNotYoungerForIt(t *testing.T) {
	dsn := newDSN(t)
	clock := turnClock(t, dsn)
	clock.Ahead(time.Hour)
	s := open(t, dsn, keystore.NewSystemClock())
	ctx := t.Context()
	require.NoError(t, s.Renew(ctx, registration("a")))
	require.WithinDuration(t, time.Now().Add(time.Hour), onlyNode(t, s).Renewed, time.Minute)
	clock.Ahead(0)
	require.False(t, func() bool { n := onlyNode(t, s); return n.Fenced() }())
	_, err := s.Update(ctx, func(keystore.Tx) error { return nil }) // an era begins
	require.NoError(t, err)
	n := onlyNode(t, s)
	require.WithinDuration(t, time.Now(), n.Renewed, time.Minute)
	require.False(t, n.Fenced())
	require.LessOrEqual(t, n.Left, 67*time.Second)
	clock.Ahead(100 * time.Millisecond) // and time goes on
	run(t, connect(t, dsn), "UPDATE nodes SET renewed_ns = renewed_ns - 120e9")
	n = onlyNode(t, s)
	require.Positive(t, n.Left, "it counts from when the era began")
}

func TestNodesThatWereFencedLongAgoAreForgotten(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	ctx := t.Context()
	require.NoError(t, s.Renew(ctx, registration("a")))
	admin := connect(t, dsn)
	run(t, admin, "UPDATE nodes SET renewed_ns = renewed_ns - CAST(6*86400e9 AS BIGINT)")
	require.NoError(t, s.Trim(ctx, policy.DefaultLockout(), time.Hour))
	n := onlyNode(t, s)
	require.True(t, n.Fenced())
	run(t, admin, "UPDATE nodes SET renewed_ns = renewed_ns - CAST(2*86400e9 AS BIGINT)")
	require.NoError(t, s.Trim(ctx, policy.DefaultLockout(), time.Hour))
	all, err := s.Nodes(ctx)
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestARenewalTouchesNoIndex(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	for range 20 {
		require.NoError(t, s.Renew(t.Context(), registration("a")))
	}
	admin := connect(t, dsn)
	var updated, hot int
	require.Eventually(t, func() bool {
		run(t, admin, "SELECT pg_stat_clear_snapshot()")
		require.NoError(t, admin.QueryRow(t.Context(), "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'nodes'").Scan(&updated, &hot))
		return updated >= 19
	}, 30*time.Second, 100*time.Millisecond)
	require.Equal(t, updated, hot)
}
