package sqlite

import (
	"context"
	"fmt"
	"time"
)

// lockRetry is how often a lock that another process holds is tried.
const lockRetry = 5 * time.Millisecond

// lockFile waits until this process alone holds the lock file. The file stays
// when the lock is given up: removing it would let two processes each lock a
// file of that name.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	for {
		f, locked, err := tryLock(path)
		if err != nil {
			return nil, err
		}
		if locked {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("another process is opening it: %w", ctx.Err())
		case <-time.After(lockRetry):
		}
	}
}
