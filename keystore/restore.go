package keystore

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

// replayTimeout bounds one try to bring what was seen into a database that went back.
const replayTimeout = 2 * time.Minute

// mend is what a node does once it has found that the database went back. Until that is
// stored it goes on by the picture it has, asks the store for nothing else, and so is
// past max_stale in the end; then it takes over the database whole.
//
// Several nodes do so one after the other, each with what it has seen: one that saw
// less, or nothing new, changes nothing. It only ever takes away: what the older state
// grants and the newest that was seen does not is taken from it, and nothing is given
// that it does not grant. So it does not matter in which order nodes come, nor what was
// written to the restored database before any came.
func (c *Cached) mend(cause error) error {
	m := &c.history
	if !m.told {
		m.told = true
		c.logger.Error("the key store's database went back to an older state: a backup was restored, or a failover lost what was committed last. "+
			"What this node saw revoked is revoked in it again; until an operator has looked at it and runs `keyreeve node accept-restore`, it takes no administrative changes. "+
			"What was created or changed since that state is lost",
			zap.Int64("seen_revision", int64(c.position)))
	}
	c.lose(cause)
	ctx, cancel := context.WithTimeout(c.running, replayTimeout)
	defer cancel()
	replayed, err := c.replay(ctx)
	if err == nil {
		err = c.replayLocks(ctx)
	}
	if err == nil {
		// Taking it over takes every key from the cache. Who is known is read anew at once,
		// and must not be turned away until the counts are there too.
		c.answers.Store(true)
		err = c.resync(ctx, asReplayed)
	}
	if err != nil {
		return errors.Join(cause, err)
	}
	m.told, c.beginning = false, false
	m.parted.Add(1)
	c.logger.Warn("what was revoked is revoked in the restored database too; it is followed again, and waits for an operator",
		zap.Int("revoked_again", replayed), zap.Int64("revision", int64(c.position)))
	return nil
}

// Restores counts how often this node found that the database had gone back to an older
// state, and made sure that what it saw revoked is revoked in that.
func (c *Cached) Restores() int64 { return c.history.parted.Load() }

// Restored is what the database went back by and no operator has accepted yet, nil for
// nothing, as of a store that keeps no history.
func (c *Cached) Restored(ctx context.Context) (found *Restore, err error) {
	if _, ok := As[Historian](c.store); !ok {
		return nil, nil
	}
	err = c.View(ctx, func(r Reader) (err error) {
		if restored, ok := r.(RestoreReader); ok {
			found, err = restored.Restored(ctx)
		}
		return err
	})
	return found, err
}

// replay brings what this node has seen revoked into the database, all in one
// transaction, and counts of how many records it took something.
func (c *Cached) replay(ctx context.Context) (int, error) {
	stones := c.history.all()
	position := Tombstone{Kind: TombPosition, Revision: c.position, Stamp: c.history.stamp}
	var done int
	_, err := c.store.Update(ctx, func(tx Tx) error {
		h, ok := tx.(HistoryTx)
		if !ok {
			return errors.New("the store keeps no history")
		}
		storeID, err := tx.StoreID(ctx)
		if err != nil {
			return err
		}
		if storeID != c.storeID() {
			return errForeign
		}
		lost, err := lostOf(ctx, h, append(stones, position))
		if err != nil || len(lost) == 0 {
			return err // another node, with the same and more, was here before
		}
		r := &replayer{Tx: tx, actions: make(map[string]int)}
		if err := r.all(ctx, lost); err != nil {
			return err
		}
		lasting := r.lasting(lost)
		if len(lasting) == 0 {
			return nil
		}
		if err := h.Replay(ctx, lasting, r.absent); err != nil {
			return err
		}
		if err := h.NoteRestore(ctx, c.position, r.changed, c.longestLease()); err != nil {
			return err
		}
		done = r.changed
		return r.report(ctx, c.position)
	})
	return done, err
}

// lostOf are those of a history that is gone, from where the two parted, and that no
// node has brought into this one. Everything up to there is this history's too, and
// what it says of that now is a later decision.
func lostOf(ctx context.Context, h HistoryReader, stones []Tombstone) ([]Tombstone, error) {
	marks := make(map[Revision]Stamp)
	if err := h.Stamps(ctx, func(r Revision, s Stamp) { marks[r] = s }); err != nil {
		return nil, err
	}
	var common Revision
	for _, s := range stones {
		if s.Revision > common && s.Stamp != 0 && marks[s.Revision] == s.Stamp {
			common = s.Revision
		}
	}
	done, err := h.Replayed(ctx, stones)
	if err != nil {
		return nil, err
	}
	var lost []Tombstone
	for i, s := range stones {
		if s.Kind == TombSession || s.Revision > common && !done[i] {
			lost = append(lost, s)
		}
	}
	return lost, nil
}

// replayLocks brings the locks in force into the database.
func (c *Cached) replayLocks(ctx context.Context) error {
	now := c.clock.Now()
	byPolicy := make(map[policy.Lockout][]Proof)
	lock := func(t policy.Tally, p Proof) {
		if t.Remaining(now) == 0 {
			return
		}
		l := *c.lockout.Load()
		l.Duration = t.LockedFor // as it was set, whatever the policy is by now
		p.At = t.LockedAt
		byPolicy[l] = append(byPolicy[l], p)
	}
	for ts := range c.counter.table.all {
		lock(ts.seen.whole, Proof{KeyID: ts.keyID, Locked: true})
		for source := range ts.sources {
			_, src := ts.pair(source)
			lock(src, Proof{KeyID: ts.keyID, Source: source.String(), SourceLocked: true})
		}
	}
	for l, proofs := range byPolicy {
		for len(proofs) > 0 {
			n := min(len(proofs), countProofs)
			if _, err := c.store.Count(ctx, l, proofs[:n]); err != nil {
				return err
			}
			proofs = proofs[n:]
		}
	}
	return nil
}
