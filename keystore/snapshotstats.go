package keystore

// SnapshotCounts are those of a node's snapshot since it was started; none where it
// keeps none.
type SnapshotCounts struct {
	// Rewritings are snapshots that were written whole, Errors what could not be written.
	Rewritings, Errors int64
}

// SnapshotCounts costs nothing to gather.
func (c *Cached) SnapshotCounts() SnapshotCounts {
	if c.journal == nil {
		return SnapshotCounts{}
	}
	return SnapshotCounts{Rewritings: c.journal.sizes.rewritings.Load(), Errors: c.journal.sizes.errors.Load()}
}
