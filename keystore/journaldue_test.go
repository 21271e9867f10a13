package keystore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// idleJournal is one with a file, of which no worker takes care.
func idleJournal(t *testing.T, maxStale time.Duration) *journal {
	j := newJournal(&Cached{logger: zap.NewNop()}, SnapshotOptions{Path: filepath.Join(t.TempDir(), "snapshot"), MaxStale: maxStale})
	f, err := os.Create(j.o.Path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	info, err := f.Stat()
	require.NoError(t, err)
	j.started, j.file, j.rewritten = true, &sealedWriter{f: f, info: info}, time.Now()
	return j
}

func TestASnapshotIsWrittenAnewWhenThatIsWorthIt(t *testing.T) {
	const big = 100 << 20
	for name, c := range map[string]struct {
		full, journal int64
		after         time.Duration
		clean, left   bool
		want          bool
	}{
		"nothing but heartbeats":             {full: 1000, journal: 1000, after: 2 * rewriteAtMost, clean: true},
		"a small one, at once":               {full: 1000, journal: 1000, after: rewriteEvery - time.Second},
		"a small one, later":                 {full: 1000, journal: 1, after: rewriteEvery + time.Second, want: true},
		"a small one with a long journal":    {full: 1000, journal: smallSnapshot + 1, want: true},
		"a big one with a short journal":     {full: big, journal: big / 17, after: rewriteAtMost - time.Second},
		"a big one with some of a journal":   {full: big, journal: big/16 + 1, after: rewriteEvery + time.Second, want: true},
		"that much of it, at once":           {full: big, journal: big, after: rewriteEvery - time.Second},
		"a journal that is longer than that": {full: big, journal: big + 1, want: true},
		"a big one after long":               {full: big, journal: 1, after: rewriteAtMost + time.Second, want: true},
		"keys were left out, at once":        {full: big, journal: 1, after: rewriteEvery - time.Second, left: true},
		"keys were left out":                 {full: big, journal: 1, after: rewriteEvery + time.Second, left: true, clean: true, want: true},
	} {
		j := idleJournal(t, time.Minute)
		j.full, j.file.size, j.dirty, j.left = c.full, c.full+c.journal, !c.clean, c.left
		require.Equal(t, c.want, j.due(j.rewritten.Add(c.after)), name)
	}
	j := idleJournal(t, time.Minute)
	j.asked.Store(true)
	require.True(t, j.due(j.rewritten), "it was asked for")
	j.retry = j.rewritten.Add(time.Second)
	require.False(t, j.due(j.rewritten), "not before it is to be tried again")
	j.started = false
	require.False(t, j.due(j.rewritten.Add(time.Hour)), "there is nothing to keep yet")
}

func TestKeysWithoutRoomAreLeftForTheNextSnapshot(t *testing.T) {
	j := idleJournal(t, time.Minute)
	for range maxQueuedKeys {
		j.keyRead(&cachedKey{})
	}
	require.False(t, j.left)
	j.keyRead(&cachedKey{})
	require.True(t, j.left)
	require.Len(t, j.keys, maxQueuedKeys)
}

// TestAFileThatCannotBeRemovedBindsUntilNobodyStartsFromIt: what is in it is older by then
// than any start takes, by max_stale or by the lease that others were told of.
func TestAFileThatCannotBeRemovedBindsUntilNobodyStartsFromIt(t *testing.T) {
	const maxStale, lease = 5 * time.Minute, 6 * time.Minute
	j := idleJournal(t, maxStale)
	require.NoError(t, os.Rename(j.o.Path, j.o.Path+".moved"))
	require.NoError(t, j.file.f.Close()) // no more can be done to it
	j.state, j.position, j.safe = &syncState{tenure: tenure{lease: lease}}, 8, 7
	before := time.Now()
	j.broken(errors.New("no space left"))
	require.NoError(t, j.durable(7), "that is in the file")
	require.ErrorIs(t, j.durable(8), errJournal)
	j.broken(errors.New("nor now"))
	j.due(before.Add(lease + time.Minute - time.Second))
	require.ErrorIs(t, j.durable(8), errJournal)
	j.due(time.Now().Add(lease + time.Minute + time.Second))
	require.NoError(t, j.durable(8))
}

func TestASnapshotThatWasMovedIsWrittenAnew(t *testing.T) {
	j := idleJournal(t, time.Minute)
	later := j.rewritten.Add(retryFileEvery)
	require.False(t, j.due(later))
	require.NoError(t, os.Rename(j.o.Path, j.o.Path+".moved"))
	require.True(t, j.due(later))
	require.False(t, j.due(later.Add(-time.Second)), "not more often than that")
	require.NoError(t, os.WriteFile(j.o.Path, nil, 0o600))
	require.True(t, j.due(later), "another file is there")
	require.NoError(t, os.Rename(j.o.Path+".moved", j.o.Path))
	require.False(t, j.due(later))
}
