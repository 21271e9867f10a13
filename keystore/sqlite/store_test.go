package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	s := open(t, filepath.Join(t.TempDir(), "keyreeve.db"), storetest.NewClock())
	seed(t, s)
	return s
}

// pragma reads a setting of a pool's connection.
func pragma(t *testing.T, p *pool, name string) string {
	t.Helper()
	c, err := p.get(t.Context())
	require.NoError(t, err)
	defer p.put(c)
	var value string
	require.NoError(t, c.value(t.Context(), &value, "PRAGMA "+name))
	return value
}

func TestConnectionsAreSetUpForDurability(t *testing.T) {
	s := newStore(t)
	require.Equal(t, "wal", pragma(t, s.writes, "journal_mode"))
	require.Equal(t, "2", pragma(t, s.writes, "synchronous"), "FULL")
	require.Equal(t, "1", pragma(t, s.writes, "foreign_keys"))
	require.Equal(t, "5000", pragma(t, s.writes, "busy_timeout"))
	for _, p := range []*pool{s.readers, s.feed} {
		require.Equal(t, "1", pragma(t, p, "query_only"))
		require.Equal(t, "5000", pragma(t, p, "busy_timeout"))
	}
	require.Equal(t, fmt.Sprint(applicationID), pragma(t, s.readers, "application_id"))
}

func TestAFullDiskIsErrFullAndTheStoreGoesOnOnceThereIsRoom(t *testing.T) {
	s := newStore(t)
	pages := pragma(t, s.writes, "page_count")
	pragma(t, s.writes, "max_page_count = "+pages)
	ctx := t.Context()
	before, err := s.Head(ctx)
	require.NoError(t, err)
	big := testKey(1)
	big.Description = strings.Repeat("x", 1<<20)
	_, err = s.Update(ctx, func(tx keystore.Tx) error { return tx.PutKey(ctx, big) })
	require.ErrorIs(t, err, keystore.ErrFull)
	_, err = s.Update(ctx, func(tx keystore.Tx) error {
		_ = tx.PutKey(ctx, big)
		return tx.PutCustomer(ctx, &keystore.Customer{ID: "hidden", Name: "H"})
	})
	require.ErrorIs(t, err, keystore.ErrFull, "also where the function goes on")
	head, err := s.Head(ctx)
	require.NoError(t, err)
	require.Equal(t, before, head)
	_, err = s.KeyByClientID(ctx, big.ClientID)
	require.ErrorIs(t, err, keystore.ErrNotFound)

	pragma(t, s.writes, "max_page_count = 1000000")
	putKeys(t, s, 1, 1)
}

func TestAWriterThatHoldsTheDatabaseIsWaitedForWithinTheContext(t *testing.T) {
	s := newStore(t)
	other := open(t, s.path, storetest.NewClock())
	ctx, cancel := context.WithCancel(t.Context())
	_, err := other.Update(t.Context(), func(keystore.Tx) error {
		cancel()
		_, err := s.Update(ctx, func(keystore.Tx) error { return nil })
		require.ErrorIs(t, err, context.Canceled)
		return nil
	})
	require.NoError(t, err)
	putKeys(t, s, 1, 1)
}

func TestTheHeadKeptOnTheFeedIsReadAgainAfterEveryCommitAndOnlyThen(t *testing.T) {
	s := newStore(t)
	other := open(t, s.path, storetest.NewClock())
	kept := func() headReading {
		head, err := s.Head(t.Context())
		require.NoError(t, err)
		c, err := s.feed.get(t.Context())
		require.NoError(t, err)
		defer s.feed.put(c)
		require.Equal(t, head, c.head.head)
		return c.head
	}
	last := kept()
	require.Equal(t, last, kept())
	for i, writer := range []*Store{s, other, s} {
		putKeys(t, writer, i, 1)
		next := kept()
		require.NotEqual(t, last.version, next.version)
		require.Equal(t, last.head+1, next.head)
		last = next
	}
	_, err := s.Update(t.Context(), func(keystore.Tx) error { return nil })
	require.NoError(t, err)
	require.Equal(t, last, kept(), "a transaction that writes nothing is no commit")
}

func TestAConnectionInDoubtIsReplaced(t *testing.T) {
	s := newStore(t)
	c, err := s.writes.get(t.Context())
	require.NoError(t, err)
	s.writes.put(c)
	_, err = s.Update(t.Context(), func(tx keystore.Tx) error {
		// The transaction ends under the store, as SQLite ends one on an I/O error.
		_, err := c.Exec(t.Context(), "ROLLBACK")
		require.NoError(t, err)
		return fmt.Errorf("own")
	})
	require.EqualError(t, err, "own")
	c, err = s.writes.get(t.Context())
	require.NoError(t, err)
	s.writes.put(c)
	require.Empty(t, c.stmts, "a connection of its own, nothing prepared on it yet")
	putKeys(t, s, 1, 1)
}

func TestFailuresOfOneBatchAreOneTransaction(t *testing.T) {
	s := newStore(t)
	putKeys(t, s, 0, 1)
	before := commits(t, s)
	failures := make([]keystore.Proof, 1000)
	for i := range failures {
		failures[i] = keystore.Proof{KeyID: testKey(0).ID}
	}
	results, err := s.Count(t.Context(), policy.DefaultLockout(), failures)
	require.NoError(t, err)
	require.Len(t, results, 1000)
	require.Equal(t, before+1, commits(t, s))
	_, err = s.Count(t.Context(), policy.DefaultLockout(), failures)
	require.NoError(t, err)
	require.Equal(t, before+1, commits(t, s), "nothing counts while locked, and nothing is written")
}

// commits counts the commits in the write-ahead log: a frame that ends one says
// how many pages the database has (https://www.sqlite.org/fileformat2.html, 4.1).
func commits(t *testing.T, s *Store) (n int) {
	t.Helper()
	log, err := os.ReadFile(s.path + "-wal")
	require.NoError(t, err)
	const header, frame = 32, 24 + 4096
	for at := header; at+frame <= len(log); at += frame {
		if binary.BigEndian.Uint32(log[at+4:]) != 0 {
			n++
		}
	}
	return n
}

func TestClosingLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := newStore(t)
	putKeys(t, s, 0, 3)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, s.View(ctx, func(r keystore.Reader) error {
		_, err := r.Customers(ctx)
		return err
	}))
	cancel()
	require.NoError(t, s.Close())
	goleak.VerifyNone(t, before)
}

func TestAFileReplacedWhileItIsOpenIsNoticed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys.db")
	clock := storetest.NewClock()
	s, err := Open(t.Context(), Options{Path: path, Clock: clock})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	_, err = s.Head(t.Context())
	require.NoError(t, err)
	other, err := Open(t.Context(), Options{Path: filepath.Join(dir, "backup.db"), Clock: clock})
	require.NoError(t, err)
	require.NoError(t, other.Close())
	require.NoError(t, os.Rename(filepath.Join(dir, "backup.db"), path))
	_, err = s.Head(t.Context())
	require.ErrorContains(t, err, "replaced")
	_, err = s.Update(t.Context(), func(keystore.Tx) error { return nil })
	require.ErrorContains(t, err, "replaced", "a write would be lost")
	require.NoError(t, os.Remove(path))
	_, err = s.Head(t.Context())
	require.ErrorContains(t, err, "gone")
}
