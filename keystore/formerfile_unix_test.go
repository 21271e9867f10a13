//go:build unix

package keystore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// kept waits until there is a snapshot that a client's key would be served from.
func (n *node) kept(id string) {
	require.Eventually(n.t, func() bool {
		enabled, _, err := keystore.EnabledIn(n.file, n.sealer)
		return err == nil && enabled[id]
	}, patience, time.Millisecond)
}

// TestAFormerSnapshotIsNotStartedFromUnderAnyName: a backup by hard links keeps the file
// itself, and so does who moves it.
func TestAFormerSnapshotIsNotStartedFromUnderAnyName(t *testing.T) {
	link := func(n *node, aside string) { require.NoError(n.t, os.Link(n.file, aside)) }
	move := func(n *node, aside string) { require.NoError(n.t, os.Rename(n.file, aside)) }
	again := func(n *node, c *keystore.Cached) *keystore.Cached {
		n.close(c)
		return n.start(n.reach())
	}
	for name, c := range map[string]struct {
		keep func(n *node, aside string)
		then func(n *node, c *keystore.Cached) *keystore.Cached
	}{
		"a link, written anew": {link, func(n *node, c *keystore.Cached) *keystore.Cached {
			c.RewriteSnapshot()
			return c
		}},
		"moved, written anew": {move, func(n *node, c *keystore.Cached) *keystore.Cached {
			c.RewriteSnapshot()
			return c
		}},
		"a link, written anew by the next process": {link, again},
		"moved, written anew at the end":           {move, again},
		"a link, and it can be written no more": {link, func(n *node, c *keystore.Cached) *keystore.Cached {
			require.NoError(n.t, os.MkdirAll(filepath.Join(n.file+".new", "in the way"), 0o700))
			return again(n, c)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, storetest.NewClock())
			node := n.start(n.reach())
			n.seed(node, "a")
			n.kept("a")
			aside := n.file + ".aside"
			c.keep(n, aside)
			node = c.then(n, node)
			require.NoError(t, node.Durable(n.update(node, func(tx keystore.Tx) error { return disable(t.Context(), tx, "a") })))
			n.close(node)

			require.NoError(t, os.Rename(aside, n.file))
			enabled, _, err := keystore.EnabledIn(n.file, n.sealer)
			var refused *keystore.RefusedSnapshotError
			if !errors.As(err, &refused) {
				require.NoError(t, err)
				require.False(t, enabled["a"], "it was confirmed to be revoked")
			}
			node = n.start(n.lost())
			require.False(t, n.serves(node, "a"))
			n.close(node)
		})
	}
}

func TestASnapshotThatIsGoneIsWrittenAnewAtTheEnd(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	c := n.start(n.reach())
	n.seed(c, "a")
	n.kept("a")
	require.NoError(t, os.Remove(n.file))
	n.close(c)
	c = n.start(n.lost())
	require.True(t, n.serves(c, "a"), n.whyRefused())
	n.close(c)
}

// TestWhatIsNoRegularFileIsLeftAsItIs: a node with such a thing where its snapshot should
// be has none, says so, and confirms.
func TestWhatIsNoRegularFileIsLeftAsItIs(t *testing.T) {
	for name, place := range map[string]func(path string) error{
		"a directory":              func(path string) error { return os.Mkdir(path, 0o700) },
		"a directory that is used": func(path string) error { return os.MkdirAll(filepath.Join(path, "used"), 0o700) },
		"a pipe":                   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a link":                   func(path string) error { return os.Symlink(path+".elsewhere", path) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, storetest.NewClock())
			c := n.start(n.reach())
			n.seed(c, "a")
			n.close(c)
			require.NoError(t, os.Rename(n.file, n.file+".elsewhere"))
			require.NoError(t, place(n.file))
			before, err := os.Lstat(n.file)
			require.NoError(t, err)
			head := make(chan error, 1)
			go func() {
				_, err := keystore.ReadSnapshotHead(n.file, n.sealer)
				head <- err
			}()
			select {
			case err := <-head:
				require.ErrorIs(t, err, keystore.ErrNotRegular)
			case <-time.After(patience):
				require.FailNow(t, "it is waited for")
			}

			c = n.start(n.reach())
			require.Contains(t, n.whyRefused(), "no regular file")
			rev := n.update(c, func(tx keystore.Tx) error { return disable(t.Context(), tx, "a") })
			durable := make(chan error, 1)
			go func() { durable <- c.Durable(rev) }()
			select {
			case err := <-durable:
				require.NoError(t, err, "there is nothing to start from")
			case <-time.After(patience):
				require.FailNow(t, "it is not confirmed")
			}
			n.close(c)
			after, err := os.Lstat(n.file)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
			_, err = os.Lstat(n.file + ".new")
			require.ErrorIs(t, err, fs.ErrNotExist)
		})
	}
}
