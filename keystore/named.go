package keystore

// StoreID is the store's own name, made with it and kept wherever it is moved to: ""
// where this process has not met the store yet, and has no snapshot of it.
func (c *Cached) StoreID() string { return c.storeID() }
