package caddymodule

import (
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// reasonSlots is room for every reason, a power of two.
	reasonSlots = 32
	// recorderStripes spreads what cores count at once.
	recorderStripes = 16
)

// decisionBuckets are the upper bounds by which decisions are counted by duration.
var decisionBuckets = [...]time.Duration{
	time.Microsecond, 2500, 5 * time.Microsecond,
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second,
}

// Outcomes of a decision.
const (
	outcomeAllow = "allow"
	outcomeDeny  = "deny"
	// outcomeWouldDeny is a denial by a gate that only watches.
	outcomeWouldDeny = "would_deny"
)

func outcomeOf(d policy.Decision, shadow bool) string {
	switch {
	case d.Allow:
		return outcomeAllow
	case shadow:
		return outcomeWouldDeny
	}
	return outcomeDeny
}

// recorder counts decisions by reason and by duration: in place, without a lock,
// an allocation or a line that cores would take from one another. It lives as
// long as the process, so a reload does not set it back.
type recorder struct {
	stripes [recorderStripes]recorderStripe
}

type recorderStripe struct {
	real, shadow [reasonSlots]atomic.Uint64
	buckets      [len(decisionBuckets) + 1]atomic.Uint64 // the last one has no bound
	nanoseconds  atomic.Uint64
	_            [64]byte // to the next stripe's cache lines
}

func (r *recorder) record(reason policy.Reason, shadow bool, took time.Duration) {
	s := &r.stripes[keystore.Stripe()%recorderStripes]
	if shadow {
		s.shadow[reason%reasonSlots].Add(1)
	} else {
		s.real[reason%reasonSlots].Add(1)
	}
	took = max(0, took) // the clock is monotonic, but a test's may not be
	bucket := 0
	for bucket < len(decisionBuckets) && took > decisionBuckets[bucket] {
		bucket++
	}
	s.buckets[bucket].Add(1)
	s.nanoseconds.Add(uint64(took))
}

// decided is the count of a reason; shadow tells gates that only watch.
func (r *recorder) decided(reason policy.Reason, shadow bool) (n uint64) {
	for i := range r.stripes {
		if shadow {
			n += r.stripes[i].shadow[reason%reasonSlots].Load()
		} else {
			n += r.stripes[i].real[reason%reasonSlots].Load()
		}
	}
	return n
}

// durations is the histogram: cumulative counts by upper bound in seconds.
func (r *recorder) durations() (count uint64, seconds float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(decisionBuckets))
	var nanoseconds uint64
	for i := range r.stripes {
		nanoseconds += r.stripes[i].nanoseconds.Load()
	}
	for b := range len(decisionBuckets) + 1 {
		for i := range r.stripes {
			count += r.stripes[i].buckets[b].Load()
		}
		if b < len(decisionBuckets) {
			buckets[decisionBuckets[b].Seconds()] = count
		}
	}
	return count, float64(nanoseconds) / float64(time.Second), buckets
}
