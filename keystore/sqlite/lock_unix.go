//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package sqlite

import (
	"os"
	"syscall"
)

// tryLock takes the lock of an open file, which ends with it: also when the
// process dies. False if another holds it.
func tryLock(path string) (*os.File, bool, error) { return flock(path, syscall.LOCK_EX) }

// tryShare takes it together with others who do. False if one holds it alone.
func tryShare(path string) (*os.File, bool, error) { return flock(path, syscall.LOCK_SH) }

func flock(path string, how int) (*os.File, bool, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err != syscall.EINTR {
			break
		}
	}
	if err == nil {
		return f, true, nil
	}
	f.Close()
	if err == syscall.EWOULDBLOCK {
		return nil, false, nil
	}
	return nil, false, &os.PathError{Op: "flock", Path: path, Err: err}
}
