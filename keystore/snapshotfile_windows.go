package keystore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// errSharingViolation is ERROR_SHARING_VIOLATION: another handle excludes this one.
const errSharingViolation = syscall.Errno(32)

// inode is not known of a file here.
func inode(fs.FileInfo) uint64 { return 0 }

// lockSnapshot makes this process the one that keeps its snapshot there, until the file
// is closed or the process ends. errInUse if it is another.
func lockSnapshot(path string) (*os.File, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharingViolation) {
		return nil, errInUse
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}
