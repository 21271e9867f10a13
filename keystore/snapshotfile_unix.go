//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package keystore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// inode numbers a file within its file system, 0 where there is no number. A copy has
// another; a file that was renamed has not.
func inode(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino)
	}
	return 0
}

// lockSnapshot makes this process the one that keeps its snapshot there, until the file
// is closed or the process ends. errInUse if it is another.
func lockSnapshot(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != syscall.EINTR {
			break
		}
	}
	switch err {
	case nil:
		return f, nil
	case syscall.EWOULDBLOCK:
		return nil, errors.Join(errInUse, f.Close())
	}
	return nil, errors.Join(&os.PathError{Op: "flock", Path: path, Err: err}, f.Close())
}
