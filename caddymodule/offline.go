package caddymodule

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// visitor is a StoreOpener whose database a command can use beside a running
// server: without migrating it, and without being waited for.
type visitor interface {
	Visit(ctx context.Context, clock keystore.Clock) (keystore.Store, error)
}

// neighbour is a store that knows whether others have it open who decide on requests.
type neighbour interface {
	InUse() (bool, error)
}

// openStore opens the database: nothing in it is changed before the master keys
// that it depends on are at hand.
func (a *App) openStore(ctx context.Context, clock keystore.Clock) (keystore.Store, error) {
	if e, ok := a.opener.(examiner); ok {
		found, err := e.Examine(ctx)
		if err != nil {
			return nil, err
		}
		if err := a.checkKeyring(found.where, found.masterKeyIDs); err != nil {
			return nil, err
		}
	}
	if v, ok := a.opener.(visitor); ok && a.offline {
		return v.Visit(ctx, clock)
	}
	return a.opener.Open(ctx, clock)
}

// checkKeyring finds a missing or wrong master key. One that nothing depends on may
// be missing: it is made once the store is open.
func (a *App) checkKeyring(identity string, needed []string) error {
	_, err := a.keyringFor(identity, needed, false)
	if len(needed) == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// visit is a command's work on the store itself.
type visit struct {
	inUse func() (bool, error)

	mu sync.Mutex
	// until is when those that have the store open have had time to see what was
	// written, zero if nobody has.
	until time.Time
}

func newVisit(store keystore.Store) *visit {
	v := &visit{inUse: func() (bool, error) { return true, nil }}
	if n, ok := keystore.As[neighbour](store); ok {
		v.inUse = n.InUse
	}
	return v
}

// propagation says who has a write. Processes that use the same SQLite file tell
// nobody how far they are: where there is one, or that cannot be known, the write
// is pending for it.
func (v *visit) propagation(context.Context, keystore.Revision, time.Duration) keystore.Propagation {
	if used, err := v.inUse(); err == nil && !used {
		return keystore.Propagation{Confirmed: 1}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.until = time.Now().Add(keystore.SeenWithin)
	return keystore.Propagation{Confirmed: 1, Pending: []keystore.PendingNode{{}}}
}

// settle waits until the others have had that time: once for all that a command
// wrote, before it ends.
func (v *visit) settle() {
	v.mu.Lock()
	defer v.mu.Unlock()
	time.Sleep(time.Until(v.until))
}
