package page

import (
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	// tryEvery and tryBurst are how often one address may try to sign in. Guessing is
	// stopped by the lockout; this bounds the work that trying costs.
	tryEvery = 2 * time.Second
	tryBurst = 30
	// maxAddresses bounds the memory of it; who is forgotten starts afresh.
	maxAddresses = 10_000
)

// throttle bounds attempts per address, an IPv6 one by its /64.
type throttle struct {
	now   func() time.Time
	known *lru.Cache[netip.Prefix, *rate.Limiter]
}

func newThrottle(now func() time.Time) *throttle {
	known, err := lru.New[netip.Prefix, *rate.Limiter](maxAddresses)
	if err != nil {
		panic("page: " + err.Error()) // its only error is a size below 1
	}
	return &throttle{now: now, known: known}
}

// wait is how long the address must wait until it may try again, 0 if it may now.
func (t *throttle) wait(from netip.Addr) time.Duration {
	bits := 32
	if from.Is6() {
		bits = 64
	}
	source, _ := from.Prefix(bits) // the zero prefix stands for all without an address
	limiter, ok := t.known.Get(source)
	if !ok {
		fresh := rate.NewLimiter(rate.Every(tryEvery), tryBurst)
		if limiter, ok, _ = t.known.PeekOrAdd(source, fresh); !ok {
			limiter = fresh
		}
	}
	now := t.now()
	if limiter.AllowN(now, 1) {
		return 0
	}
	return tryEvery
}
