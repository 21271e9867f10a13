package keystore

import (
	"os"
	"strings"
)

// loadInPlace is loadSnapshot beside a node that runs, which no start does: it waits for
// the lock. A file that is replaced meanwhile is emptied.
func loadInPlace(path string, sealer SnapshotSealer) (*picture, error) {
	for {
		before, _ := os.Lstat(path)
		p, err := loadSnapshot(path, sealer)
		after, _ := os.Lstat(path)
		if before == nil || after == nil || os.SameFile(before, after) {
			return p, err
		}
		if err == nil {
			p.former.close()
		}
	}
}

// Durable is when a start from the disk would see a revision.
func (c *Cached) Durable(r Revision) error { return c.journal.durable(r) }

// EnabledIn lists the client IDs that a start from a snapshot would serve, and the revision
// it leads to.
func EnabledIn(path string, sealer SnapshotSealer) (map[string]bool, Revision, error) {
	p, err := loadInPlace(path, sealer)
	if err != nil {
		return nil, 0, err
	}
	defer p.former.close()
	enabled := map[string]bool{}
	for id, k := range p.keys {
		enabled[id] = k.key.Enabled
	}
	return enabled, p.position, nil
}

// WriteAnew has the snapshot written anew while its journal goes on.
func (c *Cached) WriteAnew() { c.journal.writeAnew() }

// LoadSnapshot reads a whole snapshot and answers the revision it leads to.
func LoadSnapshot(path string, sealer SnapshotSealer) (Revision, error) {
	p, err := loadInPlace(path, sealer)
	if err != nil {
		return 0, err
	}
	defer p.former.close()
	return p.position, nil
}

// Rewritings is how often a snapshot was written whole.
func (c *Cached) Rewritings() int64 { return c.journal.sizes.rewritings.Load() }

// RewriteSnapshot has it written anew soon.
func (c *Cached) RewriteSnapshot() {
	c.feedMu.Lock()
	defer c.feedMu.Unlock()
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	c.journal.anewLocked()
	c.journal.rouse()
}

// KeysCached is how many keys the cache holds.
func (c *Cached) KeysCached() int {
	c.keys.known.Wait()
	return len(c.keys.cached())
}

// RoleNameIn is the name of a role in a snapshot.
func RoleNameIn(path string, sealer SnapshotSealer, id string) (string, error) {
	p, err := loadInPlace(path, sealer)
	if err != nil {
		return "", err
	}
	defer p.former.close()
	return p.directory.Role(id).Name, nil
}

// FillJournal queues a record of about so many bytes, as a change of keys that nobody holds
// would be.
func (c *Cached) FillJournal(size int) {
	c.feedMu.Lock()
	defer c.feedMu.Unlock()
	c.journal.add(recordApplied, applied{Clients: []string{strings.Repeat("x", size)}}, 0)
	c.journal.rouse()
}
