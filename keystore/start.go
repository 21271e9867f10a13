package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"go.uber.org/zap"
)

// CachedOptions say how a Cached is opened.
type CachedOptions struct {
	Sizes CacheSizes
	// NodeID is that of this process, unless there is a snapshot to go on from, whose
	// node it is then: see Cached.NodeID.
	NodeID string
	// Snapshot is where this node keeps what it knows; nil is nowhere.
	Snapshot *SnapshotOptions
	// WithoutStore lets it begin with the store out of reach (ErrUnavailable): from the
	// snapshot, or else knowing nothing and refusing all until the store was followed.
	WithoutStore bool
}

// OpenCachedFrom is OpenCached with more to choose. With a snapshot the keys in it need
// not be read again, where the store's history tells what has changed since.
func OpenCachedFrom(ctx context.Context, store Store, clock Clock, o CachedOptions, logger *zap.Logger) (*Cached, error) {
	c, err := newCached(store, clock, o.Sizes, logger)
	if err != nil {
		return nil, err
	}
	c.nodeID = o.NodeID
	c.ignorant()
	if o.Snapshot != nil {
		c.resume(ctx, *o.Snapshot)
	}
	if err := c.followLog(ctx); err != nil {
		if !o.WithoutStore || !errors.Is(err, ErrUnavailable) {
			c.stop()
			c.journal.discard()
			c.keys.close()
			return nil, fmt.Errorf("loading the key store: %w", err)
		}
		c.lose(err)
		c.logger.Error("the key store is out of reach; this node begins without it", zap.Bool("serving", !c.synced.Load().unseen), zap.Error(err))
	}
	c.begin()
	return c, nil
}

// NodeID is the id under which this process joins the others: that of the snapshot it
// went on from, or else the one it was opened with.
func (c *Cached) NodeID() string { return c.nodeID }

// ignorant is the state before anything is known: nothing is served from it.
func (c *Cached) ignorant() {
	c.beginning = true
	c.directory.Store((&Directory{}).bound())
	c.synced.Store(&syncState{at: c.clock.Now(), unseen: true})
}

// resume begins the journal, and makes what the last one tells what this node knows. A
// snapshot that cannot be used is as good as none: it is said why.
func (c *Cached) resume(ctx context.Context, o SnapshotOptions) {
	c.journal = newJournal(c, o)
	c.counter.table.changed, c.keys.onRead = c.journal.counted, c.journal.keyRead
	if !c.journal.acquire() {
		c.journal.gone = true // the file is another process's, under another id
		return
	}
	p, err := loadSnapshot(o.Path, o.Sealer)
	if err == nil && !c.sameStore(ctx, p) {
		p.former.close()
		err = &RefusedSnapshotError{o.Path, errForeignStore}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.journal.gone = true
	case err != nil:
		// It is not this node's: whoever starts from it, if anybody can, is the node
		// that it is of, and that has a row of its own.
		c.journal.gone = true
		c.logger.Warn("the snapshot is not used; this node knows nothing without the store", zap.Error(err))
	default:
		// From here on this process is that node. What it confirms binds whoever starts
		// from that file, so nothing is confirmed before it is replaced.
		c.nodeID = p.NodeID
		refused := p.servable(c.clock.Now(), o.MaxStale)
		if refused != nil {
			c.logger.Warn("nothing is served from the snapshot", zap.Error(&RefusedSnapshotError{o.Path, refused}))
		}
		c.install(p, refused == nil)
		c.named.Store(&p.StoreID)
		// Others may have been told of the lease in it, and hear of no shorter one.
		c.member.promised = c.synced.Load().tenure
		c.journal.goOn(p.position, p.former)
	}
}

// sameStore reports whether a picture is of the store below, as far as that can be told
// by now: one that is not in reach is known by where it is.
func (c *Cached) sameStore(ctx context.Context, p *picture) bool {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	id, err := c.askStoreID(ctx)
	return p.Identity == c.store.Identity() && (err != nil || id == p.StoreID)
}

// meet is the first round with a store that this process did not follow before. done is
// false where its log may be followed from what the snapshot told: where a history tells
// that the log is the one that was followed then (see Historian). Else all is taken anew.
// Called with feedMu held.
func (c *Cached) meet() (done bool, err error) {
	ctx, cancel := context.WithTimeout(c.running, resyncTimeout)
	defer cancel()
	if _, historian := As[Historian](c.store); historian && c.position > 0 && c.history.stamp != 0 {
		c.beginning = false
		return false, nil
	}
	id, err := c.askStoreID(ctx)
	if err == nil && c.storeID() != "" && id != c.storeID() {
		err = fmt.Errorf("the store is another one, with id %s and not %s", id, c.storeID())
	}
	if err != nil {
		return false, err
	}
	c.named.Store(&id)
	if err := c.resync(ctx, asSeen); err != nil {
		return false, err
	}
	c.beginning = false
	return true, nil
}

func (c *Cached) askStoreID(ctx context.Context) (id string, err error) {
	err = c.store.View(ctx, func(r Reader) error {
		id, err = r.StoreID(ctx)
		return err
	})
	return id, err
}

// storeID is the store's own name, "" before it was asked.
func (c *Cached) storeID() string {
	if id := c.named.Load(); id != nil {
		return *id
	}
	return ""
}
