package postgres

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
	"github.com/keyreeve/keyreeve/policy"
)

// What may happen to a commit on its way.
const (
	answerLost   = iota // the server has it, and its answer gets lost
	commitLost          // the server never hears of it
	commitLate          // the server hears of it after the client was cut off
	commitPasses        // nothing
)

// wire is a proxy that cuts the connection of the next commit.
type wire struct {
	net.Listener
	server string
	next   atomic.Int32
	all    sync.WaitGroup
}

func newWire(t *testing.T, server string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{Listener: l, server: server}
	w.next.Store(commitPasses)
	w.all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			w.all.Go(func() { w.carry(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // a test may have
		w.all.Wait()
	})
	return w
}

func (w *wire) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer server.Close()
	var cut atomic.Bool
	answered := make(chan struct{}, 1)
	go func() {
		defer client.Close()
		data := make([]byte, 64<<10)
		for {
			n, err := server.Read(data)
			if err != nil {
				return
			}
			if cut.Load() {
				answered <- struct{}{}
				continue
			}
			if _, err := client.Write(data[:n]); err != nil {
				return
			}
		}
	}()
	data := make([]byte, 64<<10)
	for {
		n, err := client.Read(data)
		if err != nil {
			return
		}
		how := int32(commitPasses)
		if bytes.Contains(data[:n], []byte("COMMIT\x00")) {
			how = w.next.Swap(commitPasses)
		}
		cut.Store(how != commitPasses)
		switch how {
		case commitLost:
			return
		case commitLate:
			client.Close()
			time.Sleep(300 * time.Millisecond)
		}
		if _, err := io.Copy(server, bytes.NewReader(data[:n])); err != nil {
			return
		}
		if how != commitPasses {
			<-answered
			return
		}
	}
}

// wired is a store behind a wire, with some keys.
func wired(t *testing.T) (*Store, *wire) {
	server := pgtest.Shared(t)
	w := newWire(t, server.Address())
	s := open(t, server.DSNBy(w.Addr().String(), pgtest.Superuser, server.NewDatabase(t))+"?sslmode=disable", keystore.NewSystemClock())
	seed(t, s)
	putKeys(t, s, 0, 3)
	_, err := s.Count(t.Context(), policy.DefaultLockout(), []keystore.Proof{{KeyID: "key_none"}})
	require.NoError(t, err, "and its row among those that count")
	return s, w
}

func TestAProofIsCountedOnceWhateverBecomesOfTheCommit(t *testing.T) {
	for name, how := range map[string]int32{"the answer is lost": answerLost, "the commit is lost": commitLost, "the commit comes late": commitLate} {
		t.Run(name, func(t *testing.T) {
			s, w := wired(t)
			ctx := t.Context()
			at := nowOf(t, s)
			proof := func(key int, fingerprint uint64) keystore.Proof {
				return keystore.Proof{KeyID: testKey(key).ID, Fingerprint: fingerprint, At: at}
			}
			l := policy.DefaultLockout()
			w.next.Store(how)
			_, err := s.Count(ctx, l, []keystore.Proof{proof(0, 1), proof(1, 1), proof(0, 2)})
			require.Error(t, err)
			require.True(t, sqlstore.InDoubt(err))

			// What is owed comes again, in other batches and with more.
			first, err := s.Count(ctx, l, []keystore.Proof{proof(2, 1), proof(0, 1)})
			require.NoError(t, err)
			require.True(t, first[1].Counted)
			require.EqualValues(t, 1, first[1].Whole.Failures)
			second, err := s.Count(ctx, l, []keystore.Proof{proof(0, 2), proof(1, 1)})
			require.NoError(t, err)
			require.EqualValues(t, 2, second[0].Whole.Failures)
			require.EqualValues(t, 1, second[1].Whole.Failures)
			all, err := s.Tallies(ctx, 0)
			require.NoError(t, err)
			counts := map[string]float64{}
			for _, c := range all {
				counts[c.KeyID] = c.Failures
			}
			require.Equal(t, map[string]float64{testKey(0).ID: 2, testKey(1).ID: 1, testKey(2).ID: 1}, counts)

			third, err := s.Count(ctx, l, []keystore.Proof{proof(0, 2)})
			require.NoError(t, err)
			require.True(t, third[0].Locked, "what is shown once more after that is another")
			require.EqualValues(t, 3, third[0].Whole.Failures)
		})
	}
}

func TestALockIsAppendedOnceWhateverBecomesOfTheCommit(t *testing.T) {
	for _, how := range []int32{answerLost, commitLost, commitLate} {
		s, w := wired(t)
		ctx := t.Context()
		before, err := s.Head(ctx)
		require.NoError(t, err)
		var guesses []keystore.Proof
		for n := range 3 {
			guesses = append(guesses, keystore.Proof{KeyID: testKey(0).ID, Fingerprint: uint64(n), At: nowOf(t, s)})
		}
		w.next.Store(how)
		_, err = s.Count(ctx, policy.DefaultLockout(), guesses)
		require.True(t, sqlstore.InDoubt(err), "%d: %v", how, err)
		results, err := s.Count(ctx, policy.DefaultLockout(), guesses)
		require.NoError(t, err)
		require.True(t, results[2].Locked)
		changes, err := s.Changes(ctx, before)
		require.NoError(t, err)
		require.Len(t, changes, 1)
		require.Empty(t, verifyChain(t, s, "c"))
	}
}

// nowOf is the time of the store's clock.
func nowOf(t *testing.T, s *Store) (now policy.Instant) {
	require.NoError(t, s.View(t.Context(), func(r keystore.Reader) error {
		now = r.Now()
		return nil
	}))
	return now
}
