//go:build unix

package pgtest

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is who the server runs as: PostgreSQL refuses to run as root.
type account struct {
	uid, gid int
	other    bool // than who the tests run as
}

func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		return account{uid: uid, gid: gid, other: true}, errors.Join(uidErr, gidErr)
	}
	return account{}, errors.New("the tests run as root, as which PostgreSQL does not, and there is neither a user postgres nor nobody")
}

// process is how a program is started as this account. In a process group of its
// own: what interrupts the tests from a terminal leaves it to the guard.
func (a account) process() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a.other {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// own gives a directory and all in it to the account.
func (a account) own(dir string) error {
	if !a.other {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, a.uid, a.gid))
	})
}

// What a server is told by signals (PostgreSQL, "Shutting Down the Server").
var (
	fast      os.Signal = syscall.SIGINT
	immediate os.Signal = syscall.SIGQUIT
	kill      os.Signal = syscall.SIGKILL
	hold      os.Signal = syscall.SIGSTOP
)
