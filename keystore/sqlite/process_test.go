package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// childEnv makes the test binary behave as another process on the file it names.
const childEnv = "KEYREEVE_TEST_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := child(path, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child opens the store and either reports that, or writes keys from a number
// on and reports each once it is stored, until it is killed.
func child(path, job string) error {
	ctx := context.Background()
	s, err := Open(ctx, Options{Path: path, Clock: storetest.NewClock()})
	if err != nil {
		return err
	}
	if job == "open" {
		fmt.Println("open")
		_, _ = io.Copy(io.Discard, os.Stdin) // stays open until the parent has seen all
		return s.Close()
	}
	first, err := strconv.Atoi(job)
	if err != nil {
		return err
	}
	for n := first; ; n++ {
		rev, err := s.Update(ctx, func(tx keystore.Tx) error { return tx.PutKey(ctx, testKey(n)) })
		if err != nil {
			return err
		}
		fmt.Println(n, rev)
	}
}

func startChild(t *testing.T, path, job string) (*exec.Cmd, io.WriteCloser, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], job)
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, stdin, bufio.NewScanner(stdout)
}

func TestProcessesThatOpenANewFileAtOnceAllSucceed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyreeve.db")
	const processes = 4
	var wait []func()
	for range processes {
		cmd, stdin, lines := startChild(t, path, "open")
		wait = append(wait, func() {
			require.True(t, lines.Scan(), "a process could not open the store")
			require.Equal(t, "open", lines.Text())
			require.NoError(t, stdin.Close())
			require.NoError(t, cmd.Wait())
		})
	}
	s := open(t, path, storetest.NewClock())
	for _, w := range wait {
		w()
	}
	head, err := s.Head(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, head, "the predefined roles were made once")
	seed(t, s)
}

func TestStoresThatOpenANewFileAtOnceAllSucceed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyreeve.db")
	errs := make(chan error)
	const stores = 8
	for range stores {
		go func() {
			s, err := Open(context.Background(), Options{Path: path, Clock: storetest.NewClock()})
			if err == nil {
				err = s.Close()
			}
			errs <- err
		}()
	}
	for range stores {
		require.NoError(t, <-errs)
	}
}

func TestOpeningStopsWaitingForAnotherWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyreeve.db")
	unlock, err := lockFile(t.Context(), path+".lock")
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, Options{Path: path, Clock: storetest.NewClock()})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoFileExists(t, path)
}

func TestNoAcknowledgedWriteIsLostWhenTheProcessIsKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyreeve.db")
	s := open(t, path, storetest.NewClock())
	seed(t, s)
	require.NoError(t, s.Close())
	next := 0
	revisions := make(map[int]keystore.Revision) // acknowledged
	for round := range 10 {
		cmd, _, lines := startChild(t, path, strconv.Itoa(next))
		killAfter := 1 + rand.IntN(20)
		for lines.Scan() {
			var n int
			var rev keystore.Revision
			if _, err := fmt.Sscan(lines.Text(), &n, &rev); err != nil {
				continue // the line it died in
			}
			revisions[n] = rev
			if killAfter--; killAfter == 0 {
				time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
				require.NoError(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait()
		require.LessOrEqual(t, killAfter, 0, "the child ended by itself in round %d", round)

		s, err := Open(t.Context(), Options{Path: path, Clock: storetest.NewClock()})
		require.NoError(t, err)
		for n, rev := range revisions {
			k, err := s.KeyByClientID(t.Context(), testKey(n).ClientID)
			require.NoError(t, err, "acknowledged key %d is gone", n)
			require.Equal(t, rev, k.Revision)
			require.Len(t, k.Secrets, 1, "torn")
			next = max(next, n+1)
		}
		// What was stored and not acknowledged any more is whole too.
		head, err := s.Head(t.Context())
		require.NoError(t, err)
		k, err := s.KeyByClientID(t.Context(), testKey(next).ClientID)
		if err == nil {
			require.Equal(t, head, k.Revision)
			next++
		} else {
			require.ErrorIs(t, err, keystore.ErrNotFound)
		}
		require.NoError(t, s.Close())
	}
	require.GreaterOrEqual(t, len(revisions), 10)
}
