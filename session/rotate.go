package session

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// signFor is how long a key signs.
	signFor = 30 * 24 * time.Hour
	// announceFor is how long before it signs a key is published, at least: far
	// longer than the published keys may be kept (see package endpoint).
	announceFor = 24 * time.Hour
	// leadAtLeast is for how long a key is published, at least, before it signs and after
	// any node may still decide without it: as long as upstreams may keep the published
	// keys, and some for clocks. The first of another algorithm, which an administrator
	// waits for, has no more.
	leadAtLeast = 10 * time.Minute
	// keepFor is how long a key is published after it signed last: the longest
	// lifetime of a token, and some for clocks.
	keepFor = 24*time.Hour + 10*time.Minute
	// signTogether is how long a key and its successor may both sign, so that no
	// moment is without a signer whatever clocks say.
	signTogether = time.Hour
	// newFor is how long a key that signs from the start may be unknown to a node that
	// follows the store, and more: for clocks that differ.
	newFor = time.Hour
)

// signer is the key to sign with, opened. The first one is made at first use;
// when the one in use nears its end its successor is published.
func (t *Tokens) signer(ctx context.Context, now policy.Instant) (*signingPair, error) {
	set, err := t.keySet()
	if err != nil {
		return nil, err
	}
	key := set.signer(t.settings.Algorithm, now.Wall)
	if key == nil && set.upcoming(t.settings.Algorithm, now.Wall) {
		key = set.anySigner(now.Wall) // the algorithm was changed: the old one signs until the new key is known
	}
	switch {
	case key == nil:
		if key, err = t.addKey(ctx, now); err != nil {
			return nil, err
		}
	case t.successorDue(set, key, now.Wall) && t.tryAgain(now):
		// Without the store the key in use goes on: there are days left to try.
		if next, err := t.addKey(ctx, now); err == nil {
			key = next
		} else {
			t.keys.Logger().Warn("the next signing key could not be made; trying again", zap.Error(err))
		}
	}
	if p := t.private.Load(); p != nil && p.key.id == key.id {
		return p, nil
	}
	private, err := t.seal.open(key.record.Sealed, key.record.MasterKeyID, key.id, key.algorithm)
	if err != nil {
		return nil, err
	}
	if key.record.MasterKeyID != t.seal.ring.CurrentID() {
		if err := t.rewrap(ctx, key, private); err != nil {
			return nil, err
		}
	}
	if err := t.published(ctx, key.record, now); err != nil {
		return nil, err
	}
	p := &signingPair{key: key, private: private}
	t.private.Store(p)
	return p, nil
}

// published returns, of a key that was made to sign at once, when the other nodes know
// it, or after RevokingWait. One that does not by then has asked for changes before the
// key was made, if at all, and asks again before it calls a key id unknown: that wait is
// longer than askAgainAfter. So it finds the key, or is cut off and answers that it cannot
// tell, and never that the token is not good.
func (t *Tokens) published(ctx context.Context, key *keystore.SigningKey, now policy.Instant) error {
	if key.SignFrom.Sub(key.Created) >= leadAtLeast || now.Wall.Sub(key.Created) > newFor {
		return nil
	}
	wait := t.flight.DoChan(key.ID, func() (any, error) {
		ctx := context.WithoutCancel(ctx)
		// So that the position is not from before the key. With the store out of reach
		// nobody is known to have it.
		_ = t.keys.CatchUp(ctx)
		t.keys.Propagate(ctx, t.keys.Position(), keystore.RevokingWait)
		return nil, nil
	})
	select {
	case <-wait:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rewrap seals a signing key anew under the current master key, so that an older
// one can be taken away.
func (t *Tokens) rewrap(ctx context.Context, key *verifyingKey, private crypto.Signer) error {
	sealed, master, err := t.seal.seal(private, key.id, key.algorithm)
	if err != nil {
		return err
	}
	_, err = t.keys.Update(ctx, func(tx keystore.Tx) error {
		stored, err := tx.SigningKeys(ctx)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(stored, func(k *keystore.SigningKey) bool { return k.ID == key.id })
		if at < 0 {
			return keystore.ErrNotFound
		}
		record := *stored[at] // another node may have changed how long it signs
		record.Sealed, record.MasterKeyID = sealed, master
		if err := tx.PutSigningKey(ctx, &record); err != nil {
			return err
		}
		return recordSigningKey(ctx, tx, "signing_key.rewrap", stored[at], &record)
	})
	if err != nil {
		return fmt.Errorf("sealing a signing key under another master key: %w", err)
	}
	return nil
}

func (t *Tokens) successorDue(set *keySet, key *verifyingKey, now time.Time) bool {
	return now.After(key.record.SignUntil.Add(-signTogether-announceFor-t.settings.MaxStale)) && !set.successor(key)
}

// tryAgainAfter bounds how often making a successor is tried.
const tryAgainAfter = time.Minute

// tryAgain reports whether this caller is the one to try now.
func (t *Tokens) tryAgain(now policy.Instant) bool {
	last := t.tried.Load()
	return (last == 0 || now.Since-time.Duration(last) >= tryAgainAfter) && t.tried.CompareAndSwap(last, int64(now.Since))
}

// oldest is how old the picture may be that any node decides on: each has a max_stale of
// its own, and may have seen its last poll that long before its lease ends. A node that
// comes later follows the log first, and so has what was published before.
func (t *Tokens) oldest(ctx context.Context) (time.Duration, error) {
	nodes, err := t.keys.Nodes(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking how long nodes serve what they know: %w", err)
	}
	longest := t.settings.MaxStale
	for i := range nodes {
		longest = max(longest, nodes[i].Lease)
	}
	return longest, nil
}

// addKey makes the key that is missing, unless another node was first, and
// returns the one to sign with now.
func (t *Tokens) addKey(ctx context.Context, now policy.Instant) (*verifyingKey, error) {
	oldest, err := t.oldest(ctx)
	if err != nil {
		return nil, err
	}
	_, err = t.keys.Update(ctx, func(tx keystore.Tx) error { return t.storeKey(ctx, tx, oldest, now.Wall) })
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	set, err := t.keySet()
	if err != nil {
		return nil, err
	}
	key := set.signer(t.settings.Algorithm, now.Wall)
	if key == nil {
		key = set.anySigner(now.Wall)
	}
	if key == nil {
		return nil, fmt.Errorf("no signing key for %s", t.settings.Algorithm)
	}
	return key, nil
}

// storeKey stores the key that is missing, if one still is. Where another one signs, of
// whatever algorithm, the new one waits until every node and upstream can know it, and
// the other goes on until then. Where none does, as in a store's beginning, there is
// nothing to wait with: it signs at once, see published.
func (t *Tokens) storeKey(ctx context.Context, tx keystore.Tx, oldest time.Duration, now time.Time) error {
	stored, err := tx.SigningKeys(ctx)
	if err != nil {
		return err
	}
	set, err := newKeySet(stored)
	if err != nil {
		return err
	}
	current, from := set.signer(t.settings.Algorithm, now), now.Add(leadAtLeast+oldest)
	switch {
	case current != nil && !t.successorDue(set, current, now):
		return nil
	case current != nil: // announced a day before, and longer if some node may be without it for longer
		from = latest(from, current.record.SignUntil.Add(-signTogether))
	case set.upcoming(t.settings.Algorithm, now):
		return nil
	default:
		if current = set.anySigner(now); current == nil {
			from = now
		}
	}
	if current != nil {
		if err := extend(ctx, tx, current.record, from.Add(signTogether)); err != nil {
			return err
		}
	}
	key, err := t.newKey(from, now)
	if err != nil {
		return err
	}
	if err := tx.PutSigningKey(ctx, key); err != nil {
		return err
	}
	return recordSigningKey(ctx, tx, "signing_key.create", nil, key)
}

// extend has a key sign until a time, at least: every node knows it, unlike what comes
// after it.
func extend(ctx context.Context, tx keystore.Tx, key *keystore.SigningKey, until time.Time) error {
	if !key.SignUntil.Before(until) {
		return nil
	}
	longer := *key
	longer.SignUntil, longer.Expires = until, until.Add(keepFor)
	if err := tx.PutSigningKey(ctx, &longer); err != nil {
		return err
	}
	return recordSigningKey(ctx, tx, "signing_key.extend", key, &longer)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (t *Tokens) newKey(from, now time.Time) (*keystore.SigningKey, error) {
	private, err := generate(t.settings.Algorithm)
	if err != nil {
		return nil, err
	}
	id := credential.NewID("sig")
	public := jose.JSONWebKey{Key: private.Public(), KeyID: id, Algorithm: t.settings.Algorithm, Use: "sig"}
	published, err := public.MarshalJSON()
	if err != nil {
		return nil, err
	}
	sealed, master, err := t.seal.seal(private, id, t.settings.Algorithm)
	if err != nil {
		return nil, err
	}
	until := from.Add(signFor)
	return &keystore.SigningKey{
		ID: id, Algorithm: t.settings.Algorithm, Public: published, Sealed: sealed, MasterKeyID: master,
		Created: now, SignFrom: from, SignUntil: until, Expires: until.Add(keepFor),
	}, nil
}
