package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

const (
	// mostBeside is how many connections, at most, write beside others: as many sign-ins
	// are under way at one time, where a database that is far off takes long for each.
	mostBeside = 4
	// turnWait is how long a sign-in waits, at most, for those of the same key before it.
	turnWait = 5 * time.Second
)

// share is how a pool's connections are shared out: those to write beside others and
// those for snapshots, where one each is for the turn, for counting and for lookups.
func share(conns int) (beside, reading int) {
	beside = min(max(1, (conns-3)/2), mostBeside)
	return beside, max(1, conns-3-beside)
}

// keyTurns let one sign-in of a key on at a time. In the database they would wait for each
// other all the same, each with a connection; so one client that signs in a lot would keep
// all others of this node from it.
type keyTurns struct {
	mu sync.Mutex
	of map[string]*keyTurn
}

// keyTurn is that of one key, there while anybody has it or waits for it.
type keyTurn struct {
	held  slots
	users int // guarded by keyTurns.mu
}

// take waits for a key's turn and returns what ends it.
func (k *keyTurns) take(ctx context.Context, keyID string) (end func(), err error) {
	k.mu.Lock()
	if k.of == nil {
		k.of = make(map[string]*keyTurn)
	}
	turn := k.of[keyID]
	if turn == nil {
		turn = &keyTurn{held: make(slots, 1)}
		k.of[keyID] = turn
	}
	turn.users++
	k.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, turnWait)
	defer cancel()
	if err := turn.held.take(within); err != nil {
		k.leave(keyID, turn)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// Not that the store is out of reach: nobody is to look whether it is.
		return nil, fmt.Errorf("others signed in with the same key for %s", turnWait)
	}
	return func() {
		turn.held.free()
		k.leave(keyID, turn)
	}, nil
}

func (k *keyTurns) leave(keyID string, turn *keyTurn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if turn.users--; turn.users == 0 {
		delete(k.of, keyID)
	}
}

// UpdateKey writes about one key, beside others, in its turn.
func (s *Store) UpdateKey(ctx context.Context, keyID string, fn func(keystore.Tx) error) (keystore.Revision, error) {
	end, err := s.signIns.take(ctx, keyID)
	if err != nil {
		return 0, err
	}
	defer end()
	return s.Store.UpdateKey(ctx, keyID, fn)
}
