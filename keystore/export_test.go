package keystore

// MaxFills is how many keys are read at one time.
const MaxFills = maxFills

// Owed is how many proofs the store has not heard of yet.
func (c *Cached) Owed() (n int) {
	for ts := range c.counter.table.all {
		n += len(ts.pending)
	}
	return n
}

// CountedSources is how many sources of a key are counted (guard).
func (c *Cached) CountedSources(keyID string) int {
	ts := c.counter.table.of(keyID)
	if ts == nil {
		return 0
	}
	return len(ts.sources)
}
