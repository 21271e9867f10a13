package keystore

import (
	"crypto/rand"
	"time"
)

// processBoot stands in where the system names no boot: this process is one.
func processBoot() (string, time.Duration) { return "process-" + rand.Text(), 0 }
