package keystore

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

// batch is what the worker took of the queues.
type batch struct {
	records  [][]byte
	keys     []*cachedKey
	counts   []string
	wanted   bool
	position Revision
	number   uint64
	epoch    int
}

func (j *journal) take() (b batch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.taken++
	b = batch{records: j.queue, keys: j.keys, wanted: j.wanted, position: j.position, number: j.taken, epoch: j.epoch}
	for id := range j.counts {
		b.counts = append(b.counts, id)
	}
	if j.beat != nil {
		j.state = j.beat
	}
	j.queue, j.queued, j.keys, j.beat = nil, 0, nil, nil
	j.wanted = j.wanted && j.file == nil // who waits goes on to, until there is a file
	clear(j.counts)
	return b
}

// drain writes what was queued, to the file in place and to the one that is to replace it.
func (j *journal) drain() {
	b := j.take()
	var err error
	for _, text := range b.records {
		if text == nil { // see anewLocked
			j.giveUp()
			continue
		}
		j.dirty = true
		err = errors.Join(err, j.write(text))
	}
	for _, part := range chunks(b.keys, keysChunk) {
		j.dirty = true
		err = errors.Join(err, j.write(packKeys(j.c.keys, part)))
	}
	for _, part := range chunks(b.counts, talliesChunk) {
		j.dirty = true
		text, encodeErr := encode(recordTallies, j.c.counter.table.records(part))
		err = errors.Join(err, encodeErr, j.write(text))
	}
	now := j.c.clock.Now()
	if passed := now.Since - j.beaten; j.state != j.shown && passed >= beatEvery || passed >= noteEvery {
		err = errors.Join(err, j.writeBeat(now))
	}
	synced := false
	if b.wanted && j.file != nil && err == nil {
		err = j.file.f.Sync()
		synced = err == nil
	}
	if err != nil {
		j.broken(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if synced && b.epoch == j.epoch {
		j.safe = b.position
	}
	if j.file != nil || j.failed {
		j.done = b.number // what was taken while there was no file is in the one that is about to be
	}
	j.moved.Broadcast()
}

// write appends a record to both files. An error of the one that is not in place yet ends
// that one alone, in its own time.
func (j *journal) write(text []byte) error {
	if j.next != nil {
		if err := j.next.append(text); err != nil {
			j.abandon(err)
		}
	}
	if j.file == nil {
		return nil
	}
	return j.file.append(text)
}

func (j *journal) writeBeat(now policy.Instant) error {
	if j.state == nil {
		return nil // the file in place has it
	}
	j.shown, j.beaten = j.state, now.Since
	text, err := encode(recordBeat, j.state.heartbeat(now))
	return errors.Join(err, j.write(text))
}

// heartbeat is the state as the journal has it.
func (s *syncState) heartbeat(now policy.Instant) heartbeat {
	return heartbeat{Synced: s.at, Position: s.position, Unseen: s.unseen, Leased: s.leased, Renewed: s.tenure.sent, Lease: s.tenure.lease, Noted: now}
}

// broken gives up the file in place, which could not be written: it is not known any
// more what a start from it would see. Where it can be emptied or removed a start sees
// nothing, and this node goes on to confirm, with no snapshot until one can be written
// again. Where it cannot, this node confirms nothing until the file is too old for
// anybody to start from.
func (j *journal) broken(cause error) {
	j.sizes.errors.Add(1)
	j.giveUp()
	j.retry = time.Now().Add(retryFileEvery)
	own := j.former.at(j.o.Path)
	removed := removeDurably(j.o.Path)
	err := j.retire(own && removed == nil)
	if !own { // what is at the path may be another that this node wrote
		err = errors.Join(removed, err)
	}
	j.mu.Lock()
	said := j.failed
	j.failed, j.gone = true, err == nil
	j.moved.Broadcast()
	j.mu.Unlock()
	if !said {
		j.brokenAt = time.Now()
	}
	switch {
	case said:
	case err != nil:
		j.logger.Error("the snapshot can be neither written nor removed; this node confirms no revocation until it can, or the file is older than max_stale",
			zap.String("path", j.o.Path), zap.NamedError("removing", err), zap.Error(cause))
	default:
		j.logger.Error("no snapshot can be written and none is left; until one can be, this node cannot be started without the store",
			zap.String("path", j.o.Path), zap.Error(cause))
	}
}

// giveUp closes the file in place: nothing more is written to it, and all is written
// anew.
func (j *journal) giveUp() {
	j.closeFile()
	if j.next != nil {
		j.abandon(nil)
	}
	j.anew = true
}

// inPlace is the file that this node may be started from, nil for none.
func (j *journal) inPlace() *formerFile {
	if j.file != nil {
		return &formerFile{j.file.f, j.file.info}
	}
	return j.former
}

// astray reports whether the file that is written to is not what a start would find.
func (j *journal) astray() bool { return j.file != nil && !j.inPlace().at(j.o.Path) }

// closeFile ends the journal of the file in place, which may still be started from.
func (j *journal) closeFile() {
	j.former, j.file = j.inPlace(), nil
}

// retire makes sure that nobody starts from the former file. nameless: the name that it
// had was taken from it, which has to do on a disk where it cannot be emptied.
func (j *journal) retire(nameless bool) error {
	err := j.former.empty()
	if err != nil && !nameless {
		return err
	}
	if err != nil {
		j.logger.Warn("the former snapshot could not be emptied; should there be links to it, remove them", zap.String("path", j.o.Path), zap.Error(err))
	}
	j.former.close()
	j.former = nil
	return nil
}

// abandon ends the file that was to replace the one in place.
func (j *journal) abandon(cause error) {
	if cause != nil {
		j.sizes.errors.Add(1)
		j.logger.Warn("the snapshot could not be written anew", zap.String("path", j.o.Path), zap.Error(cause))
	}
	_ = j.next.f.Close()
	_ = os.Remove(j.nextPath())
	j.next, j.nextErr = nil, cause
}

func (j *journal) nextPath() string { return j.o.Path + ".new" }
func (j *journal) lockPath() string { return filepath.Clean(j.o.Path) + ".lock" }
