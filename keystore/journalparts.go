package keystore

import (
	"maps"
	"slices"
)

// What the snapshot is made of, as it stands in memory.

// parts is a directory in pieces, each for one record.
func (d *Directory) parts() (parts []*directoryPart) {
	for _, roles := range chunks(slices.Collect(maps.Values(d.roles)), directoryChunk) {
		parts = append(parts, &directoryPart{Roles: roles})
	}
	for _, customers := range chunks(slices.Collect(maps.Values(d.customers)), directoryChunk) {
		parts = append(parts, &directoryPart{Customers: customers})
	}
	for _, m := range chunks(slices.Collect(maps.Values(d.microtenants)), directoryChunk) {
		parts = append(parts, &directoryPart{Microtenants: m})
	}
	return append(parts, &directoryPart{SigningKeys: d.signingKeys, AllSigningKeys: true})
}

// records are the counts of keys as they stand now.
func (t *lockTable) records(keyIDs []string) []tallyRecord {
	records := make([]tallyRecord, 0, len(keyIDs))
	for _, id := range keyIDs {
		records = append(records, recordOf(id, t.of(id)))
	}
	return records
}

// packKeys is a record of those keys that still stand.
func packKeys(c *keyCache, keys []*cachedKey) []byte {
	text := []byte{recordKeys}
	for _, v := range keys {
		if c.current(c.hash(v.key.ClientID), v.tick) {
			text = appendCached(text, v)
		}
	}
	return text
}

// cached are the keys that are held, 8 bytes for each: they are not written while the
// cache's locks are held.
func (c *keyCache) cached() []*cachedKey {
	keys := make([]*cachedKey, 0, max(0, c.known.MaxCost()-c.known.RemainingCost()))
	c.known.IterValues(func(v *cachedKey) bool {
		keys = append(keys, v)
		return false
	})
	return keys
}

// MasterKeyIDs are the master keys that what is in memory depends on, sorted.
func (c *Cached) MasterKeyIDs() []string { return masterKeyIDs(c.keys.cached(), c.directory.Load()) }

// masterKeyIDs are those that keys and signing keys depend on.
func masterKeyIDs(keys []*cachedKey, d *Directory) []string {
	ids := map[string]struct{}{}
	for _, v := range keys {
		for i := range v.key.Secrets {
			ids[v.key.Secrets[i].MasterKeyID] = struct{}{}
		}
	}
	for _, k := range d.signingKeys {
		ids[k.MasterKeyID] = struct{}{}
	}
	return slices.Sorted(maps.Keys(ids))
}
