package sqlite

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// asNobody runs fn with the file rights of an ordinary user: root may write
// where nobody may, so as root nothing would be refused. The thread is given up.
func asNobody(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if os.Getuid() == 0 {
			_ = syscall.Setfsuid(65534)
		}
		fn()
	}()
	<-done
}

func TestAnUnwritableDirectoryIsRefused(t *testing.T) {
	dir, err := os.MkdirTemp("", "keyreeve") // not within t.TempDir, which others cannot even look into
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.Remove(dir) })
	require.NoError(t, os.Chmod(dir, 0o555))
	var errIn, errBelow error
	asNobody(func() {
		_, errIn = Open(t.Context(), Options{Path: filepath.Join(dir, "keyreeve.db"), Clock: storetest.NewClock()})
		_, errBelow = Open(t.Context(), Options{Path: filepath.Join(dir, "below", "keyreeve.db"), Clock: storetest.NewClock()})
	})
	require.ErrorIs(t, errIn, os.ErrPermission)
	require.ErrorContains(t, errIn, "must be writable")
	require.ErrorIs(t, errBelow, os.ErrPermission)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
