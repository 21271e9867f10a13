package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// resolveTimeout bounds how long it is tried to find out what became of a commit.
const resolveTimeout = 5 * time.Second

// resolve finds out whether a transaction that had the turn, and whose commit was not
// answered, is stored. If so it is as good as answered; if not, the error is ErrAgain;
// and if that cannot be told in time, keystore.ErrInDoubt as before.
//
// It takes the turn. The transaction in doubt kept that until it was over, however late
// its commit came: so once it is had, there is nothing left that could still store it.
// It was stored just if its revision is in the log under its own stamp, which was drawn
// at random: neither another writer's, who took the same number after it failed, nor
// what a database that was failed over put in its place, is taken for it. And since what
// is found may stand on this server alone as yet, where standbys are to have it too, a
// commit that those must answer comes before it is told.
func (s *Store) resolve(ctx context.Context, doubt error) (keystore.Revision, error) {
	var lost *commitError
	if !errors.As(doubt, &lost) || lost.stamp == 0 {
		return 0, doubt
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), resolveTimeout)
	defer cancel()
	stored := false
	for try := 0; ; try++ {
		_, err := s.transact(within, Write, func(t *tx) (err error) {
			stored, err = t.exists(within, "SELECT 1 FROM changes WHERE rev = ? AND stamp = ?", lost.revision, lost.stamp)
			if err == nil && stored {
				err = t.exec(within, "UPDATE state SET head = head")
			}
			return err
		})
		if err == nil {
			break
		}
		if !again(within, err, try) {
			return 0, doubt
		}
	}
	if stored {
		return lost.revision, nil
	}
	return 0, fmt.Errorf("%w: %w: the connection was lost and nothing was stored", ErrAgain, keystore.ErrUnavailable)
}
