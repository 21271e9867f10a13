package keystore

import (
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// A revoking write is confirmed once no node can decide as before it any more: each has
// said that its decisions see it, or is fenced, that is provably past the time until
// which it serves what it knows. What follows are the rules of that, without any I/O;
// the product goes by them, and the model in fencemodel_test.go tries them out in every
// order of events.
//
// A node may serve only by a renewal of its row that reached the store, for its lease
// from the moment it *sent* it, by whichever of its clocks ran further. The row says when
// the store, by the store's own clock, wrote it: no sooner than it was sent. So once the
// store's clock has moved past that by the lease, and by a margin for two clocks that run
// unequally, the node refuses; if it renews, it follows the log behind that, and what was
// committed before its row was looked at is in the log by then.

const (
	// A node renews this often: a tenth of max_stale, within these bounds.
	renewShare   = 10
	renewAtLeast = time.Second
	renewAtMost  = 5 * time.Second
	// lagRenewals is how many renewals a node may miss until it lags.
	lagRenewals = 3
	// stoppedServes is the longest that a node that was ended in order may serve from its
	// snapshot when it is started again without the store.
	stoppedServes = 30 * time.Second
	// fenceMargin and a part in fenceDrift of the lease are what two clocks may go apart
	// while a lease runs.
	fenceMargin = time.Second
	fenceDrift  = 100
)

// renewEvery is what passes between two renewals of a node that is well.
func renewEvery(maxStale time.Duration) time.Duration {
	return min(max(maxStale/renewShare, renewAtLeast), renewAtMost)
}

// leaseFor is how long a node may serve by a renewal: max_stale counts from the last
// poll, which may be that much later than the last renewal.
func leaseFor(maxStale time.Duration) time.Duration {
	if maxStale == 0 {
		maxStale = noticeWithin
	}
	return maxStale + renewEvery(maxStale)
}

// usualLease is by the max_stale that a node has unless it is told another.
var usualLease = leaseFor(5 * time.Minute)

// stoppedLease is the lease of a node that has ended in order.
func stoppedLease(maxStale time.Duration) time.Duration { return min(stoppedServes, maxStale) }

// margin is how much longer than its lease a node is waited for.
func margin(lease time.Duration) time.Duration { return fenceMargin + lease/fenceDrift }

// within reports whether no more than d passed from one instant of a node to another of
// the same boot, by either clock: the time since boot stands still while a machine is
// suspended, and the time of day can be set. On every decision's way, so by reference and
// in plain numbers.
func within(from, now *policy.Instant, d time.Duration) bool {
	return now.Since-from.Since <= d && now.Wall.UnixNano()-from.Wall.UnixNano() <= int64(d)
}

// passed is what within compares: how long ago an instant of the same boot was.
func passed(from, now policy.Instant) time.Duration {
	return max(0, now.Since-from.Since, now.Wall.Sub(from.Wall))
}

// tenure is a renewal that a node may serve by. The zero tenure is none.
type tenure struct {
	// sent is when the renewal was sent, not when it was answered.
	sent  policy.Instant
	lease time.Duration
}

func (t *tenure) holds(now *policy.Instant) bool { return within(&t.sent, now, t.lease) && t.lease > 0 }

// shortened is the tenure with a lease that is no longer than that.
func (t tenure) shortened(lease time.Duration) tenure {
	t.lease = min(t.lease, lease)
	return t
}

// StoreTime is the time of a store as its nodes were read.
type StoreTime struct {
	Now time.Time
	// Era names the stretch in which the store's clock was not set, as far as is known,
	// and Began is when it began.
	Era   int64
	Began time.Time
	// Steady: nor was it since, as this reading itself shows. Where it was, nobody is
	// known to be fenced.
	Steady bool
}

// Judge sets Until and Left of a node by its Renewed, which was written in an era.
func (n *Registered) Judge(t StoreTime, era int64) {
	from := n.Renewed
	if era != t.Era && (!from.After(t.Began) || from.After(t.Now)) {
		// By a clock that was set since, it says nothing. The row was there when the era
		// began, or was being written; in the latter case it has a time of this era.
		from = t.Began
	}
	whole := n.Lease + margin(n.Lease)
	n.Until = from.Add(whole)
	if !t.Steady {
		n.Until = later(n.Until, t.Now.Add(whole))
	}
	n.Left = n.Until.Sub(t.Now)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sees reports whether no decision of the node that begins from now on is as before a
// revision.
func (n *Registered) sees(r Revision) bool { return n.Position >= r || n.Fenced() }

// Lags reports whether a node has missed renewals, by the store's clock.
func (n *Registered) Lags() bool {
	ago := n.Until.Sub(n.Renewed) - n.Left
	return ago > lagRenewals*renewEvery(n.MaxStale)
}

// propagated is how far a revision has got over nodes that were read after it was
// committed.
func propagated(nodes []Registered, r Revision) (p Propagation) {
	for i := range nodes {
		n := &nodes[i]
		if n.sees(r) {
			p.Confirmed++
			continue
		}
		p.Pending = append(p.Pending, PendingNode{ID: n.ID, Name: n.Name, AcceptsUntil: n.Until})
	}
	return p
}
