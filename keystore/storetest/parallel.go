package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var parallelCases = []testCase{
	{"100 parallel failures of one key count exactly and lock once", parallelFail},
	{"parallel failures and successes leave the count of one order of them", parallelFailSucceed},
	{"no success is answered after the failure that locked", parallelLockLinearises},
	{"parallel updates of one record lose none", parallelUpdates},
	{"of parallel creations under one client id one wins", parallelConflict},
	{"a follower of the changes misses none and sees each once, whoever writes", parallelFeed},
	{"views see whole transactions while others write", parallelViews},
	{"closing waits for calls under way", parallelClose},
}

// inParallel runs fn n times at once and waits.
func inParallel(n int, fn func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

func parallelFail(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	other := f.open(t, f.clock)
	l := strict()
	l.Attempts = 60
	var counted, locked atomic.Int64
	inParallel(100, func(i int) {
		s := f.Store
		if i%2 == 0 {
			s = other
		}
		results, err := s.Count(context.Background(), l, []keystore.Proof{{KeyID: "key_0001"}})
		if err != nil {
			t.Error(err)
			return
		}
		if results[0].Counted {
			counted.Add(1)
		}
		if results[0].Locked {
			locked.Add(1)
		}
	})
	require.EqualValues(t, 60, counted.Load())
	require.EqualValues(t, 1, locked.Load())
	all := f.tallies(t, 0)
	require.Len(t, all, 1)
	require.EqualValues(t, 60, all[0].Failures)
}

// parallelFailSucceed replays the answers in the order of their seqs: each must
// follow from the one before.
func parallelFailSucceed(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	l := strict()
	l.Attempts = 1_000_000
	var mu sync.Mutex
	bySeq := make(map[int64]float64)
	var failed, seqs int
	inParallel(100, func(i int) {
		var after keystore.Tally
		if i%4 == 3 {
			r, err := f.Succeed(context.Background(), l, "key_0001", "")
			if err != nil || !r.OK || r.Whole.Failures != 0 {
				t.Errorf("success: %+v, %v", r, err)
			}
			after = r.Whole
		} else {
			results, err := f.Count(context.Background(), l, []keystore.Proof{{KeyID: "key_0001"}})
			if err != nil || !results[0].Counted {
				t.Errorf("failure: %+v, %v", results, err)
				return
			}
			after = results[0].Whole
		}
		mu.Lock()
		defer mu.Unlock()
		if i%4 != 3 {
			failed++
		}
		if old, seen := bySeq[after.Seq]; seen && old != after.Failures {
			t.Errorf("seq %d has the counts %v and %v", after.Seq, old, after.Failures)
		}
		bySeq[after.Seq] = after.Failures
	})
	require.Equal(t, 75, failed)
	var last float64
	var lastSeq int64
	for seqs = 1; len(bySeq) > 0 && seqs < 10_000; seqs++ {
		count, ok := bySeq[int64(seqs)]
		if !ok {
			continue
		}
		delete(bySeq, int64(seqs))
		require.True(t, count == 0 || count == last+1, "count %v follows %v", count, last)
		last, lastSeq = count, int64(seqs)
	}
	changed := f.tallies(t, lastSeq-1)
	require.Len(t, changed, 1)
	require.Equal(t, last, changed[0].Failures)
}

func parallelLockLinearises(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	var locked atomic.Bool
	inParallel(40, func(i int) {
		if i%2 == 0 {
			results, err := f.Count(context.Background(), strict(), []keystore.Proof{{KeyID: "key_0001"}})
			if err != nil {
				t.Error(err)
			} else if results[0].Locked {
				locked.Store(true)
			}
			return
		}
		before := locked.Load()
		r, err := f.Succeed(context.Background(), strict(), "key_0001", "")
		if err != nil {
			t.Error(err)
		} else if before && r.OK {
			t.Error("a success was answered after the lock")
		}
	})
}

func parallelUpdates(t *testing.T, f *fixture) {
	k := f.key(1)
	k.Description = "0"
	f.put(t, k)
	other := f.open(t, f.clock)
	inParallel(40, func(i int) {
		s := f.Store
		if i%2 == 0 {
			s = other
		}
		ctx := context.Background()
		_, err := s.Update(ctx, func(tx keystore.Tx) error {
			k, err := tx.Key(ctx, "key_0001")
			if err != nil {
				return err
			}
			var n int
			if _, err := fmt.Sscan(k.Description, &n); err != nil {
				return err
			}
			k.Description = fmt.Sprint(n + 1)
			return tx.PutKey(ctx, k)
		})
		if err != nil {
			t.Error(err)
		}
	})
	require.Equal(t, "40", f.get(t, k.ID).Description)
}

func parallelConflict(t *testing.T, f *fixture) {
	var won atomic.Int64
	inParallel(20, func(i int) {
		k := f.key(i)
		k.ClientID = "client-wanted"
		_, err := f.Update(context.Background(), func(tx keystore.Tx) error { return tx.PutKey(context.Background(), k) })
		switch {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, keystore.ErrConflict):
			t.Error(err)
		}
	})
	require.EqualValues(t, 1, won.Load())
}

func parallelFeed(t *testing.T, f *fixture) {
	const writers, each = 8, 25
	position := f.head(t)
	start := position
	other := f.open(t, f.clock)
	written := make(chan struct{})
	var seen []keystore.Change
	follower := make(chan error, 1)
	go func() {
		follower <- func() error {
			for last := false; ; {
				select {
				case <-written:
					last = true // one more look after the last write
				default:
				}
				head, err := other.Head(context.Background())
				if err != nil {
					return err
				}
				for position != head {
					changes, err := other.Changes(context.Background(), position)
					if err != nil {
						return err
					}
					if len(changes) == 0 {
						return fmt.Errorf("head is %d, but nothing follows %d", head, position)
					}
					seen = append(seen, changes...)
					position = changes[len(changes)-1].Revision
					head = max(head, position)
				}
				if last {
					return nil
				}
			}
		}()
	}()
	inParallel(writers, func(w int) {
		s := f.Store
		if w%2 == 0 {
			s = other
		}
		for i := range each {
			k := f.key(w*each + i)
			if _, err := s.Update(context.Background(), func(tx keystore.Tx) error { return tx.PutKey(context.Background(), k) }); err != nil {
				t.Error(err)
			}
		}
	})
	close(written)
	require.NoError(t, <-follower)
	require.Len(t, seen, writers*each)
	ids := make(map[string]bool)
	for i, c := range seen {
		require.Equal(t, start+keystore.Revision(i)+1, c.Revision)
		ids[c.ID] = true
	}
	require.Len(t, ids, writers*each)
}

// parallelViews writes pairs of keys that always agree and looks at both.
func parallelViews(t *testing.T, f *fixture) {
	pair := func(n int) []*keystore.Key {
		a, b := f.key(1), f.key(2)
		a.Description, b.Description = fmt.Sprint(n), fmt.Sprint(n)
		return []*keystore.Key{a, b}
	}
	f.put(t, pair(0)...)
	inParallel(4, func(i int) {
		ctx := context.Background()
		for n := range 30 {
			if i == 0 {
				_, err := f.Update(ctx, func(tx keystore.Tx) error {
					for _, k := range pair(n) {
						if err := tx.PutKey(ctx, k); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				continue
			}
			err := f.View(ctx, func(r keystore.Reader) error {
				a, err := r.Key(ctx, "key_0001")
				if err != nil {
					return err
				}
				b, err := r.Key(ctx, "key_0002")
				if err == nil && (a.Description != b.Description || a.Revision != b.Revision) {
					return fmt.Errorf("saw half a transaction: %s and %s", a.Description, b.Description)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func parallelClose(t *testing.T, f *fixture) {
	inside, closing := make(chan struct{}), make(chan error, 1)
	go func() {
		<-inside
		closing <- f.Close()
	}()
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		close(inside)
		for { // until Close has begun: then new calls are refused and this one goes on
			if _, err := f.Head(ctx); err != nil {
				require.ErrorIs(t, err, keystore.ErrClosed)
				break
			}
		}
		return tx.PutKey(ctx, f.key(1))
	})
	require.NoError(t, <-closing)
	f.Store = f.open(t, f.clock)
	require.Equal(t, rev, f.head(t))
	require.Equal(t, f.key(1).ID, f.get(t, f.key(1).ID).ID)
}
