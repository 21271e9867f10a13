//go:build unix

package bench

import (
	"syscall"
	"time"
)

// cpuTime is how long this process has been computing, which unlike the time of
// day does not pass while others have the processor.
func cpuTime() (time.Duration, bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
