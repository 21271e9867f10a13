package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// inPlace changes a file and not which file it is.
func inPlace(t testing.TB, path string, content []byte) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	require.NoError(t, err)
	_, err = f.Write(content)
	require.NoError(t, errors.Join(err, f.Close()))
}

func TestAJournalTornAnywhereShowsAllThatWasDurable(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	c := n.start(n.reach())
	n.seed(c, "a", "b")
	var revisions []keystore.Revision
	var sizes []int64
	n.present()
	note := func(rev keystore.Revision) {
		require.NoError(t, c.Durable(rev))
		info, err := os.Stat(n.file)
		require.NoError(t, err)
		revisions, sizes = append(revisions, rev), append(sizes, info.Size())
	}
	note(c.Position())
	for _, id := range []string{"a", "b"} {
		note(n.update(c, func(tx keystore.Tx) error { return disable(t.Context(), tx, id) }))
	}
	n.close(c)
	text, err := os.ReadFile(n.file)
	require.NoError(t, err)
	for size := sizes[0]; size <= int64(len(text)); size++ {
		durable := revisions[0]
		for i := range sizes {
			if sizes[i] <= size {
				durable = revisions[i]
			}
		}
		inPlace(t, n.file, text[:size])
		rev, err := keystore.LoadSnapshot(n.file, n.sealer)
		require.NoError(t, err, "%d of %d bytes", size, len(text))
		require.GreaterOrEqual(t, rev, durable, "%d of %d bytes", size, len(text))
	}
	// Some file systems leave zeros where text should have been.
	inPlace(t, n.file, append(bytes.Clone(text[:sizes[1]]), make([]byte, 5000)...))
	rev, err := keystore.LoadSnapshot(n.file, n.sealer)
	require.NoError(t, err)
	require.Equal(t, revisions[1], rev)
}

func TestASnapshotThatIsNotWholeOrNotAsWrittenIsRefused(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	c := n.start(n.reach())
	n.seed(c, "a")
	require.NoError(t, c.Durable(n.update(c, func(tx keystore.Tx) error { return disable(t.Context(), tx, "a") })))
	n.close(c)
	text, err := os.ReadFile(n.file)
	require.NoError(t, err)
	var refused *keystore.RefusedSnapshotError
	for i := range text {
		changed := bytes.Clone(text)
		changed[i] ^= 1 << (i % 8)
		inPlace(t, n.file, changed)
		_, err := keystore.LoadSnapshot(n.file, n.sealer)
		require.ErrorAs(t, err, &refused, "byte %d of %d", i, len(text))
	}
	for _, size := range []int{0, 1, 40, 100, 500} {
		inPlace(t, n.file, text[:size])
		_, err := keystore.LoadSnapshot(n.file, n.sealer)
		require.ErrorAs(t, err, &refused, "%d bytes", size)
	}
	inPlace(t, n.file, text)
	require.NoError(t, os.Chmod(n.file, 0o640))
	_, err = keystore.LoadSnapshot(n.file, n.sealer)
	require.ErrorContains(t, err, "open to others")
}

func TestAForeignSnapshotIsRefused(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	c := n.start(n.reach())
	n.seed(c, "a")
	n.close(c)
	head, err := keystore.ReadSnapshotHead(n.file, n.sealer)
	require.NoError(t, err)
	require.Equal(t, c.NodeID(), head.NodeID)
	text, err := os.ReadFile(n.file)
	require.NoError(t, err)
	start := func(s keystore.Store) string {
		c := n.start(s)
		defer n.close(c)
		require.False(t, n.serves(c, "a"))
		require.NotEqual(t, head.NodeID, c.NodeID(), "who does not know what a node confirmed is not that node")
		return n.whyRefused()
	}
	require.Contains(t, start(n.lostAt("another store")), "another store")

	own := n.sealer
	n.sealer = ring(t, credential.NewMasterKey())
	require.Contains(t, start(n.lost()), "not held")
	n.sealer = ring(t, credential.NewMasterKey(), n.master)
	_, err = keystore.LoadSnapshot(n.file, n.sealer)
	require.NoError(t, err, "an older master key is still read")
	n.sealer = own

	if runtime.GOOS != "windows" {
		require.NoError(t, os.Rename(n.file, n.file+".moved"))
		require.NoError(t, os.WriteFile(n.file, text, 0o600))
		require.Contains(t, start(n.lost()), "copied")
	}
	// Another database behind the same name: the store wins, and the snapshot is dropped.
	other := newNode(t, n.clock)
	other.db, other.sealer = n.db, n.sealer
	require.NoError(t, os.Remove(n.db))
	if runtime.GOOS != "windows" {
		require.NoError(t, os.Remove(n.file))
		require.NoError(t, os.Rename(n.file+".moved", n.file))
	}
	c = n.start(n.reach())
	defer n.close(c)
	require.Contains(t, n.whyRefused(), "another store")
	_, err = n.look(c, "a")
	require.ErrorIs(t, err, keystore.ErrNotFound)
}

func TestASnapshotIsServedFromNoLongerThanMaxStale(t *testing.T) {
	for name, turn := range map[string]func(*storetest.Clock){
		"in one boot":               func(c *storetest.Clock) { c.Advance(maxStale + time.Second) },
		"by the time of day":        func(c *storetest.Clock) { c.StepWall(maxStale + time.Second) },
		"with the time of day back": func(c *storetest.Clock) { c.Advance(maxStale + time.Second); c.StepWall(-maxStale) },
		"over a boot":               func(c *storetest.Clock) { c.NewBoot(); c.StepWall(maxStale + time.Second) },
		"with a long boot":          func(c *storetest.Clock) { c.NewBoot(); c.Advance(maxStale); c.StepWall(-maxStale) },
		"over a boot, clock back":   func(c *storetest.Clock) { c.NewBoot(); c.StepWall(-time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			clock := storetest.NewClock()
			n := newNode(t, clock)
			c := n.start(n.reach())
			n.seed(c, "a")
			n.close(c)
			turn(clock)
			c = n.start(n.lost())
			defer n.close(c)
			require.NotEmpty(t, n.whyRefused())
			require.False(t, n.serves(c, "a"))
			require.False(t, c.Fresh(clock.Now(), 100*maxStale), "whatever max_stale becomes")
		})
	}
}

// deaf is a store that still takes writes but does not say any more what was written.
type deaf struct {
	keystore.Store
	off atomic.Bool
}

func (d *deaf) Head(ctx context.Context) (keystore.Revision, error) {
	if d.off.Load() {
		return 0, keystore.ErrUnavailable
	}
	return d.Store.Head(ctx)
}

func TestAfterAWriteThatANodeCouldNotSeeNothingIsServedFromItsSnapshot(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	d := &deaf{Store: n.reach()}
	c := n.start(d)
	n.seed(c, "a", "b")
	d.off.Store(true)
	_, err := c.Update(t.Context(), func(tx keystore.Tx) error { return disable(t.Context(), tx, "a") })
	require.ErrorIs(t, err, keystore.ErrUnseen)
	require.False(t, n.serves(c, "b"), "which of them it was about is not known")
	n.close(c)

	c = n.start(n.lost())
	require.Contains(t, n.whyRefused(), "could not see")
	require.False(t, n.serves(c, "a"))
	require.False(t, n.serves(c, "b"))
	n.close(c)
	c = n.start(n.lost())
	require.Contains(t, n.whyRefused(), "could not see", "nor by a further start")
	n.close(c)

	c = n.start(n.reach())
	defer n.close(c)
	require.False(t, n.serves(c, "a"))
	require.True(t, n.serves(c, "b"))
}
