package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// Who has the file open is told by a lock on another one beside it, which every
// store that decides on requests shares for as long as it is open. It ends with
// the process, however that ends. The file stays, as the one of lockFile does.

func usersFile(path string) string { return path + ".users" }

// join makes this store one of those that have the file open.
func (s *Store) join(ctx context.Context) error {
	for {
		f, locked, err := tryShare(usersFile(s.path))
		if err != nil {
			return err
		}
		if locked {
			s.users = f
			return nil
		}
		select { // a visitor asks this moment
		case <-ctx.Done():
			return fmt.Errorf("another process holds %s: %w", usersFile(s.path), ctx.Err())
		case <-time.After(lockRetry):
		}
	}
}

// InUse reports whether a process that decides on requests has the file open.
// Whoever opens it later reads what was written before. To be asked of a visitor,
// which is not one of them.
func (s *Store) InUse() (bool, error) {
	f, locked, err := tryLock(usersFile(s.path))
	if err != nil {
		return false, fmt.Errorf("who has the key store open: %w", err)
	}
	if !locked {
		return true, nil
	}
	return false, f.Close()
}

// Hold keeps out those that would decide on requests by the file, who wait until
// release; keystore.ErrInUse where there is one. For a visitor, which is not one.
func (s *Store) Hold() (release func() error, err error) {
	f, locked, err := tryLock(usersFile(s.path))
	switch {
	case err != nil:
		return nil, fmt.Errorf("who has the key store open: %w", err)
	case !locked:
		return nil, fmt.Errorf("a server has it open; stop it first: %w", keystore.ErrInUse)
	}
	return f.Close, nil
}

// leave gives up what join took.
func (s *Store) leave() error {
	if s.users == nil {
		return nil
	}
	return s.users.Close()
}
