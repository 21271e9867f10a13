package keystore

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// journalEvery is how often what nobody waits for is written.
	journalEvery = 100 * time.Millisecond
	// beatEvery is how often it is written how well the store is followed, and noteEvery
	// the same where it is not: then only that time passes.
	beatEvery = time.Second
	noteEvery = 10 * time.Second
	// maxQueuedKeys bounds the keys that wait to be written, all of which are in the
	// cache; maxQueuedBytes what else waits, as for a disk that hangs. Past the one keys
	// are left out until the next rewriting, past the other the journal is given up.
	maxQueuedKeys  = 1 << 16
	maxQueuedBytes = 64 << 20
	// noteWait bounds how long an answer to a wrong secret waits for the file to have it.
	noteWait = 250 * time.Millisecond
	// retryFileEvery is how often it is tried to keep a snapshot after one could not be
	// written.
	retryFileEvery = time.Minute
	// appliedChunk is how many client IDs one record names.
	appliedChunk = 50_000
)

// errJournal: the file is no journal any more and could not be taken away, so that a
// start from it would serve what this node has seen revoked.
var errJournal = errors.New("the snapshot could be neither written nor removed")

// errJournalClosed: nothing is written any more.
var errJournalClosed = errors.New("the journal is closed")

// journal is what a node keeps on its own disk of what it has seen, so that it can be
// started again without the store. nil is none, of which every method does nothing.
//
// Whoever changes what the node knows queues what it did; one worker writes. Nothing of
// it is on a request's way but for a wrong secret's.
type journal struct {
	c      *Cached
	o      SnapshotOptions
	logger *zap.Logger

	// stones are of sessions whose record is not queued yet; they belong to feedMu.
	stones []Tombstone

	mu    sync.Mutex
	moved sync.Cond // of mu: any of what follows changed
	// queue are records to be written, in order, of so many bytes; keys those that were
	// read, and counts the keys whose counts changed.
	queue  [][]byte
	queued int
	keys   []*cachedKey
	counts map[string]struct{}
	beat   *syncState // how well the store is followed, to be written
	// left: keys were left out, for want of room.
	left bool
	// position is the newest that was queued, safe what is durably in the file in place.
	// epoch counts how often all was taken anew: what was written before is not safe.
	position, safe Revision
	epoch          int
	// wanted: somebody waits for safe. taken counts what the worker took; of that all up to
	// done is in a file, or there can be none.
	wanted      bool
	taken, done uint64
	// started: there is something to be kept. gone: there is no file, durably, or none
	// that anybody would take for this node's.
	// closing: nobody waits any more. clean: closed, with all of it in the file.
	started, gone, closing, clean bool
	// failed: the latest file could not be kept; said once.
	failed bool
	asked  atomic.Bool // see writeAnew
	wake   chan struct{}
	stop   chan struct{}
	ended  chan struct{}

	// What follows belongs to the worker.
	lock       *os.File
	file, next *sealedWriter
	former     *formerFile // what may be in place besides, not written to any more
	full       int64       // bytes of the snapshot itself in file
	rewritten  time.Time   // when it was
	dirty      bool        // there is something in the journal besides heartbeats
	anew       bool        // all is to be written anew, at once
	beaten     time.Duration
	retry      time.Time // not before
	brokenAt   time.Time // nothing was written to the file in place after that, where it failed
	lockedOut  bool      // another process has the lock; it was said
	nextErr    error     // why next ended
	unwritten  error     // why no file could be begun, see withdraw
	// state is how well the store was followed by what was taken, shown what was written of it.
	state, shown *syncState

	sizes struct{ rewritings, errors atomic.Int64 } // see SnapshotCounts
}

func newJournal(c *Cached, o SnapshotOptions) *journal {
	j := &journal{c: c, o: o, logger: c.logger, counts: map[string]struct{}{}, position: -1, safe: -1,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	j.moved.L = &j.mu
	return j
}

// rouse lets the worker look at once.
func (j *journal) rouse() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// durable returns once a start from the disk would see a revision, which this node has
// applied: before that it must not be confirmed. It waits for as long as that takes. An
// error means that a start could see less: then it must not be confirmed at all for now.
//
// There may be nothing on the disk to start from, durably: then a start knows nothing,
// and serves nothing that was revoked.
func (j *journal) durable(r Revision) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		switch {
		case j.safe >= r:
			return nil
		case j.gone && j.position >= r:
			// Not before it was queued: the file that is about to be made would not have it.
			return nil
		case j.closing:
			return errJournalClosed
		case j.failed && !j.gone:
			return errJournal
		}
		if !j.wanted {
			j.wanted = true
			j.rouse()
		}
		j.moved.Wait()
	}
}

// add queues a record. Called with feedMu held, so that records are in the order of what
// they tell; position is reached by it, or 0.
func (j *journal) add(kind byte, v any, position Revision) {
	text, err := encode(kind, v)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil || j.queued+len(text) > maxQueuedBytes {
		// What cannot be queued is in no journal: the file is worthless from here on.
		j.logger.Error("the snapshot's journal cannot keep up; it is written anew", zap.Error(err))
		j.anewLocked()
	} else {
		j.queue, j.queued = append(j.queue, text), j.queued+len(text)
	}
	if position != 0 {
		j.position = position
	}
}

// applied queues what changes did to what this node knows. Called with feedMu held, once
// decisions see them.
func (j *journal) applied(news News, clients []string, tick int64, ended map[string]time.Time, d *Directory) {
	if j == nil {
		return
	}
	position := news.Changes[len(news.Changes)-1].Revision
	parts := chunks(clients, appliedChunk)
	for _, part := range parts[:max(0, len(parts)-1)] {
		j.add(recordApplied, applied{Tick: tick, Clients: part}, 0)
	}
	last := applied{Position: position, Stamp: news.Stamp, Tick: tick, Ended: ended, Stones: append(j.stones, news.Tombstones...), Directory: partOf(d, news.Changes)}
	j.stones = nil
	if len(parts) > 0 {
		last.Clients = parts[len(parts)-1]
	}
	j.add(recordApplied, last, position)
}

// startOver notes that all is taken anew, to a position that may be lower: nothing that
// was written before counts. Called with feedMu held, before decisions see any of it:
// who sees that position must not be told that it is durable by what was written before.
func (j *journal) startOver(position Revision) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.started, j.position, j.stones = true, position, nil
	j.anewLocked()
	j.rouse()
}

// anewLocked lets the worker begin a file, as what is in the one in place does not go on.
// That one stays until then: it shows what was confirmed by now, and nothing more is.
func (j *journal) anewLocked() {
	j.queue, j.queued, j.safe = [][]byte{nil}, 0, -1
	j.epoch++
}

// sessionEnded keeps what is to be remembered of a session for the next record. Called
// with feedMu held.
func (j *journal) sessionEnded(s *Session) {
	if j != nil {
		j.stones = append(j.stones, sessionStones(s)...)
	}
}

// endedOf is what is remembered of sessions that ended early.
func (c *Cached) endedOf(ids []string) map[string]time.Time {
	ended := make(map[string]time.Time, len(ids))
	for _, id := range ids {
		if until, ok := c.ended.get(id); ok {
			ended[id] = until
		}
	}
	return ended
}

// goOn notes that what the file in place tells, durably, is known: all is written anew
// from it.
func (j *journal) goOn(position Revision, from *formerFile) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.started, j.position, j.safe, j.former = true, position, position, from
}

// writeAnew has the snapshot written anew soon, for what changed in memory without a
// record of its own.
func (j *journal) writeAnew() {
	if j != nil {
		j.asked.Store(true)
	}
}

// followed notes how well the store is followed now. Called with feedMu held: all that
// was applied by then was queued before.
func (j *journal) followed(s *syncState) {
	if j == nil {
		return
	}
	j.mu.Lock()
	j.beat = s
	j.mu.Unlock()
}

// keyRead keeps a key that was read from the store.
func (j *journal) keyRead(v *cachedKey) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.started {
		return // the first snapshot will have it
	}
	if len(j.keys) >= maxQueuedKeys {
		j.left = true
		return
	}
	j.keys = append(j.keys, v)
}

// counted notes that the counts of a key changed.
func (j *journal) counted(keyID string) {
	j.mu.Lock()
	if j.started {
		j.counts[keyID] = struct{}{}
	}
	j.mu.Unlock()
}

// noted returns once the file has every count that changed before, though not durably:
// what a killed process wrote stays. No longer than noteWait.
func (j *journal) noted() {
	if j == nil {
		return
	}
	began := time.Now()
	timer := time.AfterFunc(noteWait, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.moved.Broadcast()
	})
	defer timer.Stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.started || j.closing {
		return
	}
	j.rouse()
	for ticket := j.taken + 1; j.done < ticket && !j.closing && time.Since(began) < noteWait; {
		j.moved.Wait()
	}
}

// start lets the worker begin.
func (j *journal) start() {
	if j != nil {
		go j.run()
	}
}

// discard gives up a journal that was not started.
func (j *journal) discard() {
	if j != nil && j.lock != nil {
		j.former.close()
		_ = j.lock.Close()
	}
}

// run writes until close.
func (j *journal) run() {
	defer close(j.ended)
	tick := time.NewTicker(journalEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-j.wake:
		case <-j.stop:
			j.finish()
			return
		}
		j.drain()
		j.withdraw()
		if j.due(time.Now()) {
			j.rewrite(true)
		}
	}
}

// release lets go of whoever waits for the file.
func (j *journal) release() {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closing = true
	j.moved.Broadcast()
}

// close writes what is queued and how well the store was followed last, durably, and
// ends the worker. After an error there may be a file that says less, or another lease.
func (j *journal) close() error {
	if j == nil {
		return nil
	}
	close(j.stop)
	<-j.ended
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.clean || j.gone {
		return nil
	}
	return errJournal
}
