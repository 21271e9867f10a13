package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var feedCases = []testCase{
	{"each writing transaction has one revision, without gaps; others have none", feedGapless},
	{"a record put twice in a transaction is logged once", feedOnce},
	{"changes come oldest first and in whole revisions, however many remain", feedWhole},
	{"a revision longer than an answer comes whole", feedLong},
	{"a position at the head has no changes, one past it is ErrBehind", feedPosition},
	{"what another process wrote is in the head and the changes", feedOtherProcess},
}

func feedGapless(t *testing.T, f *fixture) {
	before := f.head(t)
	for i := range 5 {
		require.Equal(t, before+keystore.Revision(i)+1, f.put(t, f.key(i), f.key(i+100)))
		idle := f.update(t, func(ctx context.Context, tx keystore.Tx) error {
			_, err := tx.Key(ctx, "key_0000")
			return err
		})
		require.Equal(t, before+keystore.Revision(i)+1, idle)
	}
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Len(t, changes, 10)
	for i, c := range changes {
		require.Equal(t, before+keystore.Revision(i/2)+1, c.Revision)
		require.Equal(t, keystore.KindKey, c.Kind)
	}
}

func feedOnce(t *testing.T, f *fixture) {
	before := f.head(t)
	k := f.key(1)
	rev := f.put(t, k, k, k)
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, []keystore.Change{{Revision: rev, Kind: keystore.KindKey, ID: k.ID, ClientID: k.ClientID}}, changes)
}

func feedWhole(t *testing.T, f *fixture) {
	before := f.head(t)
	const transactions, each = 9, 300
	for i := range transactions {
		f.put(t, f.many(i*each, each)...)
	}
	head := f.head(t)
	position, seen, calls := before, 0, 0
	for position != head {
		changes, err := f.Changes(t.Context(), position)
		require.NoError(t, err)
		require.NotEmpty(t, changes)
		require.Zero(t, len(changes)%each, "a revision was cut")
		for i, c := range changes {
			require.Equal(t, position+keystore.Revision(i/each)+1, c.Revision)
			require.Equal(t, fmt.Sprintf("key_%04d", seen), c.ID, "in the order of writing")
			seen++
		}
		position = changes[len(changes)-1].Revision
		calls++
	}
	require.Equal(t, transactions*each, seen)
	require.Greater(t, calls, 1, "the answer is bounded")
}

// many is n keys without secrets, from number first on.
func (f *fixture) many(first, n int) []*keystore.Key {
	keys := make([]*keystore.Key, n)
	for i := range keys {
		keys[i] = f.key(first + i)
		keys[i].Secrets = nil
	}
	return keys
}

func feedLong(t *testing.T, f *fixture) {
	before := f.head(t)
	rev := f.put(t, f.many(0, 2500)...)
	f.put(t, f.key(9000))
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(changes), 2500)
	require.Equal(t, rev, changes[2499].Revision)
}

func feedPosition(t *testing.T, f *fixture) {
	head := f.head(t)
	changes, err := f.Changes(t.Context(), head)
	require.NoError(t, err)
	require.Empty(t, changes)
	_, err = f.Changes(t.Context(), head+1)
	require.ErrorIs(t, err, keystore.ErrBehind)
	f.put(t, f.key(1))
	f.clock.Advance(time.Hour)
	kept := f.put(t, f.key(2))
	require.NoError(t, f.Trim(t.Context(), strict(), time.Minute))
	for position := keystore.Revision(0); position < kept-1; position++ {
		_, err = f.Changes(t.Context(), position)
		require.ErrorIs(t, err, keystore.ErrBehind)
	}
	changes, err = f.Changes(t.Context(), kept-1)
	require.NoError(t, err)
	require.Len(t, changes, 1)
}

func feedOtherProcess(t *testing.T, f *fixture) {
	other := f.open(t, f.clock)
	for i := range 3 {
		before := f.head(t)
		rev, err := other.Update(t.Context(), func(tx keystore.Tx) error { return tx.PutKey(t.Context(), f.key(i)) })
		require.NoError(t, err)
		require.Equal(t, rev, f.head(t))
		changes, err := f.Changes(t.Context(), before)
		require.NoError(t, err)
		require.Len(t, changes, 1)
		require.Equal(t, rev+1, f.put(t, f.key(i+10)), "one line of revisions for all")
	}
}
