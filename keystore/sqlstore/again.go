package sqlstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// ErrAgain: the transaction was lost to another, or with its connection, and nothing
// of it is stored: it may be run again. See Database.Error.
var ErrAgain = errors.New("the transaction was lost")

const (
	// maxTries bounds how often a transaction is run.
	maxTries = 4
	// besideTries is how many of these are beside other writers; the last waits for
	// its turn, where nobody it might be in the way of is at work.
	besideTries = maxTries - 1
	// retryAfter is about how long is waited before the first next try.
	retryAfter = 4 * time.Millisecond
)

// again waits and reports whether a transaction is to be run again.
func again(ctx context.Context, err error, try int) bool {
	if !errors.Is(err, ErrAgain) || try+1 >= maxTries || ctx.Err() != nil {
		return false
	}
	wait := time.NewTimer(time.Duration((0.5 + rand.Float64()) * float64(retryAfter<<(2*try))))
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// UpdateKey runs fn as Update does, but beside other writers where there are any, and
// with that one key held: for what mostly is no change, as a sign-in is, and must not
// wait for those that are. Where it is one after all, or adds an audit event, fn is
// run once more, in turn. The revision is 0 where nothing changed.
func (s *Store) UpdateKey(ctx context.Context, keyID string, fn func(keystore.Tx) error) (keystore.Revision, error) {
	return s.beside(ctx, []string{keyID}, func(t *tx) error { return fn(t) })
}

// beside runs fn beside other writers, with the keys that it writes about taken:
// for what is no change and must not wait for those that are. Whether it was one
// shows only then: fn is run once more, in turn.
func (s *Store) beside(ctx context.Context, keyIDs []string, fn func(*tx) error) (keystore.Revision, error) {
	return s.besideAfter(ctx, Beside, keyIDs, func(context.Context, *tx) error { return nil }, fn)
}

// besideAfter is beside, by that access, with something to do first of all.
func (s *Store) besideAfter(ctx context.Context, access Access, keyIDs []string, first func(context.Context, *tx) error, fn func(*tx) error) (rev keystore.Revision, err error) {
	slices.Sort(keyIDs)
	keyIDs = slices.Compact(keyIDs)
	for try := range maxTries {
		if try >= besideTries && !access.inTurn() {
			access = access.turned()
		}
		rev, err = s.transact(ctx, access, func(t *tx) error {
			if err := first(ctx, t); err != nil {
				return err
			}
			if err := t.lockKeys(ctx, keyIDs...); err != nil {
				return err
			}
			return fn(t)
		})
		if errors.Is(err, errTurn) {
			access = access.turned()
			continue
		}
		if !again(ctx, err, try) {
			break
		}
	}
	return rev, err
}
