package keystore

// journal is what a node keeps on its own disk of what it has seen, so that it can be
// started again without the store. nil is none.
type journal struct{}

// durable returns once a start from the disk would see a revision: before that it is
// not confirmed.
func (j *journal) durable(r Revision) error { return nil }
