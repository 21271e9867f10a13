//go:build !linux

package postgres

import (
	"syscall"
	"time"
)

// setUserTimeout leaves it to the system: libpq knows this option where the system
// does.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
