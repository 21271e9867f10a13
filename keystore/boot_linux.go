package keystore

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// readBoot names the running boot (random per boot, see random(4)) and tells how
// long it has run, suspended time included.
func readBoot() (string, time.Duration) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return processBoot()
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return processBoot()
	}
	return strings.TrimSpace(string(id)), time.Duration(ts.Nano())
}
