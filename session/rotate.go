package session

import (
	"context"
	"crypto"
	"fmt"
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
	// changeLead is the same for a key of another algorithm, which an administrator
	// waits for: as long as upstreams may keep the published keys, and some.
	changeLead = 10 * time.Minute
	// keepFor is how long a key is published after it signed last: the longest
	// lifetime of a token, and some for clocks.
	keepFor = 24*time.Hour + 10*time.Minute
	// signTogether is how long a key and its successor may both sign, so that no
	// moment is without a signer whatever clocks say.
	signTogether = time.Hour
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
	p := &signingPair{key: key, private: private}
	t.private.Store(p)
	return p, nil
}

// rewrap seals a signing key anew under the current master key, so that an older
// one can be taken away.
func (t *Tokens) rewrap(ctx context.Context, key *verifyingKey, private crypto.Signer) error {
	record := *key.record
	var err error
	if record.Sealed, record.MasterKeyID, err = t.seal.seal(private, key.id, key.algorithm); err != nil {
		return err
	}
	_, err = t.keys.Update(ctx, func(tx keystore.Tx) error {
		if err := tx.PutSigningKey(ctx, &record); err != nil {
			return err
		}
		return recordSigningKey(ctx, tx, "signing_key.rewrap", key.record, &record)
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
// its own, and may have seen its last poll that long before its lease ends.
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
// returns the one to sign with now. A store's very first key signs at once: no
// node can know an older one, and an unknown key id makes each look. The first of
// another algorithm waits until every node and upstream can know it, and what
// signed before goes on until then.
func (t *Tokens) addKey(ctx context.Context, now policy.Instant) (*verifyingKey, error) {
	oldest, err := t.oldest(ctx)
	if err != nil {
		return nil, err
	}
	_, err = t.keys.Update(ctx, func(tx keystore.Tx) error {
		stored, err := tx.SigningKeys(ctx)
		if err != nil {
			return err
		}
		set, err := newKeySet(stored)
		if err != nil {
			return err
		}
		from := now.Wall
		if set.upcoming(t.settings.Algorithm, from) && set.signer(t.settings.Algorithm, from) == nil {
			return nil
		}
		if set.anySigner(from) != nil {
			from = from.Add(changeLead + oldest)
		}
		if current := set.signer(t.settings.Algorithm, now.Wall); current != nil {
			if !t.successorDue(set, current, now.Wall) {
				return nil
			}
			// Announced a day before, and longer if some node may be without it for longer.
			from = current.record.SignUntil.Add(-signTogether)
			if known := now.Wall.Add(oldest); known.After(from) {
				from = earliest(known, current.record.SignUntil)
			}
		}
		key, err := t.newKey(from, now.Wall)
		if err != nil {
			return err
		}
		if err := tx.PutSigningKey(ctx, key); err != nil {
			return err
		}
		return recordSigningKey(ctx, tx, "signing_key.create", nil, key)
	})
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

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
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
