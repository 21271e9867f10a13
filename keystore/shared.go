package keystore

import "context"

// What a store that many processes write to may be besides, so that they are not in
// each other's way.

// Waker is a Store that tells of changes sooner than a poll finds them.
type Waker interface {
	// Wake receives soon after changes were committed, by whoever it was: once for
	// several, and not for each. Polling is what is relied on.
	Wake() <-chan struct{}
}

// KeyUpdater is a Store in which what concerns one key, and mostly is no change, need
// not wait for changes.
type KeyUpdater interface {
	// UpdateKey runs fn as Update does, with that one key held against others who do so:
	// two see each other's writes about it. fn must not write about other keys. Where it
	// writes what is in the change log, or an audit event, it is run once more as by
	// Update; so it must assign what it returns and never accumulate. The revision is
	// that of the changes; 0, or the head, where there are none.
	UpdateKey(ctx context.Context, keyID string, fn func(Tx) error) (Revision, error)
}

// UpdateKey is for what concerns one key and mostly is no change, as a sign-in is: see
// KeyUpdater. Where it is a change after all, it is seen as one of Update is.
func (c *Cached) UpdateKey(ctx context.Context, keyID string, fn func(Tx) error) (Revision, error) {
	u, ok := c.store.(KeyUpdater)
	if !ok {
		return c.Update(ctx, fn)
	}
	rev, err := u.UpdateKey(ctx, keyID, fn)
	if err != nil || rev <= c.Position() {
		return rev, err
	}
	return rev, c.see(ctx, rev)
}
