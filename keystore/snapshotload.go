package keystore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

// picture is what a node knew, as its snapshot and journal tell it.
type picture struct {
	SnapshotHead
	heartbeat
	position  Revision
	stamp     Stamp
	history   historyMemory
	keys      map[string]readKey
	directory *Directory
	ended     map[string]time.Time
	tallies   map[string]tallyRecord

	// changed is the tick of each client ID's newest change in the journal.
	changed map[string]int64
	names   map[string]string
	whole   bool
	// former is the file itself, which is started from until there is another; to be closed.
	former *formerFile
}

// readKey is a key and the tick at which it was read.
type readKey struct {
	key  *Key
	tick int64
}

// loadSnapshot reads a snapshot and its journal. Nothing of them is used unless all that
// was ever confirmed is there and as it was written.
func loadSnapshot(path string, sealer SnapshotSealer) (*picture, error) {
	f, err := openSnapshot(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	p, err := readSnapshot(f, sealer)
	if err != nil {
		return nil, &RefusedSnapshotError{path, errors.Join(err, f.Close())}
	}
	return p, nil
}

func readSnapshot(f *os.File, sealer SnapshotSealer) (*picture, error) {
	r, head, err := readHead(f, sealer)
	if err != nil {
		return nil, err
	}
	p := newPicture(head)
	for {
		text, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = p.add(text)
		}
		if err != nil {
			return nil, err
		}
	}
	// Its end may not be on the disk yet: whoever wrote it was killed before it was sure
	// of that.
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if !p.whole {
		return nil, errUnfinished
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p.former = &formerFile{f, info}
	p.directory = p.directory.bound()
	p.dropUnreadable(sealer)
	return p, nil
}

func newPicture(head SnapshotHead) *picture {
	return &picture{SnapshotHead: head, keys: map[string]readKey{}, ended: map[string]time.Time{}, tallies: map[string]tallyRecord{},
		changed: map[string]int64{}, names: map[string]string{},
		directory: &Directory{roles: map[string]*Role{}, customers: map[string]*Customer{}, microtenants: map[tenant]*Microtenant{}}}
}

// add takes one record in.
func (p *picture) add(text []byte) error {
	if len(text) == 0 {
		return errShort
	}
	kind, text := text[0], text[1:]
	switch kind {
	case recordKeys:
		return p.addKeys(text)
	case recordApplied:
		var a applied
		if err := json.Unmarshal(text, &a); err != nil {
			return err
		}
		p.apply(&a)
	case recordTallies:
		var all []tallyRecord
		if err := json.Unmarshal(text, &all); err != nil {
			return err
		}
		for _, t := range all {
			p.tallies[t.KeyID] = t
		}
	case recordBeat:
		p.heartbeat = heartbeat{}
		return json.Unmarshal(text, &p.heartbeat)
	case recordEnd:
		p.whole = true
	default:
		return errShort
	}
	return nil
}

func (p *picture) addKeys(text []byte) error {
	rest := packed{b: text, names: p.names}
	for len(rest.b) > 0 && rest.err == nil {
		tick := rest.varint()
		key := rest.key()
		if rest.err != nil {
			break
		}
		// A key is written behind requests, so its record may come after that of a change
		// which it does not show.
		if tick >= p.changed[key.ClientID] && tick >= p.keys[key.ClientID].tick {
			p.keys[key.ClientID] = readKey{key, tick}
		}
	}
	return rest.err
}

func (p *picture) apply(a *applied) {
	for _, id := range a.Clients {
		p.changed[id] = max(p.changed[id], a.Tick)
		if k, ok := p.keys[id]; ok && k.tick < a.Tick {
			delete(p.keys, id)
		}
	}
	for id, until := range a.Ended {
		p.ended[id] = until
	}
	p.history.note(a.Stones...)
	if a.Directory != nil {
		a.Directory.put(p.directory)
	}
	if a.Position != 0 {
		p.position, p.stamp = a.Position, a.Stamp
	}
}

// dropUnreadable forgets keys with a secret under a master key that is not held: it
// could not be told from a wrong one, and would be counted as one.
func (p *picture) dropUnreadable(sealer SnapshotSealer) {
	held := map[string]bool{}
	for id, k := range p.keys {
		for i := range k.key.Secrets {
			masterKeyID := k.key.Secrets[i].MasterKeyID
			if _, asked := held[masterKeyID]; !asked {
				_, held[masterKeyID] = sealer.Derive(masterKeyID, sealedInfo)
			}
			if !held[masterKeyID] {
				delete(p.keys, id)
			}
		}
	}
}

// CheckSnapshot is why a node that begins with its store out of reach could not serve from
// a snapshot, nil if it could: the file is read whole. identity is where the store is,
// and the rest as in SnapshotOptions. A RefusedSnapshotError, or the file's own.
func CheckSnapshot(path string, sealer SnapshotSealer, identity string, now policy.Instant, maxStale time.Duration) error {
	p, err := loadSnapshot(path, sealer)
	if err != nil {
		return err
	}
	if p.Identity != identity {
		return &RefusedSnapshotError{path, errForeignStore}
	}
	if err := p.servable(now, maxStale); err != nil {
		return &RefusedSnapshotError{path, err}
	}
	return nil
}

// servable is why nothing may be served from the picture, nil if it may. What it holds
// is good all the same where the store tells what changed since.
func (p *picture) servable(now policy.Instant, maxStale time.Duration) error {
	if p.Unseen {
		return errUnseenWrite
	}
	age, err := p.age(p.Synced, now)
	switch {
	case err != nil:
		return err
	case age > maxStale:
		return fmt.Errorf("%w: the store was followed %s ago", errTooOld, age.Round(time.Second))
	}
	if !p.Leased {
		return nil
	}
	switch age, err = p.age(p.Renewed, now); {
	case err != nil:
		return err
	case age > p.Lease:
		return fmt.Errorf("%w: others were told %s ago that this node serves for %s", errTooOld, age.Round(time.Second), p.Lease)
	}
	return nil
}

// install makes a picture the one that decisions are made on, before anything else
// works on c. Where it is not servable nothing is served from it until the store was
// followed again.
func (c *Cached) install(p *picture, servable bool) {
	now := c.clock.Now()
	for id, until := range p.ended {
		c.ended.change(id, func(time.Time, bool) (time.Time, bool) { return until, now.Wall.Before(until) })
	}
	for id, t := range p.tallies {
		if !t.Gone {
			c.counter.table.update(id, func(*tallies) *tallies { return t.tallies(now) })
			if len(t.Pending) > 0 {
				c.counter.again([]string{id})
			}
		}
	}
	c.keys.restore(p.keys)
	c.history.at(p.position, p.stamp)
	c.history.note(p.history.all()...)
	c.show(p.directory, p.position, func() {})
	s := &syncState{at: now, unseen: true, position: p.position, leased: p.Leased}
	if servable {
		// The clock was checked, so neither fails.
		at, err := p.inThisBoot(p.Synced, now)
		renewed, renewedErr := p.inThisBoot(p.Renewed, now)
		if err == nil && (renewedErr == nil || !p.Leased) {
			s.at, s.unseen, s.tenure = at, false, tenure{renewed, p.Lease}
		}
	}
	c.synced.Store(s)
	c.logger.Info("started from the snapshot", zap.Int64("revision", int64(p.position)), zap.Int("keys", len(p.keys)), zap.Bool("serving", servable))
}

// restore fills an empty cache with keys that were read before it began: whatever
// changes from now on is newer.
func (c *keyCache) restore(keys map[string]readKey) {
	room := int(c.known.MaxCost())
	for id, k := range keys {
		if room--; room < 0 {
			return
		}
		v := &cachedKey{key: k.key, tick: c.ticks.Load()}
		v.calls.keyID, k.key.calls = k.key.ID, &v.calls
		for !c.known.Set(id, v, 1) {
			c.known.Wait() // its buffer is full
		}
	}
	c.known.Wait()
}
