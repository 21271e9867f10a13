//go:build unix

package cluster

import "syscall"

const (
	suspend = syscall.SIGSTOP
	resume  = syscall.SIGCONT
)
