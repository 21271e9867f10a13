package keystore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// rewriteEvery is how soon, at the earliest, a snapshot is written anew for what is in
	// its journal, if that is worth it: a small one, or much of it. rewriteAtMost is when
	// it is in any case.
	rewriteEvery  = 5 * time.Minute
	rewriteAtMost = time.Hour
	// smallSnapshot and its journal are written anew without a second thought.
	smallSnapshot = 4 << 20
	// writeRate bounds how fast a snapshot is written, in bytes a second, so that a disk
	// that is shared, as with a master key's or the logs', is left to others.
	writeRate = 32 << 20
	// syncAfter is after how many bytes they are brought to the disk, so that no one sync
	// takes long.
	syncAfter = 16 << 20
	// The most of one kind in one record: keys take about 300 bytes each.
	keysChunk      = 256
	talliesChunk   = 500
	directoryChunk = 1000
	endedChunk     = 10_000
	// lockAgain is how often a lock is tried that another process holds: of two that
	// follow on one another the later has it once the earlier has ended.
	lockAgain = 2 * time.Second
)

// due reports whether all is to be written anew now.
func (j *journal) due(now time.Time) bool {
	j.mu.Lock()
	started, left := j.started, j.left
	old := j.o.MaxStale
	if j.state != nil {
		old = max(old, j.state.tenure.lease)
	}
	if j.failed && !j.gone && now.Sub(j.brokenAt) > old+time.Minute {
		j.gone = true // a start from it is refused by its age
		j.former.close()
		j.former = nil
		j.moved.Broadcast()
	}
	j.mu.Unlock()
	if !started || now.Before(j.retry) {
		return false
	}
	if j.anew || j.file == nil || j.asked.Load() {
		return true
	}
	journal, since := j.file.size-j.full, now.Sub(j.rewritten)
	switch {
	case since >= retryFileEvery && j.astray():
		return true
	case journal > max(smallSnapshot, j.full):
		return true
	case !j.dirty && !left || since < rewriteEvery:
		return false
	}
	return j.full < smallSnapshot || journal > j.full/16 || left || since > rewriteAtMost
}

// acquire makes this process the one that writes there.
func (j *journal) acquire() bool {
	if j.lock != nil {
		return true
	}
	err := os.MkdirAll(filepath.Dir(j.o.Path), 0o700)
	var f *os.File
	if err == nil {
		f, err = lockSnapshot(j.lockPath())
	}
	if err == nil {
		j.lock, j.lockedOut = f, false
		return true
	}
	j.retry = time.Now().Add(lockAgain)
	j.sizes.errors.Add(1)
	if !j.lockedOut {
		j.lockedOut = true
		j.logger.Warn("no snapshot can be kept for now", zap.String("path", j.o.Path), zap.Error(err))
	}
	return false
}

// rewrite writes all that is known into a new file and puts it in place of the old one.
// Meanwhile what changes is written to both. Whatever comes between, one of them is in
// place, whole.
func (j *journal) rewrite(slowly bool) {
	if !j.acquire() {
		return
	}
	began := time.Now()
	if err := j.writeNext(slowly); err != nil {
		if j.next != nil {
			j.abandon(nil)
		}
		j.retry = time.Now().Add(retryFileEvery)
		if errors.Is(err, errOvertaken) && j.nextErr == nil {
			j.retry = time.Time{}
			return
		}
		if j.file == nil {
			j.unwritten = err
			j.withdraw()
			return
		}
		j.sizes.errors.Add(1)
		j.logger.Warn("the snapshot could not be written anew; its journal goes on", zap.String("path", j.o.Path), zap.Error(err))
		return
	}
	j.sizes.rewritings.Add(1)
	j.logger.Debug("snapshot written", zap.String("path", j.o.Path), zap.Int64("bytes", j.full), zap.Duration("took", time.Since(began)))
}

// withdraw takes away what is in place, which does not go on, after no new file could be
// written; but not before there is something that it does not show. A node that was
// started from it without the store knows no more than that, and can be again.
func (j *journal) withdraw() {
	if j.unwritten == nil || j.file != nil {
		return
	}
	j.mu.Lock()
	shows := j.safe >= j.position
	j.mu.Unlock()
	if !shows {
		j.broken(j.unwritten)
		j.unwritten = nil
	}
}

// errOvertaken: all was taken anew while the file was written, or it could not be
// written on.
var errOvertaken = errors.New("the store was loaded anew meanwhile")

func (j *journal) writeNext(slowly bool) error {
	if _, err := regular(j.o.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // not to be replaced
	}
	f, info, err := createSnapshot(j.nextPath())
	if err != nil {
		return err
	}
	next, err := newSealedWriter(f, j.o.Sealer)
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(j.nextPath()))
	}
	next.info = info
	at, c := j.cut(next), j.c
	c.keys.known.Wait() // what was read before is in it
	keys := c.keys.cached()
	head := SnapshotHead{NodeID: c.nodeID, StoreID: c.storeID(), Identity: c.store.Identity(), MasterKeyIDs: masterKeyIDs(keys, at.directory),
		Machine: machineID(), Inode: inode(info), Written: c.clock.Now().Wall}
	pace := &pace{began: time.Now(), slowly: slowly}
	put := func(text []byte, err error) error {
		switch {
		case err != nil:
			return err
		case j.next == nil:
			return errors.Join(errOvertaken, j.nextErr)
		}
		if err := j.next.append(text); err != nil {
			return err
		}
		return pace.keep(j)
	}
	// What is replaced whole by a later record of the same thing goes before anything
	// that came after the cut.
	for _, part := range at.whole(head, c.clock.Now()) {
		if text, err := encode(part.kind, part.value); err != nil {
			return err
		} else if err := next.append(text); err != nil {
			return err
		}
	}
	if err := j.putParts(put); err != nil {
		return err
	}
	for _, part := range chunks(keys, keysChunk) {
		if err := put(packKeys(c.keys, part), nil); err != nil {
			return err
		}
	}
	if err := put([]byte{recordEnd}, nil); err != nil {
		return err
	}
	return j.place()
}

// cut begins to write what changes into next too, and returns what else is to be in it,
// as of then. All that was queued by then shows in it, and what is queued later goes to
// both files.
func (j *journal) cut(next *sealedWriter) cutting {
	for !j.c.feedMu.TryLock() { // a round that waits for the store must not keep counts from being written
		select {
		case <-j.stop:
			// What holds it ends soon.
			j.c.feedMu.Lock()
		case <-time.After(5 * time.Millisecond):
			j.drain()
			continue
		}
		break
	}
	defer j.c.feedMu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if queued := len(j.queue); queued > 0 {
		// A mark to begin anew would end the file that is begun because of it.
		j.queue = slices.DeleteFunc(j.queue, func(text []byte) bool { return text == nil })
		if len(j.queue) < queued {
			j.closeFile()
		}
	}
	at := cutting{directory: j.c.directory.Load(), position: j.c.position, stamp: j.c.history.stamp, state: j.c.synced.Load()}
	j.next, j.nextErr, j.anew, j.left = next, nil, false, false
	j.asked.Store(false) // what was asked for is in memory by now
	j.state, j.shown = at.state, at.state
	return at
}

// cutting is what cut returns.
type cutting struct {
	directory *Directory
	position  Revision
	stamp     Stamp
	state     *syncState
}

// kept is a record before it is encoded.
type kept struct {
	kind  byte
	value any
}

// whole is what is in the snapshot as of the cut alone.
func (at *cutting) whole(head SnapshotHead, now policy.Instant) []kept {
	all := []kept{{recordHeading, head}, {recordBeat, at.state.heartbeat(now)}, {recordApplied, applied{Position: at.position, Stamp: at.stamp}}}
	for _, part := range at.directory.parts() {
		all = append(all, kept{recordApplied, applied{Directory: part}})
	}
	return all
}

// putParts writes ended sessions, tombstones and counts: of those that change while it
// does so, each record is as new as its place in the file.
func (j *journal) putParts(put func([]byte, error) error) error {
	ended := map[string]time.Time{}
	for id, until := range j.c.ended.each {
		if ended[id] = until; len(ended) == endedChunk {
			if err := put(encode(recordApplied, applied{Ended: ended})); err != nil {
				return err
			}
			clear(ended)
		}
	}
	if err := put(encode(recordApplied, applied{Ended: ended})); err != nil {
		return err
	}
	for _, part := range chunks(j.c.history.all(), directoryChunk) {
		if err := put(encode(recordApplied, applied{Stones: part})); err != nil {
			return err
		}
	}
	var ids []string
	for ts := range j.c.counter.table.all {
		ids = append(ids, ts.keyID)
	}
	for _, part := range chunks(ids, talliesChunk) {
		if err := put(encode(recordTallies, j.c.counter.table.records(part))); err != nil {
			return err
		}
	}
	return nil
}

// place puts the finished file in place of the old one.
func (j *journal) place() error {
	// Nobody is told from here on that there is nothing to start from.
	j.mu.Lock()
	j.gone = false
	j.mu.Unlock()
	// What this writes is in both files. What comes later is in neither, and is not durable,
	// until this is over.
	if j.drain(); j.next == nil {
		return errors.Join(errOvertaken, j.nextErr)
	}
	if !j.inPlace().at(j.o.Path) {
		// It was moved, perhaps to be moved back.
		j.closeFile()
		if err := j.retire(false); err != nil {
			return err
		}
	}
	err := j.next.f.Sync()
	if err == nil {
		err = os.Rename(j.nextPath(), j.o.Path)
	}
	if err != nil {
		return err
	}
	j.brokenAt = time.Now() // should this one have to be given up: it is no older
	j.closeFile()
	if err := syncDirectory(filepath.Dir(j.o.Path)); err != nil {
		return err // and either may be in place after a crash
	}
	if err := j.retire(true); err != nil {
		return err
	}
	j.file, j.next, j.full, j.rewritten, j.dirty = j.next, nil, j.next.size, time.Now(), false
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed {
		j.logger.Info("a snapshot is kept again", zap.String("path", j.o.Path))
	}
	j.failed, j.unwritten = false, nil
	j.rouse() // who waits is let go by the first drain
	return nil
}

// finish writes what is left when the node ends.
func (j *journal) finish() {
	j.mu.Lock()
	started := j.started
	j.mu.Unlock()
	j.drain()
	if started && (j.file == nil || j.astray()) && !time.Now().Before(j.retry) {
		j.rewrite(false)
	}
	if j.file != nil {
		j.state = j.c.synced.Load() // all that it tells of was queued before the end
		err := j.writeBeat(j.c.clock.Now())
		if err == nil {
			err = j.file.f.Sync()
		}
		if err != nil {
			j.broken(err)
		}
		j.closeFile()
		j.mu.Lock()
		j.clean = err == nil
		j.mu.Unlock()
	}
	j.former.close()
	if j.lock != nil {
		_ = j.lock.Close()
		j.lock = nil
	}
}

// pace lets a file be written no faster than writeRate, and what changes meanwhile in
// between.
type pace struct {
	began   time.Time
	slowly  bool
	drained time.Time
	synced  int64
}

func (p *pace) keep(j *journal) error {
	if size := j.next.size; size-p.synced > syncAfter {
		p.synced = size
		if err := j.next.f.Sync(); err != nil {
			return err
		}
	}
	for {
		if now := time.Now(); now.Sub(p.drained) > 10*time.Millisecond {
			p.drained = now
			if j.drain(); j.next == nil {
				return errors.Join(errOvertaken, j.nextErr)
			}
		}
		ahead := time.Duration(float64(j.next.size)/writeRate*float64(time.Second)) - time.Since(p.began)
		if !p.slowly || ahead < time.Millisecond {
			return nil
		}
		select {
		case <-j.stop:
			p.slowly = false
		case <-j.wake:
			p.drained = time.Time{}
		case <-time.After(min(ahead, 10*time.Millisecond)):
		}
	}
}
