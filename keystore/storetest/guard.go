package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

var guardCases = []testCase{
	{"a source's failures lock that source only", guardSource},
	{"a repeated wrong secret of one source counts once", guardRepeat},
	{"the ceiling over all sources locks the client, trusted sources excepted", guardCeiling},
	{"a success clears and trusts its source, not the others", guardSucceed},
	{"unlocking clears all sources and keeps the trust", guardUnlock},
	{"a key's tallies list the whole client first, then its sources", guardOrder},
	{"the sources of a key are bounded; what matters most is kept", guardBound},
	{"a failure without a source counts all the same", guardNoSource},
}

func guard() policy.Lockout {
	l := policy.DefaultLockout()
	l.Mode, l.Ceiling = policy.Guard, 10
	return l
}

// network is the n-th source.
func network(n int) string { return fmt.Sprintf("10.%d.%d.0/24", n/256, n%256) }

// failFrom counts a failure of key 1 with a secret of its own.
func (f *fixture) failFrom(t testing.TB, source int, fingerprint uint64) keystore.CountResult {
	t.Helper()
	results, err := f.Count(t.Context(), guard(), []keystore.Proof{{KeyID: "key_0001", Source: network(source), Address: "10.0.0.1", Fingerprint: fingerprint}})
	require.NoError(t, err)
	return results[0]
}

func guardSource(t *testing.T, f *fixture) {
	before := f.put(t, f.key(1))
	f.failFrom(t, 1, 1)
	f.failFrom(t, 1, 2)
	r := f.failFrom(t, 1, 3)
	require.True(t, r.SourceLocked)
	require.False(t, r.Locked)
	require.Equal(t, network(1), r.Source.Source)
	require.Equal(t, "key_0001", r.Source.KeyID)
	require.EqualValues(t, 3, r.Whole.Failures)
	require.False(t, f.failFrom(t, 1, 4).Counted)
	require.True(t, f.failFrom(t, 2, 1).Counted)
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Len(t, changes, 1)
	require.Equal(t, keystore.KindLock, changes[0].Kind)
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		events, _, err := r.AuditEvents(ctx, keystore.AuditQuery{CustomerID: acme, Limit: 10})
		require.NoError(t, err)
		require.Len(t, events, 1)
		var after map[string]any
		require.NoError(t, json.Unmarshal(events[0].After, &after))
		require.Equal(t, network(1), after["source"])
		require.Equal(t, "source", after["scope"])
		return nil
	})
}

func guardRepeat(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	first := f.failFrom(t, 1, 7)
	again := f.failFrom(t, 1, 7)
	require.False(t, again.Counted)
	require.Equal(t, first.Source, again.Source)
	require.Equal(t, []uint64{7}, again.Source.Seen)
	require.True(t, f.failFrom(t, 1, ^uint64(0)).Counted)
	require.True(t, f.failFrom(t, 2, 7).Counted, "another source")
	require.Contains(t, f.tallies(t, 0), f.failFrom(t, 2, 7).Source, "seen secrets are stored")
}

func guardCeiling(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	_, err := f.Succeed(t.Context(), guard(), "key_0001", network(0))
	require.NoError(t, err)
	for i := 1; i < guard().Ceiling; i++ {
		require.False(t, f.failFrom(t, i, 1).Locked)
	}
	require.True(t, f.failFrom(t, guard().Ceiling, 1).Locked)
	require.False(t, f.failFrom(t, 99, 1).Counted)
	r, err := f.Succeed(t.Context(), guard(), "key_0001", network(99))
	require.NoError(t, err)
	require.False(t, r.OK, "an unknown source has to wait")
	r, err = f.Succeed(t.Context(), guard(), "key_0001", network(0))
	require.NoError(t, err)
	require.True(t, r.OK, "a trusted one does not")
}

func guardSucceed(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	f.failFrom(t, 1, 1)
	f.failFrom(t, 2, 1)
	f.failFrom(t, 1, 2)
	r, err := f.Succeed(t.Context(), guard(), "key_0001", network(1))
	require.NoError(t, err)
	require.True(t, r.OK)
	require.Equal(t, policy.Tally{TrustedAt: f.clock.Now().Wall}, r.Source.Tally)
	require.EqualValues(t, 3, r.Whole.Failures, "the level over all sources only falls with time")
	require.EqualValues(t, 1, f.failFrom(t, 1, 1).Source.Failures)
	require.EqualValues(t, 2, f.failFrom(t, 2, 2).Source.Failures)
}

func guardUnlock(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	_, err := f.Succeed(t.Context(), guard(), "key_0001", network(1))
	require.NoError(t, err)
	trusted := f.clock.Now().Wall
	for i := range 6 {
		f.failFrom(t, 1+i/3, uint64(i))
	}
	last := f.failFrom(t, 3, 1)
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.Unlock(ctx, "key_0001") })
	changed := f.tallies(t, last.Source.Seq)
	require.Len(t, changed, 4)
	for _, c := range changed {
		want := policy.Tally{}
		if c.Source == network(1) {
			want.TrustedAt = trusted
		}
		require.Equal(t, want, c.Tally, c.Source)
	}
	require.EqualValues(t, 1, f.failFrom(t, 2, 1).Whole.Failures)
}

func guardOrder(t *testing.T, f *fixture) {
	f.put(t, f.key(1), f.key(2))
	f.failFrom(t, 2, 1)
	f.failFrom(t, 1, 1)
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		tallies, err := r.Tallies(ctx, "key_0001")
		require.Len(t, tallies, 3)
		require.Empty(t, tallies[0].Source)
		require.NotEmpty(t, tallies[1].Source)
		return err
	})
}

func guardBound(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	l := guard()
	l.Ceiling = 1_000_000
	fail := func(sources ...int) {
		failures := make([]keystore.Proof, len(sources))
		for i, n := range sources {
			failures[i] = keystore.Proof{KeyID: "key_0001", Source: network(n), Fingerprint: uint64(i)}
		}
		_, err := f.Count(t.Context(), l, failures)
		require.NoError(t, err)
	}
	sources := func() map[string]bool {
		found := make(map[string]bool)
		for _, c := range f.tallies(t, 0) {
			if c.Source != "" {
				found[c.Source] = true
			}
		}
		return found
	}
	fail(1, 1, 1) // locks
	_, err := f.Succeed(t.Context(), l, "key_0001", network(2))
	require.NoError(t, err)
	for n := 1000; n < 1254; n++ {
		fail(n)
	}
	require.Len(t, sources(), 256)
	fail(2000)
	fail(2001)
	got := sources()
	require.Len(t, got, 256)
	require.True(t, got[network(1)], "a locked source stays")
	require.True(t, got[network(2)], "a trusted source stays")
	require.True(t, got[network(2001)], "the one just counted stays")
	require.False(t, got[network(1000)] || got[network(1001)], "the oldest go")

	many := make([]int, 400)
	for i := range many {
		many[i] = 3000 + i
	}
	fail(many...)
	got = sources()
	require.Len(t, got, 256)
	require.True(t, got[network(3399)])
	f.clock.Advance(time.Hour)
	require.Len(t, sources(), 256, "bounded, also when they mean nothing any more")
}

func guardNoSource(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	for i := range 3 {
		results, err := f.Count(t.Context(), guard(), []keystore.Proof{{KeyID: "key_0001", Fingerprint: uint64(i)}})
		require.NoError(t, err)
		require.True(t, results[0].Counted)
		require.EqualValues(t, i+1, results[0].Whole.Failures)
		require.Equal(t, i == 2, results[0].SourceLocked)
	}
}
