package keystore

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// A node keeps what it knows in a file, so that it can be started again while the store
// is out of reach: the snapshot, and behind it, in the same file, a journal of what came
// since. What is not in the journal durably is not confirmed (see journal.durable), so
// no start from the file serves what this node told others it refuses.

// SnapshotOptions say where a node keeps its snapshot, and what it is bound to.
type SnapshotOptions struct {
	// Path is the file's. Missing directories are made, mode 0700. Beside it there is a
	// lock, and for a while the file that is to replace it.
	Path string
	// Sealer seals it. It must hold the master keys that older files are sealed under.
	Sealer SnapshotSealer
	// MaxStale is how old a snapshot may be that is served from, in time since the store
	// was followed.
	MaxStale time.Duration
}

// SnapshotHead is what a snapshot says of itself.
type SnapshotHead struct {
	// NodeID is the node's that wrote it, and is it again once it is started from it: so
	// what it confirmed binds whoever reads the file.
	NodeID string
	// StoreID is the store's own name, and Identity where the store is.
	StoreID, Identity string
	// MasterKeyIDs are those that verifiers and signing keys in it depend on, as of its
	// writing.
	MasterKeyIDs []string
	// Machine and Inode tell a copy from the file that was written.
	Machine string
	Inode   uint64
	Written time.Time
}

// RefusedSnapshotError is why a snapshot was not used. Nothing of it was.
type RefusedSnapshotError struct {
	Path   string
	Reason error
}

func (e *RefusedSnapshotError) Error() string {
	return fmt.Sprintf("snapshot %s is refused: %v", e.Path, e.Reason)
}

func (e *RefusedSnapshotError) Unwrap() error { return e.Reason }

// Why a snapshot that is whole is refused.
var (
	errForeignStore   = errors.New("it is of another store")
	errForeignMachine = errors.New("it was copied: it is of another machine, or not the file that was written")
	errUnfinished     = errors.New("it was not written to its end")
	errClockBack      = errors.New("the clock was set back behind it, so how old it is cannot be known")
	errUnseenWrite    = errors.New("it ends with a write that this node could not see")
	errTooOld         = errors.New("it is older than max_stale")
	errInUse          = errors.New("another process keeps its snapshot there")
)

// ReadSnapshotHead reads what a snapshot says of itself, and no more: what else is in it
// may still turn out to be damaged. fs.ErrNotExist if there is none; a
// RefusedSnapshotError for one that this node may not use.
func ReadSnapshotHead(path string, sealer SnapshotSealer) (SnapshotHead, error) {
	f, err := openSnapshot(path, os.O_RDONLY)
	if err != nil {
		return SnapshotHead{}, err
	}
	defer f.Close()
	_, head, err := readHead(f, sealer)
	if err != nil {
		return SnapshotHead{}, &RefusedSnapshotError{path, err}
	}
	return head, nil
}

func readHead(f *os.File, sealer SnapshotSealer) (*sealedReader, SnapshotHead, error) {
	var head SnapshotHead
	info, err := f.Stat()
	if err != nil {
		return nil, head, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, head, fmt.Errorf("it is open to others (mode %04o)", perm)
	}
	r, err := openSealed(bufio.NewReaderSize(f, 64<<10), sealer)
	if err != nil {
		return nil, head, err
	}
	text, err := r.next()
	if err != nil || len(text) == 0 || text[0] != recordHeading {
		return nil, head, errTampered
	}
	if err := json.Unmarshal(text[1:], &head); err != nil {
		return nil, head, errTampered
	}
	if head.Machine != machineID() || head.Inode != inode(info) {
		return nil, head, errForeignMachine
	}
	return r, head, nil
}

// heartbeat is how well the store was followed when it was written into the journal.
type heartbeat struct {
	// Synced is when the last poll that succeeded was sent, and Position where it led.
	Synced   policy.Instant
	Position Revision
	// Leased: the node is one of several. Renewed is when the last renewal that counts was
	// sent, and Lease how long it may serve by that.
	Leased  bool
	Renewed policy.Instant
	Lease   time.Duration
	// Unseen: there is a write that this node could not see.
	Unseen bool
	// Noted is when this was written.
	Noted policy.Instant
}

// age is how old at now what the heartbeat tells of is, at least. Within one boot the time
// since that boot cannot be set. Over a boot only the time of day tells; a machine that
// went back behind the last thing it wrote may have been off for any time, and one that
// did not was off before it has now been up.
func (h *heartbeat) age(of, now policy.Instant) (time.Duration, error) {
	wall := now.Wall.Sub(of.Wall)
	if of.Boot == now.Boot {
		if h.Noted.Boot == now.Boot && now.Since < h.Noted.Since || now.Since < of.Since {
			return 0, errClockBack
		}
		return max(now.Since-of.Since, wall), nil
	}
	if now.Wall.Before(h.Noted.Wall) || wall < 0 {
		return 0, errClockBack
	}
	return max(wall, now.Since), nil
}

// inThisBoot is an instant of the journal as one of this boot, as long ago as it is at
// least. Its time of day stays, so that further starts do not make it younger.
func (h *heartbeat) inThisBoot(of, now policy.Instant) (policy.Instant, error) {
	age, err := h.age(of, now)
	if err != nil || of.Boot == now.Boot {
		return of, err
	}
	return policy.Instant{Wall: of.Wall, Boot: now.Boot, Since: now.Since - age}, nil
}

// createSnapshot makes the file that is to be the next snapshot, empty and readable by
// its owner alone.
func createSnapshot(path string) (*os.File, fs.FileInfo, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, info, nil
}

// removeDurably takes a snapshot away so that it stays away. What is no regular file stays:
// nobody starts from it.
func removeDurably(path string) error {
	_, err := regular(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNotRegular) {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// syncDirectory makes the entries of a directory durable. Windows cannot sync one.
func syncDirectory(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
