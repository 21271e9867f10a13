package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func TestAWriteIsStoredOnceAndAcknowledgedWhateverBecomesOfTheCommit(t *testing.T) {
	for name, c := range map[string]struct {
		how  int32
		runs int
	}{
		"the answer is lost":    {answerLost, 1},
		"the commit is lost":    {commitLost, 2},
		"the commit comes late": {commitLate, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, w := wired(t)
			ctx := context.Background()
			before, err := s.Head(ctx)
			require.NoError(t, err)
			runs := 0
			w.next.Store(c.how)
			rev, err := s.Update(ctx, func(tx keystore.Tx) error {
				runs++
				if err := tx.AddAudit(ctx, &keystore.Audit{CustomerID: "c", Action: "test"}); err != nil {
					return err
				}
				return tx.PutKey(ctx, testKey(7))
			})
			require.NoError(t, err)
			require.Equal(t, before+1, rev)
			require.Equal(t, c.runs, runs, "not run again once it is stored")
			changes, err := s.Changes(ctx, before)
			require.NoError(t, err)
			require.Len(t, changes, 1)
			require.Equal(t, rev, changes[0].Revision)
			k, err := s.KeyByClientID(ctx, testKey(7).ClientID)
			require.NoError(t, err)
			require.Equal(t, rev, k.Revision)
			require.Empty(t, verifyChain(t, s, "c"))
		})
	}
}

func TestAnotherWritersRevisionIsNotTakenForTheOneInDoubt(t *testing.T) {
	s, w := wired(t)
	other := open(t, s.way.Load().options.DSN, storetest.NewClock())
	ctx := context.Background()
	begun, written := make(chan struct{}), make(chan struct{})
	runs := 0
	go func() {
		defer close(written)
		<-begun
		// The same change, as of the same revision: it waits for the turn that the lost
		// transaction has.
		_, err := other.Update(ctx, func(tx keystore.Tx) error { return tx.PutKey(ctx, testKey(7)) })
		if err != nil {
			panic(err)
		}
	}()
	w.next.Store(commitLost)
	rev, err := s.Update(ctx, func(tx keystore.Tx) error {
		if runs++; runs == 1 {
			close(begun)
			time.Sleep(200 * time.Millisecond) // until the other waits for its turn
		}
		k := testKey(7)
		k.Description = "by the first"
		return tx.PutKey(ctx, k)
	})
	require.NoError(t, err)
	<-written
	require.Equal(t, 2, runs, "the other's revision is not its own")
	changes, err := s.Changes(ctx, rev-1)
	require.NoError(t, err)
	require.NotEmpty(t, changes)
}

func TestAWriteIsInDoubtWhereTheServerCannotBeAskedWhatBecameOfIt(t *testing.T) {
	s, w := wired(t)
	ctx := context.Background()
	runs := 0
	w.next.Store(answerLost)
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		runs++
		require.NoError(t, w.Close(), "no further connection is let in")
		s.pool.Reset() // and there is no other
		return tx.PutKey(ctx, testKey(7))
	})
	require.ErrorIs(t, err, keystore.ErrInDoubt)
	require.NotErrorIs(t, err, keystore.ErrUnavailable, "which says that nothing was stored")
	require.Equal(t, 1, runs)
}
