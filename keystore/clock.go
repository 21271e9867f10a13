package keystore

import (
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// Clock reads the time of day and the time since boot together. Whatever
// decides takes one, so that tests can turn it.
type Clock interface {
	Now() policy.Instant
}

// SystemClock is the machine's clock. Its time since boot is read once and then
// advanced by Go's monotonic clock, so a reading costs one time.Now and never
// steps; two processes of one boot agree.
type SystemClock struct {
	boot    string
	started time.Time
	since   time.Duration
}

// NewSystemClock reads the boot this process runs in. Where the system does not
// tell, each process counts as a boot of its own: locks then start over on a
// restart, never shorter.
func NewSystemClock() *SystemClock {
	boot, since := readBoot()
	return &SystemClock{boot: boot, started: time.Now(), since: since}
}

// Now is the current instant.
func (c *SystemClock) Now() policy.Instant { return c.At(time.Now()) }

// At is the instant of a reading of time.Now, for those who have one already.
func (c *SystemClock) At(now time.Time) policy.Instant {
	// Round takes the monotonic reading away: the two clocks must be two.
	return policy.Instant{Wall: now.Round(0), Boot: c.boot, Since: c.since + now.Sub(c.started)}
}
