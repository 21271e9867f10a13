// Package storetest is the one conformance suite that every keystore.Store
// passes, and the clock that tests of time-bound rules turn.
package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// Clock is a keystore.Clock that only moves when told to. Safe for concurrent use.
type Clock struct {
	mu    sync.Mutex
	wall  time.Time
	boot  int
	since time.Duration
	// turned is told of each move.
	turned func(policy.Instant)
}

// NewClock is a clock at a fixed instant, an hour into its first boot.
func NewClock() *Clock {
	return &Clock{wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), boot: 1, since: time.Hour}
}

// Now is the instant the clock stands at.
func (c *Clock) Now() policy.Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return policy.Instant{Wall: c.wall, Boot: fmt.Sprintf("boot-%d", c.boot), Since: c.since}
}

// OnTurn has fn called after each move, before the move returns: a database whose clock
// goes with this one hears of it so.
func (c *Clock) OnTurn(fn func(policy.Instant)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turned = fn
}

// turn moves the clock.
func (c *Clock) turn(move func()) {
	c.mu.Lock()
	move()
	turned := c.turned
	c.mu.Unlock()
	if turned != nil {
		turned(c.Now())
	}
}

// Advance lets time pass: both readings move by d.
func (c *Clock) Advance(d time.Duration) {
	c.turn(func() {
		c.wall = c.wall.Add(d)
		c.since += d
	})
}

// StepWall sets the time of day forward or back by d, as an operator or NTP does.
func (c *Clock) StepWall(d time.Duration) {
	c.turn(func() { c.wall = c.wall.Add(d) })
}

// NewBoot restarts the machine: the time since boot starts over under another
// name. The time of day goes on; StepWall adds how long the machine was off.
func (c *Clock) NewBoot() {
	c.turn(func() {
		c.boot++
		c.since = time.Minute
	})
}
