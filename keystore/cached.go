package keystore

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// pollEvery is how often the change log is asked for other writers' changes.
	pollEvery = 200 * time.Millisecond
	// SeenWithin is how long after a write another process that follows the same store
	// has seen it, if it is well: the time of a few polls.
	SeenWithin = 5 * pollEvery
	// pollTimeout bounds one such poll.
	pollTimeout = 3 * time.Second
	// noticeWithin is how long a loss of the store can go unnoticed; with
	// max_stale 0 nothing older than this is served.
	noticeWithin = pollEvery + pollTimeout
	// maxViews bounds the lists that are read at one time.
	maxViews = 4
	// sweepEvery is how often counts without meaning are forgotten and the store trimmed.
	sweepEvery = time.Minute
	// endedMemory is how long past its expiry an ended session is remembered, for
	// clocks that were set, and pushedOutMemory the same for one that newer ones of
	// its key pushed out: any client can end as many of those as it likes.
	endedMemory     = 2 * time.Hour
	pushedOutMemory = time.Minute
	// forgetEvery is how often old audit events are forgotten, where any are.
	forgetEvery = time.Hour
	// changesKept is how long the change log reaches back.
	changesKept = 24 * time.Hour
)

// Cached is the view of a store that decisions are made on: keys by client ID,
// the directory and every lock, kept current by following the store's change
// log. A write through it is visible to every decision that begins after the
// write returned.
type Cached struct {
	store  Store
	guard  *guarded // the same, but for following it
	clock  Clock
	logger *zap.Logger

	keys      *keyCache
	counter   *counter
	ended     exactMap[time.Time] // until when it is remembered, by the session's id
	directory atomic.Pointer[Directory]
	lockout   atomic.Pointer[policy.Lockout] // for sweeping only; decisions bring their own
	failures  failureCounts
	retention auditRetention
	uses      *uses

	history historyMemory

	// feedMu serialises applying changes; the positions below belong to it.
	feedMu   sync.Mutex
	position Revision
	tallySeq int64
	// turn is odd while a change of keys and directory becomes visible, and seen
	// the position that is: see Look.
	turn atomic.Uint64
	seen atomic.Int64
	// views bounds how many connections lists take, so that lookups and the feed
	// always find one.
	views chan struct{}

	synced atomic.Pointer[syncState]
	rounds rounds
	// answers: the store has answered the follower since it was lost last.
	answers atomic.Bool

	deciding decisions
	member   member
	settling rounds // see settled
	asked    nodeReads

	// journal is nil where no snapshot is kept. nodeID is set while opening. named is the
	// store's own name, and beginning (of feedMu): it was not met yet, see meet.
	journal   *journal
	nodeID    string
	named     atomic.Pointer[string]
	beginning bool

	running context.Context // ended by stop
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// syncState is how well the change log is being followed.
type syncState struct {
	// at is when the last poll that succeeded was sent.
	at policy.Instant
	// lost is set while polls fail, and outage is since when and why.
	lost   bool
	outage *outage
	// unseen is set once this node failed to see a write of its own: nothing that
	// is cached may be served until it has.
	unseen bool
	// position is the newest revision that was seen then.
	position Revision
	// leased: this node is one of several, and serves by its tenure alone.
	leased bool
	tenure tenure
}

// OpenCached loads what is held whole (directory, locks) and begins to follow
// the change log. Keys are loaded as they are asked for, so opening takes no
// longer for a store of many. The store is closed by Close.
func OpenCached(ctx context.Context, store Store, clock Clock, sizes CacheSizes, logger *zap.Logger) (*Cached, error) {
	return OpenCachedFrom(ctx, store, clock, CachedOptions{Sizes: sizes}, logger)
}

func newCached(store Store, clock Clock, sizes CacheSizes, logger *zap.Logger) (*Cached, error) {
	guard := newGuarded(store)
	keys, err := newKeyCache(guard, sizes)
	if err != nil {
		return nil, err
	}
	c := &Cached{store: store, guard: guard, clock: clock, logger: logger, keys: keys, counter: newCounter(guard, clock, logger),
		uses: newUses(guard, clock, logger), views: make(chan struct{}, maxViews)}
	guard.refused, guard.refusedKey = c.refused, c.refusedKey
	guard.position, guard.contradicts = c.Position, c.history.contradicts
	guard.continues = c.continues
	keys.deciding = &c.deciding
	c.member.init()
	l := policy.DefaultLockout()
	c.lockout.Store(&l)
	c.running, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// begin starts what works behind requests.
func (c *Cached) begin() {
	c.journal.start()
	c.done.Go(func() { c.follow(c.running) })
	c.done.Go(func() { c.counter.run(c.running) })
	c.done.Go(func() { c.uses.run(c.running) })
	c.done.Go(func() { c.sweepOften(c.running) })
	c.done.Go(func() { c.learnHistory(c.running) })
	c.done.Go(func() { c.renewals(c.running) })
	c.done.Go(func() { c.confirmations(c.running) })
}

// Close stops following, counts what is still queued, writes last uses and closes
// the store.
func (c *Cached) Close() error {
	c.stop()
	c.journal.release()
	c.done.Wait()
	c.rounds.close()
	c.settling.close()
	c.asked.rounds.close()
	c.uses.close()
	resigned := c.resign()
	if err := c.journal.close(); err == nil { // else the snapshot may say more than others were told
		c.leave(resigned)
	}
	c.keys.close()
	return c.store.Close()
}

// Resize applies new cache bounds in place.
func (c *Cached) Resize(sizes CacheSizes) { c.keys.resize(sizes) }

// SetLockout names the policy by which forgotten counts are swept.
func (c *Cached) SetLockout(l policy.Lockout) { c.lockout.Store(&l) }

// Store is the store below.
func (c *Cached) Store() Store { return c.store }

// Logger is for whatever works on this store behind requests.
func (c *Cached) Logger() *zap.Logger { return c.logger }

// Clock is the clock that locks are measured by.
func (c *Cached) Clock() Clock { return c.clock }

// lookTries bounds how often Look starts over.
const lookTries = 100

// Look is the key of a client ID and the directory as one picture: never a key
// from before a change with a directory from after it, or the other way round.
// ErrNotFound if there is no such key; any other error means that it is not
// known here and the store cannot be asked.
func (c *Cached) Look(ctx context.Context, clientID string, now policy.Instant) (*Key, *Directory, error) {
	return c.LookWithin(ctx, nil, clientID, now)
}

// LookWithin is Look on a decision's behalf, which begins anew, as Waited says then,
// where the store had to be asked: what it finds is as of after that.
func (c *Cached) LookWithin(ctx context.Context, of *Decision, clientID string, now policy.Instant) (*Key, *Directory, error) {
	for try := range lookTries {
		turn := c.stillTurn()
		key, err := c.keys.get(clientID, now.Wall, try > 0, of)
		if err != nil {
			return nil, nil, err
		}
		directory := c.directory.Load()
		if c.turn.Load() != turn {
			continue
		}
		if key.Revision <= c.Position() {
			return key, directory, nil
		}
		// The store was read later than its change log was followed.
		c.deciding.pause(of)
		err = c.catchUpFor(ctx, key.Revision)
		c.deciding.resume(of)
		if err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("keys and directory changed %d times while they were read", lookTries)
}

// Directory is the current picture of roles and tenants.
func (c *Cached) Directory() *Directory { return c.directory.Load() }

// stillTurn waits until no change is becoming visible: for as long as it takes to
// store a few pointers, or longer where very much changed at once.
func (c *Cached) stillTurn() uint64 {
	for i := 0; ; i++ {
		if turn := c.turn.Load(); turn&1 == 0 {
			return turn
		}
		if i < 10 {
			runtime.Gosched()
		} else {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// Fresh reports whether what is cached may still be served: the change log was
// followed within maxStale, by the larger of both clocks. 0 means until a loss
// is noticed.
func (c *Cached) Fresh(now policy.Instant, maxStale time.Duration) bool {
	s := c.synced.Load()
	if s.unseen || s.leased && !s.tenure.holds(&now) {
		return false
	}
	if maxStale == 0 {
		if s.lost {
			return false
		}
		maxStale = noticeWithin
	}
	return within(&s.at, &now, maxStale)
}

// Locked is how much longer a caller is locked out; 0 is not.
func (c *Cached) Locked(l policy.Lockout, keyID string, source netip.Prefix, now policy.Instant) time.Duration {
	return c.counter.locked(l, keyID, source, now)
}

// Fail counts one wrong secret and returns once it is counted durably (or, with
// the store out of reach, on this node). It does not end with the caller's request.
func (c *Cached) Fail(l policy.Lockout, a Attempt) policy.Outcome {
	out := c.counter.fail(l, a)
	c.failures.note(out)
	if out.Counted {
		c.journal.noted()
	}
	return out
}

// Succeed clears the count after a right secret. False: locked by now, refuse.
func (c *Cached) Succeed(l policy.Lockout, keyID string, source netip.Prefix, now policy.Instant) bool {
	return c.counter.succeed(l, keyID, source, now)
}

// SessionEnded reports whether a session was ended before it expired. It is
// exact: an end is remembered as long as the session's token could be good.
func (c *Cached) SessionEnded(id string) bool {
	_, ended := c.ended.get(id)
	return ended
}

// View reads one consistent snapshot of the store itself. A few run at one time,
// the others wait; so fn must call neither View nor Update.
func (c *Cached) View(ctx context.Context, fn func(Reader) error) error {
	if err := c.refused(); err != nil {
		return err
	}
	select {
	case c.views <- struct{}{}:
		defer func() { <-c.views }()
		return c.guard.View(ctx, fn)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Update writes, and returns once every decision on this node that begins from
// now on sees it. The write is durable even if the error says that it could not
// be seen (ErrUnseen).
func (c *Cached) Update(ctx context.Context, fn func(Tx) error) (Revision, error) {
	rev, err := c.guard.Update(ctx, fn)
	if err != nil {
		return 0, err
	}
	return rev, c.see(ctx, rev)
}

// see returns once decisions on this node see a revision that was written here.
func (c *Cached) see(ctx context.Context, rev Revision) error {
	// The write stands: from here the caller's hanging up must not matter.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pollTimeout)
	defer cancel()
	if err := c.catchUp(ctx, rev); err != nil {
		// Not seen means not safe to go on with: nothing is decided on what is cached
		// until the log was followed again.
		c.blind(err)
		c.logger.Error("a write is stored but this node cannot see it; it refuses until it does", zap.Int64("revision", int64(rev)), zap.Error(err))
		return fmt.Errorf("%w: %w", ErrUnseen, err)
	}
	return nil
}

// sweepOften forgets what no longer matters until ctx ends. Apart from follow: a
// long clean-up must not keep changes from being seen.
func (c *Cached) sweepOften(ctx context.Context) {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			c.Sweep(ctx)
		}
	}
}

// Poll looks for other writers' changes once. It is called on a schedule.
func (c *Cached) Poll(ctx context.Context) error {
	return c.catchUp(ctx, 0)
}

// CatchUp is Poll for a request that cannot wait for that: a store that is lost is not
// asked on its behalf.
func (c *Cached) CatchUp(ctx context.Context) error {
	return c.catchUpFor(ctx, 0)
}

// Sweep forgets counts without meaning, here and in the store.
func (c *Cached) Sweep(ctx context.Context) {
	l := *c.lockout.Load()
	now := c.clock.Now()
	c.counter.table.sweep(func(ts *tallies) bool { return ts.forgettable(l, now) })
	c.ended.sweep(now.Wall.After)
	c.history.sweep(now.Wall)
	ctx, cancel := context.WithTimeout(ctx, sweepEvery)
	defer cancel()
	if err := c.guard.Trim(ctx, l, changesKept); err != nil && !errors.Is(err, context.Canceled) {
		c.logger.Warn("the key store could not be trimmed", zap.Error(err))
	}
	c.forgetAudit(ctx, now)
}

// Position is the newest revision that decisions on this node see.
func (c *Cached) Position() Revision { return Revision(c.seen.Load()) }

// ErrAhead: the revision asked for is not there yet, nowhere.
var ErrAhead = errors.New("revision is ahead of the store")

// AwaitRevision returns once decisions on this node see a revision. ErrAhead if
// the store itself is not that far.
func (c *Cached) AwaitRevision(ctx context.Context, rev Revision) error {
	if c.Position() >= rev {
		return nil
	}
	if err := c.catchUpFor(ctx, 0); err != nil {
		return err
	}
	if c.Position() < rev {
		return ErrAhead
	}
	return nil
}
