package keystore

// Durable is when a start from the disk would see a revision.
func (c *Cached) Durable(r Revision) error { return c.journal.durable(r) }

// LoadSnapshot reads a whole snapshot and answers the revision it leads to.
func LoadSnapshot(path string, sealer SnapshotSealer) (Revision, error) {
	p, err := loadSnapshot(path, sealer)
	if err != nil {
		return 0, err
	}
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
