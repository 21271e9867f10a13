package policy

import (
	"slices"
	"time"
)

// Mode is how failures are counted.
type Mode uint8

const (
	// Strict counts per client: three failures from anywhere lock it.
	Strict Mode = iota
	// Guard counts per client and source network first, so that a stranger's
	// guesses lock the stranger out and not the client.
	Guard
)

// maxClockStep bounds how far a wall clock may have been set between two boots:
// of the time it shows to have passed, this much is not believed.
const maxClockStep = time.Hour

// trustFor is how long a source's last success exempts it from a lock of the
// whole client in guard mode.
const trustFor = 7 * 24 * time.Hour

// Instant is one reading of both clocks. Since never steps but means nothing in
// another boot; Wall survives a boot but may be set.
type Instant struct {
	// Wall is the time of day, UTC.
	Wall time.Time
	// Boot names the boot that Since belongs to.
	Boot string
	// Since is the time since that boot.
	Since time.Duration
}

// Elapsed is the time from `from` to i: exact within one boot, by wall clock
// otherwise, and never negative.
func (i Instant) Elapsed(from Instant) time.Duration {
	if i.Boot == from.Boot {
		return max(0, i.Since-from.Since)
	}
	return max(0, i.Wall.Sub(from.Wall))
}

// After reports whether i is later than that: exact within one boot, by wall clock
// otherwise.
func (i Instant) After(that Instant) bool {
	if i.Boot == that.Boot {
		return i.Since > that.Since
	}
	return i.Wall.After(that.Wall)
}

// later is the later of two instants: a failure may be counted after one that
// came behind it.
func later(a, b Instant) Instant {
	if a.After(b) {
		return a
	}
	return b
}

// Lockout is the lockout policy. The zero value is not useful; see DefaultLockout.
type Lockout struct {
	// Mode is strict or guard.
	Mode Mode
	// Attempts is how many counted failures lock. At least 1.
	Attempts int
	// Duration is how long a lock lasts.
	Duration time.Duration
	// ResetAfter without a failure clears the count.
	ResetAfter time.Duration
	// Ceiling (guard) is how many failures over all sources lock the whole client.
	// The level falls steadily, from Ceiling to nothing within ResetAfter.
	Ceiling int
}

// DefaultLockout is three failures, thirty minutes.
func DefaultLockout() Lockout {
	return Lockout{Mode: Strict, Attempts: 3, Duration: 30 * time.Minute, ResetAfter: 30 * time.Minute, Ceiling: 100}
}

// Tally is the failure count of one client, or of one client from one source.
type Tally struct {
	// Failures is the count. It is whole except for guard's level over all
	// sources, which decays.
	Failures float64
	// Last is when the latest failure counted.
	Last Instant
	// LockedAt is when the lock began; meaningful only while LockedFor > 0.
	LockedAt Instant
	// LockedFor is the lock's length, 0 if there is none.
	LockedFor time.Duration
	// Seen holds fingerprints of the wrong secrets counted from this source
	// (guard), so that a misconfigured client repeating one counts once.
	Seen []uint64
	// TrustedAt is the wall time of the latest success from this source (guard).
	TrustedAt time.Time
}

// Empty reports that t records nothing worth keeping at now.
func (t Tally) Empty(l Lockout, now Instant) bool {
	return t.Remaining(now) == 0 && t.current(l, now).Failures == 0 && !t.Trusted(now)
}

// Remaining is how much longer the lock lasts; 0 is unlocked. Of a lock from an
// earlier boot only the time that must have passed, however the wall clock was
// set in between, counts as served (see Rebase).
func (t Tally) Remaining(now Instant) time.Duration {
	if t.LockedFor == 0 {
		return 0
	}
	served := now.Since - t.LockedAt.Since
	if t.LockedAt.Boot != now.Boot {
		served = now.Wall.Sub(t.LockedAt.Wall) - maxClockStep
	}
	return max(0, t.LockedFor-max(0, served))
}

// Rebase carries a lock into the boot of now. What passed between two boots
// cannot be known better than the wall clock tells, and that may have been set,
// so the lock starts over, less what must have passed: never shorter, at most
// one duration longer. The wall time it began at is kept, so that further boots
// do not extend it for ever.
func (t Tally) Rebase(now Instant) (Tally, bool) {
	if t.LockedFor == 0 || t.LockedAt.Boot == now.Boot {
		return t, false
	}
	remaining := t.Remaining(now)
	if remaining == 0 {
		t.LockedFor, t.Failures, t.Seen = 0, 0, nil
		return t, true
	}
	// Negative when the lock began before this boot did.
	t.LockedAt.Since = now.Since - (t.LockedFor - remaining)
	t.LockedAt.Boot = now.Boot
	return t, true
}

// Trusted reports a success from this source recent enough to exempt it from a
// lock of the whole client.
func (t Tally) Trusted(now Instant) bool {
	return !t.TrustedAt.IsZero() && now.Wall.Sub(t.TrustedAt) < trustFor
}

// current is t with an ended lock and an outdated count dropped.
func (t Tally) current(l Lockout, now Instant) Tally {
	if t.LockedFor > 0 && t.Remaining(now) == 0 {
		t.LockedFor, t.Failures, t.Seen = 0, 0, nil
	}
	if t.Failures > 0 && now.Elapsed(t.Last) >= l.ResetAfter {
		t.Failures, t.Seen = 0, nil
	}
	return t
}

// Lock locks t from `at` on, unless it is locked then.
func (l Lockout) Lock(t Tally, at Instant) (Tally, bool) {
	if t.Remaining(at) > 0 {
		return t, false
	}
	t.LockedAt, t.LockedFor = at, l.Duration
	return t, true
}

// Outcome is what one failed proof did.
type Outcome struct {
	// Counted is false while locked and, in guard mode, for a repeated secret.
	Counted bool
	// Locked is true when this failure began a lock of the client.
	Locked bool
	// SourceLocked is true when this failure began a lock of one source (guard).
	SourceLocked bool
}

// Locked is how much longer a caller is locked out; 0 is not at all. In strict
// mode source is ignored.
func (l Lockout) Locked(whole, source Tally, now Instant) time.Duration {
	remaining := whole.Remaining(now)
	if l.Mode == Strict {
		return remaining
	}
	if remaining > 0 && source.Trusted(now) {
		remaining = 0
	}
	return max(remaining, source.Remaining(now))
}

// Fail counts one wrong secret. fingerprint identifies the wrong secret without
// revealing it (guard only).
func (l Lockout) Fail(whole, source Tally, now Instant, fingerprint uint64) (Tally, Tally, Outcome) {
	if l.Locked(whole, source, now) > 0 {
		return whole, source, Outcome{}
	}
	if l.Mode == Strict {
		whole = whole.current(l, now)
		whole.Failures++
		whole.Last = later(whole.Last, now)
		out := Outcome{Counted: true, Locked: int(whole.Failures) >= l.Attempts}
		if out.Locked {
			whole.LockedAt, whole.LockedFor = now, l.Duration
		}
		return whole, source, out
	}
	return l.failGuard(whole, source, now, fingerprint)
}

func (l Lockout) failGuard(whole, source Tally, now Instant, fingerprint uint64) (Tally, Tally, Outcome) {
	source = source.current(l, now)
	if slices.Contains(source.Seen, fingerprint) {
		return whole, source, Outcome{}
	}
	out := Outcome{Counted: true}
	source.Seen = append(slices.Clone(source.Seen), fingerprint)
	source.Failures++
	source.Last = later(source.Last, now)
	if int(source.Failures) >= l.Attempts {
		source.LockedAt, source.LockedFor, out.SourceLocked = now, l.Duration, true
	}
	wholeLocked := whole.Remaining(now) > 0 // only a trusted source gets here then
	whole.Failures = l.level(whole, now) + 1
	whole.Last = later(whole.Last, now)
	if !wholeLocked {
		whole.LockedFor = 0
		if whole.Failures >= float64(l.Ceiling) {
			whole.LockedAt, whole.LockedFor, out.Locked = now, l.Duration, true
		}
	}
	return whole, source, out
}

// level is guard's count over all sources, fallen by the time since the last one.
func (l Lockout) level(whole Tally, now Instant) float64 {
	if l.ResetAfter <= 0 {
		return 0
	}
	fallen := float64(l.Ceiling) * float64(now.Elapsed(whole.Last)) / float64(l.ResetAfter)
	return max(0, whole.Failures-fallen)
}

// Count is how many of the whole client's failures still count at now, for
// showing: in guard mode the level over all sources, rounded down.
func (l Lockout) Count(whole Tally, now Instant) int {
	if l.Mode == Guard && whole.Remaining(now) == 0 {
		return int(l.level(whole, now))
	}
	return int(whole.current(l, now).Failures)
}

// Succeed clears the count after a right secret. It reports false, changing
// nothing, when the caller is locked by now: the success came too late. In guard
// mode it clears the source's count and marks the source as trusted; the level
// over all sources only falls with time.
func (l Lockout) Succeed(whole, source Tally, now Instant) (Tally, Tally, bool) {
	if l.Locked(whole, source, now) > 0 {
		return whole, source, false
	}
	if l.Mode == Strict {
		if later(whole.Last, now) != now {
			return whole, source, true // told late: what failed since is not its to clear
		}
		return Tally{}, source, true
	}
	return whole, Tally{TrustedAt: now.Wall}, true
}
