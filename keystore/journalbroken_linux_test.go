package keystore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// redirect makes the open file of a path in this process another one, once there is one:
// what is written to it from now on meets what that meets.
func redirect(t *testing.T, path string, to uintptr) {
	t.Helper()
	require.Eventually(t, func() bool {
		const open = "/proc/self/fd"
		entries, err := os.ReadDir(open)
		require.NoError(t, err)
		for _, e := range entries {
			if where, err := os.Readlink(filepath.Join(open, e.Name())); err != nil || where != path {
				continue
			}
			fd, err := strconv.Atoi(e.Name())
			require.NoError(t, err)
			require.NoError(t, syscall.Dup3(int(to), fd, syscall.O_CLOEXEC))
			return true
		}
		return false
	}, patience, time.Millisecond, "no such open file: %s", path)
}

func redirectTo(t *testing.T, path, device string) {
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	redirect(t, path, f.Fd())
}

// brokenDisks are devices that stand for one that cannot be written any more.
var brokenDisks = map[string]string{
	"full":                "/dev/full",
	"cannot be made sure": "/dev/null", // takes all, and cannot be synced
}

func TestAJournalThatCannotBeWrittenIsRemovedBeforeMoreIsConfirmed(t *testing.T) {
	for name, device := range brokenDisks {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, storetest.NewClock())
			c := n.start(n.reach())
			n.seed(c, "a")
			redirectTo(t, n.file, device)
			rev := n.update(c, func(tx keystore.Tx) error { return disable(t.Context(), tx, "a") })
			require.NoError(t, c.Durable(rev), "there is nothing to start from any more")
			_, err := keystore.LoadSnapshot(n.file, n.sealer)
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.EqualValues(t, 1, c.SnapshotCounts().Errors)
			require.Eventually(t, func() bool { return n.log.FilterMessageSnippet("can be written and none is left").Len() == 1 }, patience, time.Millisecond)
			n.close(c)
			c = n.start(n.lost())
			require.False(t, n.serves(c, "a"))
			n.close(c)
		})
	}
}

func TestAJournalThatCanNeitherBeWrittenNorRemovedConfirmsNothing(t *testing.T) {
	for name, device := range brokenDisks {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, storetest.NewClock())
			c := n.start(n.reach())
			n.seed(c, "a")
			seen := c.Position()
			redirectTo(t, n.file, device)
			aside := n.file + ".aside"
			require.NoError(t, os.Rename(n.file, aside))
			require.NoError(t, os.MkdirAll(filepath.Join(n.file, "in the way"), 0o700))
			rev := n.update(c, func(tx keystore.Tx) error { return disable(t.Context(), tx, "a") })
			require.ErrorContains(t, c.Durable(rev), "neither written nor removed")
			require.Eventually(t, func() bool { return n.log.FilterMessageSnippet("can be neither written nor removed").Len() == 1 }, patience, time.Millisecond)
			n.close(c)
			_, position, err := keystore.EnabledIn(aside, n.sealer)
			require.NoError(t, err)
			require.Equal(t, seen, position, "the file that stays does not show the write")
		})
	}
}

// TestAJournalThatADiskHoldsUpIsWrittenAnew: what waits is bounded, and nothing of it is
// lost to who waits for it.
func TestAJournalThatADiskHoldsUpIsWrittenAnew(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	c := n.start(n.reach())
	defer n.close(c)
	n.seed(c, "a", "b")
	safe := n.update(c, func(tx keystore.Tx) error { return disable(t.Context(), tx, "a") })
	require.NoError(t, c.Durable(safe))
	r, w, err := os.Pipe() // that nobody reads: writing to it hangs
	require.NoError(t, err)
	redirect(t, n.file, w.Fd())
	require.NoError(t, w.Close())
	for i := 0; n.log.FilterMessageSnippet("cannot keep up").Len() == 0; i++ {
		require.Less(t, i, 200, "what waits is not bounded")
		c.FillJournal(1 << 20)
	}
	rev := n.update(c, func(tx keystore.Tx) error { return disable(t.Context(), tx, "b") })
	durable := make(chan error, 1)
	go func() { durable <- c.Durable(rev) }()
	select {
	case err := <-durable:
		require.Fail(t, "it is durable nowhere", fmt.Sprint(err))
	case <-time.After(100 * time.Millisecond):
	}
	enabled, _, err := keystore.EnabledIn(n.file, n.sealer)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"b": true}, enabled, "what was confirmed is still in it")
	require.NoError(t, r.Close())
	require.NoError(t, <-durable)
	enabled, position, err := keystore.EnabledIn(n.file, n.sealer)
	if !errors.Is(err, fs.ErrNotExist) { // else there is nothing to start from
		require.NoError(t, err)
		require.GreaterOrEqual(t, position, rev)
	}
	require.False(t, enabled["b"])
}
