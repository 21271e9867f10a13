package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrNotRegular is why something is not taken for a snapshot: opening a pipe would wait for somebody to write, a device might act, and
// a link leads to a file that goes on to be there once the link was replaced.
var ErrNotRegular = errors.New("it is no regular file")

// regular is what a path names; ErrNotRegular for a directory, a link or a pipe. They
// belong to somebody else: none is opened, removed or replaced.
func regular(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotRegular
	}
	return info, err
}

// openSnapshot opens a snapshot with some of the flags of os.OpenFile. fs.ErrNotExist if
// there is none; a RefusedSnapshotError for what cannot be one.
func openSnapshot(path string, flags int) (*os.File, error) {
	if _, err := regular(path); errors.Is(err, ErrNotRegular) {
		return nil, &RefusedSnapshotError{path, err}
	} else if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return f, nil
}

// formerFile is a snapshot that nothing more is written to. It shows all that was
// confirmed so far, so it may be started from; before more is confirmed it must not be,
// whatever it is called by then: it may have been moved, and backups make hard links. A
// file that is empty is refused under each of its names. (A record that says so would need
// room on a full disk, and a nonce that only who began the file can tell to be unused.)
type formerFile struct {
	f    *os.File
	info fs.FileInfo // as it was when it was known to be this file
}

// at reports whether a path leads to it. nil is nowhere.
func (f *formerFile) at(path string) bool {
	if f == nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(there, f.info)
}

// empty makes every start from it be refused, durably.
func (f *formerFile) empty() error {
	if f == nil {
		return nil
	}
	if err := f.f.Truncate(0); err != nil {
		return err
	}
	return f.f.Sync()
}

func (f *formerFile) close() {
	if f != nil {
		_ = f.f.Close() // what had to be there was synced
	}
}
