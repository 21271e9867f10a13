//go:build !unix

package pgtest

import (
	"errors"
	"os"
	"syscall"
)

type account struct{}

func serverAccount() (account, error) {
	return account{}, errors.New("servers for tests are only started on Unix")
}

func (account) process() *syscall.SysProcAttr { return nil }

func (account) own(string) error { return nil }

var (
	fast      os.Signal = os.Interrupt
	immediate os.Signal = os.Kill
	kill      os.Signal = os.Kill
	hold      os.Signal = os.Kill
)
