package sqlite

import (
	"errors"
	"os"
	"syscall"
)

// errSharingViolation is ERROR_SHARING_VIOLATION: another handle excludes this one.
const errSharingViolation = syscall.Errno(32)

// tryLock opens a file that nobody else may open meanwhile; that ends with the
// process too. False if another has it open.
func tryLock(path string) (*os.File, bool, error) {
	return openShared(path, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0)
}

// tryShare opens it together with others who do. False if one has it open alone.
func tryShare(path string) (*os.File, bool, error) {
	return openShared(path, syscall.GENERIC_READ, syscall.FILE_SHARE_READ)
}

func openShared(path string, access, share uint32) (*os.File, bool, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, false, err
	}
	h, err := syscall.CreateFile(name, access, share, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharingViolation) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), true, nil
}
