package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

// slow is a store whose follower looks rarely: meanwhile it hears what it heard last.
type slow struct {
	*Store
	frozen chan struct{} // closed to look again
	head   keystore.Revision
	stamp  keystore.Stamp
}

func (s *slow) HeadStamp(ctx context.Context) (keystore.Revision, keystore.Stamp, error) {
	select {
	case <-s.frozen:
		return s.Store.HeadStamp(ctx)
	default:
		return s.head, s.stamp, nil
	}
}

// TestNothingIsWrittenToADatabaseThatWentBackBeforeThatIsNoticed: the write is refused in
// its own transaction, with older and with as many revisions as were seen.
func TestNothingIsWrittenToADatabaseThatWentBackBeforeThatIsNoticed(t *testing.T) {
	for name, written := range map[string]int{"older": 0, "written to since": 1, "further": 3} {
		t.Run(name, func(t *testing.T) {
			v := newVault(t)
			v.fill(t)
			backup := v.backup(t)
			s := v.open(t)
			putKeys(t, s, 100, 1)
			way := &slow{Store: s, frozen: make(chan struct{})}
			var err error
			way.head, way.stamp, err = s.HeadStamp(t.Context())
			require.NoError(t, err)
			g := v.gateBy(t, way)
			edit := func(id int) error {
				_, err := g.Update(t.Context(), func(tx keystore.Tx) error {
					k, err := tx.Key(t.Context(), testKey(id).ID)
					if err != nil {
						return err
					}
					k.Description = "changed"
					return tx.PutKey(t.Context(), k)
				})
				return err
			}
			if written > 0 {
				other := v.open(t, backup)
				for i := range written {
					putKeys(t, other, 200+i, 1)
				}
				require.NoError(t, other.Close())
			}
			v.restore(t, backup)
			require.Eventually(t, func() bool {
				err := edit(1)
				require.Error(t, err, "it was written to")
				require.ErrorIs(t, err, keystore.ErrUnavailable)
				return errors.Is(err, keystore.ErrParted)
			}, 20*time.Second, 10*time.Millisecond, "whoever asks is told to come again")
			close(way.frozen)
			followed(t, g)
			require.NotNil(t, restored(t, g), "an operator decides now")
			require.NoError(t, edit(1), "the history is one again")
		})
	}
}
