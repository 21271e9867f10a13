package keystore

import (
	"crypto/rand"
	"strings"
	"time"
)

// processBootPrefix marks a boot that is only this process.
const processBootPrefix = "process-"

// processBoot stands in where the system names no boot: this process is one.
func processBoot() (string, time.Duration) { return processBootPrefix + rand.Text(), 0 }

// ProcessBoot reports whether a boot's name stands in for one that the system
// does not name.
func ProcessBoot(boot string) bool { return strings.HasPrefix(boot, processBootPrefix) }
