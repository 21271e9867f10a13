package lifecycle

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// MaxBatch is how many keys one batch may name.
const MaxBatch = 500

// shortBatch is how many keys a batch may name without waiting for others: a longer
// one, tried ones included, holds the store's writer for so long that only one of
// them is done at a time, and single changes get their turn between two.
const shortBatch = 20

// NewBatch is one operation to be done to many keys.
type NewBatch struct {
	// Action is one of BatchActions.
	Action string
	// IDs are of keys, each once.
	IDs []string
	// DryRun says what would happen and changes nothing.
	DryRun bool
}

// Batch is what became of each key of a batch, in the order asked for.
type Batch struct {
	Action string
	DryRun bool
	Items  []BatchItem
	// Revision is that of the latest changed key.
	Revision keystore.Revision
}

// BatchItem is what became of one key.
type BatchItem struct {
	ID string
	// Shown: the operation alone would have shown the key as it is afterwards.
	Shown bool
	// Key is that key; nil where none is shown, and in the answer to a repeated request.
	Key *Key
	// Refused is why nothing was done to it, nil if it was.
	Refused *Error
}

func (b *Batch) at() *keystore.Revision { return &b.Revision }

// redact leaves what was done: keys may have gone out of the actor's sight by the
// time that it asks again.
func (b *Batch) redact() {
	b.Items = slices.Clone(b.Items)
	for i := range b.Items {
		item := &b.Items[i]
		item.Key = nil
		if r := item.Refused; r != nil {
			item.Refused = &Error{Kind: r.Kind, Code: r.Code, Detail: r.Detail}
		}
	}
}

// batchAction is what a batch does to each key: the single operation of that
// name, with its rules and its audit event. The key that it shows is nil once
// there is none.
type batchAction struct {
	resource string
	needs    policy.Mask
	do       func(o *op, id string) (*Key, error)
}

// patchEach is the batch of a PATCH.
func patchEach(p KeyPatch) batchAction {
	return batchAction{ResourceKeys, policy.Update, func(o *op, id string) (*Key, error) {
		k, err := o.updateKey(id, p, nil)
		return &k, err
	}}
}

var batchActions = map[string]batchAction{
	"enable":       patchEach(KeyPatch{Enabled: Some(true)}),
	"disable":      patchEach(KeyPatch{Enabled: Some(false)}),
	"enable_here":  patchEach(KeyPatch{DisabledHere: Some(false)}),
	"disable_here": patchEach(KeyPatch{DisabledHere: Some(true)}),
	"delete":       {ResourceKeys, policy.Delete, func(o *op, id string) (*Key, error) { return nil, o.deleteKey(id, nil) }},
	"unlock":       {ResourceLocks, policy.Delete, func(o *op, id string) (*Key, error) { return o.shownAfter(id, o.unlock(id, "", nil)) }},
	"end_sessions": {ResourceSessions, policy.Delete, func(o *op, id string) (*Key, error) { return o.shownAfter(id, o.endKeySessions(id, nil)) }},
}

// BatchActions lists what a batch can do.
func BatchActions() []string { return slices.Sorted(maps.Keys(batchActions)) }

// shownAfter shows a key after what was done to it, to an actor that may read keys.
func (o *op) shownAfter(id string, err error) (*Key, error) {
	if err != nil || o.need(ResourceKeys, policy.Read) != nil {
		return nil, err
	}
	k, err := o.storedKey(id)
	return &k, err
}

// errDryRun rolls a dry run back.
var errDryRun = errors.New("dry run")

// BatchKeys does one operation to many keys in one transaction. What is refused
// for one key is left out and told; the others are done. A failure of the store
// undoes all. The actor's rights are those it had before the first key.
func (s *Service) BatchKeys(ctx context.Context, a Actor, in NewBatch) (Batch, Commit, error) {
	var bad FieldErrors
	action := cleanBatch(&bad, in)
	may := func(o *op) error {
		if err := bad.Err(); err != nil {
			return err
		}
		return o.need(action.resource, action.needs)
	}
	if len(in.IDs) > shortBatch {
		if err := s.May(ctx, a, may); err != nil {
			return Batch{}, Commit{}, err
		}
		select {
		case s.batches <- struct{}{}:
			defer func() { <-s.batches }()
		case <-ctx.Done():
			return Batch{}, Commit{}, ctx.Err()
		}
	}
	if in.DryRun {
		out, err := s.dryRun(ctx, a, in, action, may)
		return out, Commit{}, err
	}
	return create(ctx, s, a, may, func(o *op) (Batch, error) { return o.batch(in, action) })
}

// dryRun does the batch in a transaction and takes it back. It makes nothing, so
// it has no name to be remembered by.
func (s *Service) dryRun(ctx context.Context, a Actor, in NewBatch, action batchAction, may func(*op) error) (Batch, error) {
	var out Batch
	_, err := s.update(ctx, a, func(o *op) (err error) {
		if err = may(o); err != nil {
			return err
		}
		if out, err = o.batch(in, action); err != nil {
			return err
		}
		return errDryRun
	})
	if errors.Is(err, errDryRun) {
		return out, nil
	}
	return Batch{}, err
}

func cleanBatch(bad *FieldErrors, in NewBatch) batchAction {
	action, known := batchActions[in.Action]
	switch {
	case in.Action == "":
		bad.Add("action", FieldRequired, "is required, one of %s", strings.Join(BatchActions(), ", "))
	case !known:
		bad.Add("action", FieldFormat, "must be one of %s", strings.Join(BatchActions(), ", "))
	}
	switch {
	case len(in.IDs) == 0:
		bad.Add("ids", FieldRequired, "is required, 1 to %d ids of keys", MaxBatch)
	case len(in.IDs) > MaxBatch:
		bad.Add("ids", FieldTooMany, "has %d ids, at most %d are allowed", len(in.IDs), MaxBatch)
		return action
	}
	seen := make(map[string]bool, len(in.IDs))
	for i, id := range in.IDs {
		switch {
		case !idPattern.MatchString(id):
			bad.Add(indexed("ids", i), FieldFormat, "is not an id")
		case seen[id]:
			bad.Add(indexed("ids", i), FieldConflict, "is named twice")
		}
		seen[id] = true
	}
	return action
}

// batch relies on this: an operation that refuses has written nothing yet.
func (o *op) batch(in NewBatch, action batchAction) (Batch, error) {
	out := Batch{Action: in.Action, DryRun: in.DryRun, Items: make([]BatchItem, 0, len(in.IDs))}
	for _, id := range in.IDs {
		item := BatchItem{ID: id}
		shown, err := action.do(o, id)
		switch {
		case errors.As(err, &item.Refused):
		case err != nil:
			return Batch{}, err
		case shown != nil:
			item.Shown, item.Key = true, shown
			out.Revision = max(out.Revision, shown.Revision)
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}
