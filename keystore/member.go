package keystore

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// renewCheck is how often it is looked whether a renewal is due, and renewAgain what
	// passes before one that failed is tried again.
	renewCheck = 100 * time.Millisecond
	renewAgain = 500 * time.Millisecond
	// renewTimeout bounds one renewal.
	renewTimeout = 2 * time.Second
	// leaveTimeout bounds taking leave, and leaveDrain waiting for decisions before it.
	leaveTimeout = 3 * time.Second
	leaveDrain   = time.Second
)

// ErrReplaced: another process renews under this node's id, and is the node now.
var ErrReplaced = errors.New("another process is this node now")

// NodeInfo is what a process is among those that follow a store, see Registration.
type NodeInfo struct {
	ID, Name, Version string
	Started           time.Time
}

// member is a node's place among those of its store.
type member struct {
	// joined is set once the process has become a node of a store that has several.
	joined atomic.Bool
	// limit is the longest lease that may be served by, in ns.
	limit atomic.Int64

	mu       sync.Mutex // guards what follows
	info     NodeInfo
	maxStale time.Duration
	// due: whatever time it is, see Join. Else the next renewal is due every after sent.
	due   bool
	sent  policy.Instant
	every time.Duration

	begun chan struct{} // closed by the first Join
	once  sync.Once

	renewing sync.Mutex // held by who renews
	failing  bool       // the last renewal failed, guarded by renewing
	promised tenure     // the longest that a row may have said, guarded by renewing

	confirmed atomic.Int64 // the revision that was confirmed last
	repeat    atomic.Bool  // it is to be confirmed again
	wake      chan struct{}

	renewals, failures atomic.Uint64
}

func (m *member) init() { m.begun, m.wake = make(chan struct{}), make(chan struct{}, 1) }

// Join makes this process a node of the store, where the store has several: from now on
// it serves only by a renewal that the store has. With the store out of reach it goes on
// trying. Joining again changes maxStale, and with it the lease: a shorter one applies at
// once, a longer one from the next renewal.
func (c *Cached) Join(n NodeInfo, maxStale time.Duration) {
	if !c.hasRegistry() {
		return
	}
	m, lease := &c.member, leaseFor(maxStale)
	// What is promised to others is shortened only behind what is served by: a renewal
	// that says so is sent after this.
	m.limit.Store(int64(lease))
	c.moveSync(func(s *syncState) { s.leased, s.tenure = true, s.tenure.shortened(lease) })
	m.mu.Lock()
	m.info, m.maxStale, m.due = n, maxStale, true
	m.mu.Unlock()
	m.joined.Store(true)
	m.once.Do(func() { close(m.begun) })
	if m.renewing.TryLock() { // else another renewal follows the one under way
		defer m.renewing.Unlock()
		c.renew(c.running)
	}
}

// hasRegistry reports whether the store has nodes, or is not open yet and may have.
func (c *Cached) hasRegistry() bool {
	if _, ok := As[Registry](c.store); ok {
		return true
	}
	opening, ok := As[interface{ Opening() bool }](c.store)
	return ok && opening.Opening()
}

// moveSync changes how well the log is followed, beside others who do. change may run
// more than once.
func (c *Cached) moveSync(change func(*syncState)) *syncState {
	for {
		was := c.synced.Load()
		next := *was
		change(&next)
		if c.synced.CompareAndSwap(was, &next) {
			return &next
		}
	}
}

// renewals keeps the node's row alive until ctx ends. Apart from following the log, which
// must not wait for a commit that takes long.
func (c *Cached) renewals(ctx context.Context) {
	m := &c.member
	select {
	case <-ctx.Done():
		return
	case <-m.begun:
	}
	timer := time.NewTimer(renewCheck)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := renewCheck
		if c.refused() == nil && m.isDue(c.clock.Now()) {
			m.renewing.Lock()
			if c.renew(ctx) != nil {
				wait = renewAgain/2 + rand.N(renewAgain)
			}
			m.renewing.Unlock()
		}
		timer.Reset(wait)
	}
}

func (m *member) isDue(now policy.Instant) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.due || !within(&m.sent, &now, m.every)
}

// renew renews the row and, once the log was followed to where it ended after that,
// serves by it: what was committed before a writer looked at the row, and found the node
// fenced or not there, is in the log by then.
func (c *Cached) renew(ctx context.Context) error {
	m := &c.member
	registry, ok := As[Registry](c.store)
	switch {
	case ok:
	case c.hasRegistry(): // not open yet
		return ErrUnavailable
	default:
		c.alone()
		return nil
	}
	n, t := c.renewal()
	n.Lease = m.promise(t, c.journal != nil)
	within, cancel := context.WithTimeout(ctx, renewTimeout)
	err := registry.Renew(within, n)
	cancel()
	if errors.Is(err, ErrReplaced) {
		// What is confirmed under this id is not confirmed by this process any more.
		c.moveSync(func(s *syncState) { s.tenure = tenure{} })
	}
	if err == nil {
		err = c.catchUp(ctx, 0)
	}
	if err != nil {
		return c.renewalFailed(ctx, t, err)
	}
	m.failing = false
	m.renewals.Add(1)
	c.moveSync(func(s *syncState) { s.tenure = t.shortened(time.Duration(m.limit.Load())) })
	m.mu.Lock()
	m.sent, m.due = t.sent, m.due && m.maxStale != n.MaxStale
	m.every = renewEvery(n.MaxStale) * time.Duration(90+rand.IntN(11)) / 100 // nodes not in step
	m.mu.Unlock()
	// Once more, as it may have been lost with a server, or be a new row.
	m.repeat.Store(true)
	c.confirmSoon()
	return nil
}

func (c *Cached) renewalFailed(ctx context.Context, t tenure, err error) error {
	m := &c.member
	m.failures.Add(1)
	if !m.failing && ctx.Err() == nil {
		c.logger.Error("this node could not renew its place among the others; without it, it serves no longer than its lease",
			zap.Duration("lease", t.lease), zap.Error(err))
	}
	m.failing = true
	return err
}

// alone makes this process what it is where the store turned out, once it was open, to
// have no registry.
func (c *Cached) alone() {
	m := &c.member
	m.joined.Store(false)
	m.mu.Lock()
	m.due, m.sent, m.every = false, c.clock.Now(), time.Hour
	m.mu.Unlock()
	c.moveSync(func(s *syncState) { s.leased, s.tenure = false, tenure{} })
}

// promise is the lease that others are told of. Where a snapshot may have an earlier,
// longer one, a start from it would serve by that; so the row says that long too, until
// it would be over.
func (m *member) promise(t tenure, snapshot bool) time.Duration {
	left := m.promised.lease - (t.sent.Since - m.promised.sent.Since)
	if !snapshot || left < t.lease {
		m.promised = t
		return t.lease
	}
	return left
}

// longestLease is the longest lease that any node may serve by, as far as this one can
// tell. What the store says is not enough once it went back: a node may have come, or
// have been given a longer lease, since the state that is left.
func (c *Cached) longestLease() time.Duration {
	longest := max(usualLease, time.Duration(c.member.limit.Load()))
	if registry, ok := As[Registry](c.store); ok {
		longest = max(longest, registry.LongestLease())
	}
	if c.journal != nil { // of a node that was started from it, and has not renewed yet
		longest = max(longest, leaseFor(c.journal.o.MaxStale))
	}
	return longest
}

// renewal is what is said of this node now, and the tenure it has once that is stored.
func (c *Cached) renewal() (Registration, tenure) {
	m := &c.member
	m.mu.Lock()
	defer m.mu.Unlock()
	t := tenure{sent: c.clock.Now(), lease: leaseFor(m.maxStale)}
	n := Registration{ID: m.info.ID, Name: m.info.Name, Version: m.info.Version, Started: m.info.Started,
		Position: Revision(m.confirmed.Load()), MaxStale: m.maxStale, Lease: t.lease}
	if c.journal != nil {
		n.Boot = t.sent.Boot
	}
	return n, t
}

// resign ends what this node serves as it closes, or, where it has a snapshot that it may
// begin again from, how long. The journal is closed between resign and leave, so that
// what the snapshot says of that is on the disk before others are told.
func (c *Cached) resign() (resigned bool) {
	m := &c.member
	if !m.joined.Load() || c.synced.Load().lost {
		// The row ends by itself, and a snapshot may be served from until then.
		return false
	}
	m.mu.Lock()
	stopped := stoppedLease(m.maxStale)
	m.mu.Unlock()
	now := c.clock.Now()
	c.moveSync(func(s *syncState) {
		if c.journal == nil {
			s.tenure = tenure{}
			return
		}
		s.tenure = s.tenure.shortened(passed(s.tenure.sent, now) + stopped)
	})
	ctx, cancel := context.WithTimeout(context.Background(), leaveDrain)
	defer cancel()
	if err := c.deciding.drain(ctx); err != nil {
		c.logger.Warn("decisions are still under way, so this node stays registered until its lease ends", zap.Error(err))
		return false
	}
	return true
}

// leave takes this node out, or says that it has stopped.
func (c *Cached) leave(resigned bool) {
	registry, ok := As[Registry](c.store)
	if !resigned || !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	n, _ := c.renewal()
	var err error
	if c.journal == nil {
		err = registry.Leave(ctx, n.ID)
	} else {
		n.Stopped, n.Lease = true, stoppedLease(n.MaxStale)
		err = registry.Renew(ctx, n)
	}
	if err != nil {
		c.logger.Warn("this node could not take leave of the others; it stays registered until its lease ends", zap.Error(err))
	}
}

// Membership is how a node stands among those of its store.
type Membership struct {
	// Joined is whether it is one of several; all else is empty where it is not.
	Joined bool
	ID     string
	// Confirmed is the newest revision that it confirmed.
	Confirmed Revision
	// Renewed is when the renewal was sent that it serves by, and Age how long ago that
	// is by the larger of both clocks; Lease how long it may serve by it. Without one
	// Renewed is zero.
	Renewed time.Time
	Age     time.Duration
	Lease   time.Duration
	// Fenced: the lease is over, and it serves nothing it knows.
	Fenced bool
	// Renewals and Failures count renewals that this process tried.
	Renewals, Failures uint64
}

// Membership is how this node stands among those of its store.
func (c *Cached) Membership() Membership {
	m := &c.member
	if !m.joined.Load() {
		return Membership{}
	}
	m.mu.Lock()
	id := m.info.ID
	m.mu.Unlock()
	now, t := c.clock.Now(), c.synced.Load().tenure
	out := Membership{Joined: true, ID: id, Confirmed: Revision(m.confirmed.Load()), Lease: t.lease, Fenced: !t.holds(&now),
		Renewals: m.renewals.Load(), Failures: m.failures.Load()}
	if t != (tenure{}) {
		out.Renewed, out.Age = t.sent.Wall, passed(t.sent, now)
	}
	return out
}
