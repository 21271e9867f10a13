package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// unknownSource stands for a source that guard mode was not told.
const unknownSource = "unknown"

// Count counts proofs in order, all in one transaction. Each count is read once
// and written once however often it changes in the batch; each change has a seq
// of its own all the same, so that results can be told apart by age.
func (s *Store) Count(ctx context.Context, l policy.Lockout, proofs []keystore.Proof) ([]keystore.CountResult, error) {
	if s.dialect.Ledger != "" {
		return s.countOnce(ctx, l, proofs)
	}
	results := make([]keystore.CountResult, len(proofs))
	_, err := s.update(ctx, func(t *tx) error { return t.countAll(ctx, l, proofs, results) })
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (t *tx) countAll(ctx context.Context, l policy.Lockout, proofs []keystore.Proof, results []keystore.CountResult) error {
	b := newBatch(t, l)
	t.seqs.expected = 2 * len(proofs) // the client's and the source's
	if err := b.fetch(ctx, proofs); err != nil {
		return err
	}
	for i, p := range proofs {
		var err error
		if results[i], err = b.count(ctx, p); err != nil {
			return err
		}
	}
	for i := range results {
		b.t.out(&results[i].Whole)
		b.t.out(&results[i].Source)
	}
	return b.store(ctx)
}

// batch is the counts that one transaction works on.
type batch struct {
	t       *tx
	l       policy.Lockout
	entries map[[2]string]*entry // by key and source
	order   []*entry
	unknown map[string]bool // keys that are not there
	fetched bool            // whatever is stored is in entries
}

// entry is one count of the batch.
type entry struct {
	tally  keystore.Tally
	tries  []keystore.Try // beside the whole client's count, once there is one to add
	stored bool           // it has a row
	known  bool           // its key is there
	dirty  bool
	wanted bool // it is in the order of the batch
}

func newBatch(t *tx, l policy.Lockout) *batch {
	return &batch{t: t, l: l, entries: make(map[[2]string]*entry), unknown: make(map[string]bool)}
}

// pair is the counts of a key and of one of its sources; ErrNotFound if there is
// no such key. In strict mode there are no sources: the second is an entry that
// is never stored.
func (b *batch) pair(ctx context.Context, keyID, source string) (whole, src *entry, err error) {
	if b.unknown[keyID] {
		return nil, nil, keystore.ErrNotFound
	}
	if whole, err = b.entry(ctx, keyID, ""); err != nil {
		return nil, nil, err
	}
	if !whole.known {
		// A count has a key; only where there is none yet must the key be looked for.
		if whole.known, err = b.t.exists(ctx, "SELECT 1 FROM keys WHERE id = ?", keyID); err != nil {
			return nil, nil, err
		}
		if !whole.known {
			b.unknown[keyID] = true
			return nil, nil, keystore.ErrNotFound
		}
	}
	if b.l.Mode == policy.Strict {
		return whole, &entry{}, nil
	}
	if source == "" {
		source = unknownSource
	}
	src, err = b.entry(ctx, keyID, source)
	return whole, src, err
}

// fetch reads the counts of all proofs and which keys are there, where each would be
// a round trip of its own.
func (b *batch) fetch(ctx context.Context, proofs []keystore.Proof) error {
	if b.t.dialect.Local {
		return nil
	}
	ids := make([]string, len(proofs))
	for i, p := range proofs {
		ids[i] = p.KeyID
	}
	wanted, err := b.t.dialect.List(ids)
	if err != nil {
		return err
	}
	_, err = list(ctx, &b.t.reader, func(scan scanner) (struct{}, error) {
		var id string
		err := scan(&id)
		b.entries[[2]string{id}] = &entry{tally: keystore.Tally{KeyID: id}, known: true}
		return struct{}{}, err
	}, "SELECT id FROM keys WHERE id IN ("+b.t.dialect.Each+")", wanted)
	if err != nil {
		return err
	}
	// In guard mode up to maxSources of each key, of which few are asked for: no more
	// than is read to bound them.
	text := "SELECT " + tallyColumns + " FROM tallies WHERE key_id IN (" + b.t.dialect.Each + ")"
	if b.l.Mode == policy.Strict {
		text += " AND source = ''"
	}
	stored, err := list(ctx, &b.t.reader, scanTally, text, wanted)
	if err != nil {
		return err
	}
	for _, c := range stored {
		b.entries[[2]string{c.KeyID, c.Source}] = &entry{tally: c, stored: true, known: true}
	}
	for _, p := range proofs {
		whole := b.entries[[2]string{p.KeyID}]
		if whole == nil {
			b.unknown[p.KeyID] = true
		}
	}
	b.fetched = true
	return nil
}

func (b *batch) entry(ctx context.Context, keyID, source string) (*entry, error) {
	id := [2]string{keyID, source}
	e, ok := b.entries[id]
	if !ok {
		c := keystore.Tally{KeyID: keyID, Source: source}
		if !b.fetched {
			var err error
			if c, err = b.t.tally(ctx, keyID, source); err != nil {
				return nil, err
			}
		}
		e = &entry{tally: c, stored: c.Seq > 0, known: c.Seq > 0}
		b.entries[id] = e
	}
	if !e.wanted {
		e.wanted = true
		b.order = append(b.order, e)
	}
	return e, nil
}

// set changes a count, under the next seq.
func (b *batch) set(ctx context.Context, e *entry, to policy.Tally) error {
	if sameTally(e.tally.Tally, to) {
		return nil
	}
	seq, err := b.t.nextSeq(ctx)
	e.tally.Tally, e.tally.Seq, e.dirty = to, seq, true
	return err
}

func (b *batch) count(ctx context.Context, p keystore.Proof) (keystore.CountResult, error) {
	whole, src, err := b.pair(ctx, p.KeyID, p.Source)
	if errors.Is(err, keystore.ErrNotFound) {
		return keystore.CountResult{}, nil
	}
	if err != nil {
		return keystore.CountResult{}, err
	}
	switch {
	case p.At == (policy.Instant{}):
		p.At = b.t.now
	case b.t.frame != nil:
		p.At = b.t.frame.In(p.At)
	}
	var r keystore.CountResult
	w, c, out, counted := p.Count(b.l, whole.tally.Tally, src.tally.Tally)
	r.Outcome, r.OK = out, p.Success && counted
	if counted && !p.Success {
		if err := b.try(ctx, whole, p); err != nil {
			return keystore.CountResult{}, err
		}
	}
	if err := b.set(ctx, whole, w); err != nil {
		return keystore.CountResult{}, err
	}
	if err := b.set(ctx, src, c); err != nil {
		return keystore.CountResult{}, err
	}
	if r.Locked {
		err = b.locked(ctx, p, "client", whole.tally)
	}
	if err == nil && r.SourceLocked {
		err = b.locked(ctx, p, "source", src.tally)
	}
	r.Whole, r.Source = whole.tally, src.tally
	return r, err
}

// try keeps a failure that counts among the tries of the key. They are written with
// the count, which the failure changes in any case.
func (b *batch) try(ctx context.Context, whole *entry, p keystore.Proof) (err error) {
	if whole.stored && whole.tries == nil {
		if whole.tries, err = b.t.tries(ctx, whole.tally.KeyID); err != nil {
			return err
		}
	}
	whole.tries = keystore.AddTry(whole.tries, p.Try())
	return nil
}

// locked records that a lock began: in the change log, so that caches hear of
// it, and in the audit trail.
func (b *batch) locked(ctx context.Context, f keystore.Proof, scope string, c keystore.Tally) error {
	if b.t.beside {
		return errTurn
	}
	var clientID, name, customerID, microtenantID string
	err := b.t.row(ctx, []any{&clientID, &name, &customerID, &microtenantID},
		"SELECT client_id, name, customer_id, microtenant_id FROM keys WHERE id = ?", f.KeyID)
	if err != nil {
		return err
	}
	after, err := json.Marshal(struct {
		Scope    string    `json:"scope"`
		Source   string    `json:"source,omitempty"`
		Address  string    `json:"address,omitempty"`
		Failures int       `json:"failed_attempts"`
		Until    time.Time `json:"locked_until"`
	}{scope, f.Source, f.Address, int(c.Failures), fromMillis(millis(c.LockedAt.Wall.Add(c.LockedFor)))})
	if err != nil {
		return err
	}
	b.t.log(keystore.Change{Kind: keystore.KindLock, ID: f.KeyID, ClientID: clientID})
	return b.t.AddAudit(ctx, &keystore.Audit{
		At: b.t.now.Wall, CustomerID: customerID, MicrotenantID: microtenantID, ActorKind: keystore.ActorSystem,
		Address: f.Address, RequestID: f.RequestID, Action: "key.lock",
		TargetKind: string(keystore.KindKey), TargetID: f.KeyID, TargetName: name, After: after,
	})
}

// store writes what changed and keeps the number of sources bounded.
func (b *batch) store(ctx context.Context) error {
	grown := make(map[string]bool)
	for _, e := range b.order {
		if !e.dirty {
			continue
		}
		if err := b.t.writeTally(ctx, e.tally, e.tries); err != nil {
			return err
		}
		if e.tally.Source != "" && !e.stored {
			grown[e.tally.KeyID] = true
		}
	}
	for keyID := range grown {
		if err := b.t.capSources(ctx, b.l, keyID, b.t.seqs.before); err != nil {
			return err
		}
	}
	return nil
}
