package keystore

import (
	"sync/atomic"
	"unsafe"
)

// stripes is how many places a striped count is spread over: a few for each core
// of a large machine.
const stripes = 64

// Striped is a count that many cores raise at once, each on a cache line of its
// own: neither a lock nor a line that they would take from one another. The
// zero value is 0.
type Striped struct{ stripe [stripes]stripe }

type stripe struct {
	n atomic.Uint64
	_ [56]byte // to a cache line of 64 bytes
}

// Add raises the count by one.
func (s *Striped) Add() { s.stripe[Stripe()%stripes].n.Add(1) }

// Load is the count. It never goes back, and what was added before is in it.
func (s *Striped) Load() (sum uint64) {
	for i := range s.stripe {
		sum += s.stripe[i].n.Load()
	}
	return sum
}

// Stripe is a number that goroutines running at the same time rarely share and
// one goroutine mostly keeps, made of where its stack lies. Of its bits, the low
// ones are as good as any.
func Stripe() uint {
	var here byte
	// Stacks begin at multiples of 2 KiB; the product's high bits depend on all of
	// the address (Knuth's multiplicative hash).
	return uint(uint64(uintptr(unsafe.Pointer(&here))) >> 11 * 0x9e3779b97f4a7c15 >> 58)
}
