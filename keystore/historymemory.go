package keystore

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxStones bounds how many tombstones, and how many ended sessions, a node remembers.
// The oldest go first: they matter to the oldest backups alone.
const maxStones = 250_000

// historyMemory is what a node has seen of a Historian's store that must hold in it
// whatever becomes of the database.
type historyMemory struct {
	mu sync.RWMutex
	// stones are those of the database, and sessions those that ended early: the records
	// themselves are all that the database knows of these.
	stones, sessions map[stoneName]Tombstone

	// What follows belongs to feedMu. stamp is the mark of the position, 0 before anything
	// was loaded.
	stamp Stamp
	// mark is the position and its mark, for those who do not follow.
	mark atomic.Pointer[marked]
	// parted counts how often the database was found to have gone back and that was
	// mended, for others to read too; told: people were told of the one that is not yet.
	parted atomic.Int64
	told   bool
}

type stoneName struct{ kind, parent, id string }

func (s *Tombstone) name() stoneName { return stoneName{s.Kind, s.Parent, s.ID} }

// note remembers tombstones, of which the newest of each record counts.
func (m *historyMemory) note(stones ...Tombstone) {
	if len(stones) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range stones {
		in := &m.stones
		if s.Kind == TombSession {
			in = &m.sessions
		}
		if *in == nil {
			*in = make(map[stoneName]Tombstone)
		}
		if was, known := (*in)[s.name()]; known && was.Revision > s.Revision {
			continue
		}
		(*in)[s.name()] = s
	}
	m.bound()
}

// bound forgets the oldest where there are too many: a tenth, so that it is seldom done.
func (m *historyMemory) bound() {
	for _, all := range []map[stoneName]Tombstone{m.stones, m.sessions} {
		if len(all) <= maxStones {
			continue
		}
		oldest := make([]Tombstone, 0, len(all))
		for _, s := range all {
			oldest = append(oldest, s)
		}
		slices.SortFunc(oldest, func(a, b Tombstone) int { return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.At.Compare(b.At)) })
		for _, s := range oldest[:len(oldest)-maxStones*9/10] {
			delete(all, s.name())
		}
	}
}

// session remembers one that ended early. Not those that newer ones pushed out, of which
// a client can make as many as it likes: nobody wanted them ended.
func (m *historyMemory) session(s *Session) { m.note(sessionStones(s)...) }

// sessionStones are what is remembered of a session: one tombstone, or none.
func sessionStones(s *Session) []Tombstone {
	if s.Ended.IsZero() || s.EndReason == EndPushedOut {
		return nil
	}
	return []Tombstone{{Kind: TombSession, ID: s.ID, Parent: s.KeyID, At: s.Ended, Bounds: boundText(sessionBounds{
		Address: s.Address, Issued: boundMillis(s.Issued), Expires: boundMillis(s.Expires), Ended: boundMillis(s.Ended), Reason: s.EndReason,
	})}}
}

// marked is a revision of one history.
type marked struct {
	revision Revision
	stamp    Stamp
}

// at notes the mark of the position, which decisions see by now. Called with feedMu held.
func (m *historyMemory) at(position Revision, stamp Stamp) {
	m.stamp = stamp
	m.mark.Store(&marked{position, stamp})
}

// all are the tombstones that are remembered, sessions included.
func (m *historyMemory) all() []Tombstone {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]Tombstone, 0, len(m.stones)+len(m.sessions))
	for _, in := range []map[stoneName]Tombstone{m.stones, m.sessions} {
		for _, s := range in {
			all = append(all, s)
		}
	}
	return all
}

// replace is what the database remembers in place of what was: it has another history
// now, into which that was brought.
func (m *historyMemory) replace(stones []Tombstone) {
	m.mu.Lock()
	m.stones = nil
	m.mu.Unlock()
	m.note(stones...)
}

// sweep forgets what no backup brings back that is not older than is promised.
func (m *historyMemory) sweep(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, s := range m.stones {
		if now.Sub(s.At) > TombstoneMemory {
			delete(m.stones, name)
		}
	}
	for name, s := range m.sessions {
		var b sessionBounds
		if s.read(&b) != nil || now.After(boundTime(b.Expires).Add(endedMemory)) {
			delete(m.sessions, name)
		}
	}
}

// contradicts reports whether a key as it was read cannot be of the history that was
// seen: the store was read once decisions saw a position, and it shows the key as it
// was before something that was revoked by then. So a database that went back is
// noticed before the next poll tells of it, where it matters.
//
// What was noted past the position came while the key was read: a read that a change
// overtook is not used, see keyCache.
func (m *historyMemory) contradicts(k *Key, position Revision) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.stones) == 0 {
		return false
	}
	against := func(name stoneName, bounds func() string) bool {
		s, known := m.stones[name]
		if !known || s.Revision > position {
			return false
		}
		// One that is newer than the position is of changes that are not seen yet: before it
		// is used they are followed, see Cached.Look.
		return k.Revision < s.Revision || k.Revision <= position && (s.Gone || s.Bounds != bounds())
	}
	if against(stoneName{kind: TombKey, id: k.ID}, func() string { return KeyBounds(k) }) {
		return true
	}
	for i := range k.Secrets {
		if against(stoneName{TombSecret, k.ID, k.Secrets[i].ID}, func() string { return SecretBounds(&k.Secrets[i]) }) {
			return true
		}
	}
	return false
}

// sameAs tells whether the database still remembers what was seen, where its change log
// does not reach back to the position and nothing else can tell whether it went back.
func (m *historyMemory) sameAs(theirs []Tombstone, position Revision, now time.Time) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	found := make(map[stoneName]Tombstone, len(theirs))
	for _, s := range theirs {
		found[s.name()] = s
	}
	for name, mine := range m.stones {
		// A day less than it is kept for: the database may have forgotten it just now.
		if mine.Revision > position || now.Sub(mine.At) > TombstoneMemory-24*time.Hour {
			continue
		}
		s, known := found[name]
		if !known || s.Revision < mine.Revision || s.Revision == mine.Revision && s.Stamp != mine.Stamp {
			return false
		}
	}
	return true
}
