//go:build !linux

package keystore

import "time"

func readBoot() (string, time.Duration) { return processBoot() }
