package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// tx is the keystore.Tx of one write transaction. It checks every constraint
// before it writes anything, so that a function may go on after a conflict: what
// it was refused has left no trace.
type tx struct {
	reader
	// head is the newest revision when the transaction began.
	head keystore.Revision
	// headStamp is its mark, where revisions have one and the transaction has the turn.
	headStamp keystore.Stamp
	// beside: other writers are at work, see Dialect.BeginFree.
	beside bool
	seqs   seqs
	// masterKeyID is that used last, "" if there was none.
	masterKeyID string
	// stamp is the mark of this transaction's revision, 0 until it is drawn: see mark.
	stamp keystore.Stamp
	// stones are the tombstones that it writes.
	stones map[stoneName]noted
	// restored is not 0 while the database waits for an operator, see Restored.
	restored int64
	// sealer seals audit events, nil where none was named.
	sealer keystore.AuditSealer
	// trail is what the audit events of this transaction change besides.
	trail   trail
	changes []keystore.Change
	// referred are the references that were found: a source's list names one role and
	// one customer as often as it has keys. A change of anything but keys clears them.
	referred map[reference]bool
	// logged are the same: a source's list may change a hundred thousand keys at once.
	logged map[keystore.Change]bool
}

func (t *tx) begin(ctx context.Context) error {
	if t.beside {
		return nil
	}
	if t.dialect.DrawSeqs != "" {
		// Not with the statement that waited for the turn: so long a round trip says
		// little of the clock.
		sent, at := t.clock.Now(), Time{}
		err := t.row(ctx, []any{&t.head, &t.headStamp, &t.masterKeyID, &t.restored, &at.Now, &at.Era, &at.Began}, "SELECT head, stamp, master_key_id, restored, "+t.dialect.Time+" FROM state")
		if err == nil {
			t.observe(sent, t.clock.Now(), at)
		}
		return err
	}
	err := t.row(ctx, []any{&t.head, &t.masterKeyID, &t.seqs.newest}, "SELECT head, master_key_id, tally_seq FROM state")
	t.seqs.before = t.seqs.newest
	return err
}

// Key is the key with that id. Whoever has the turn reads it to write it again, as
// it is then: what others write about it beside, last uses, waits until that is done.
func (t *tx) Key(ctx context.Context, id string) (*keystore.Key, error) {
	if !t.beside {
		if err := t.lockKeys(ctx, id); err != nil {
			return nil, err
		}
	}
	return t.reader.Key(ctx, id)
}

// revision is what this transaction's changes will have.
func (t *tx) revision() keystore.Revision { return t.head + 1 }

// log notes a change, once.
func (t *tx) log(c keystore.Change) {
	if t.beside {
		t.outOfTurn()
		return
	}
	c.Revision = t.revision()
	if c.Kind != keystore.KindKey {
		clear(t.referred)
	}
	if t.logged == nil {
		t.logged = map[keystore.Change]bool{}
	}
	if !t.logged[c] {
		t.logged[c] = true
		t.changes = append(t.changes, c)
	}
}

// Head is the newest revision, this transaction's own included.
func (t *tx) Head(ctx context.Context) (keystore.Revision, error) {
	if t.beside {
		return t.reader.Head(ctx)
	}
	if err := t.usable(); err != nil {
		return 0, err
	}
	return t.newest(), nil
}

func (t *tx) newest() keystore.Revision {
	if len(t.changes) > 0 {
		return t.revision()
	}
	return t.head
}

// commit makes everything durable and reports the newest revision.
func (t *tx) commit(ctx context.Context) (keystore.Revision, error) {
	if err := t.usable(); err != nil {
		return 0, err
	}
	if err := t.storeTrail(ctx); err != nil {
		return 0, err
	}
	if err := t.storeChanges(ctx); err != nil {
		return 0, err
	}
	if err := t.storeStones(ctx); err != nil {
		return 0, err
	}
	if err := t.storeState(ctx); err != nil {
		return 0, err
	}
	if len(t.changes) > 0 && t.dialect.Announce != "" {
		if err := t.later(ctx, t.dialect.Announce); err != nil {
			return 0, err
		}
	}
	if err := t.ready(ctx); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	// From here on ctx must not matter: an interrupted commit would leave open
	// whether it took place.
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if _, err := t.conn.Exec(within, "COMMIT"); err != nil {
		return 0, t.failed(within, &commitError{err, t.revision(), t.stamp})
	}
	t.ended = true
	return t.newest(), nil
}

// storeChanges writes the change log.
func (t *tx) storeChanges(ctx context.Context) error {
	at := millis(t.now.Wall)
	for n, c := range t.changes {
		var err error
		if t.dialect.History {
			err = t.later(ctx, "INSERT INTO changes (rev, n, kind, id, client_id, customer_id, at, stamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
				c.Revision, n, string(c.Kind), c.ID, c.ClientID, c.CustomerID, at, t.mark())
		} else {
			err = t.later(ctx, "INSERT INTO changes (rev, n, kind, id, client_id, customer_id, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
				c.Revision, n, string(c.Kind), c.ID, c.ClientID, c.CustomerID, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// storeState moves where the database stands.
func (t *tx) storeState(ctx context.Context) error {
	switch counted := t.dialect.DrawSeqs == "" && t.seqs.newest != t.seqs.before; {
	case counted:
		return t.later(ctx, "UPDATE state SET head = ?, tally_seq = ?", t.newest(), t.seqs.newest)
	case len(t.changes) > 0 && t.dialect.History:
		return t.later(ctx, "UPDATE state SET head = ?, stamp = ?", t.newest(), t.mark())
	case len(t.changes) > 0:
		return t.later(ctx, "UPDATE state SET head = ?", t.newest())
	}
	return nil
}

// commitTimeout bounds how long a commit is waited for.
const commitTimeout = 30 * time.Second

// commitError is the driver's answer to a commit: whether it took place is not
// known where the connection was lost. Its revision is stored just if it has this stamp;
// without one there is none, or none can be told from another's.
type commitError struct {
	err      error
	revision keystore.Revision
	stamp    keystore.Stamp
}

func (e *commitError) Error() string { return "commit: " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// InDoubt reports an error of a commit.
func InDoubt(err error) bool {
	var c *commitError
	return errors.As(err, &c)
}

// errTurn: a transaction beside others came to what only the one whose turn it is
// may do.
var errTurn = errors.New("a change is for the writer whose turn it is")

// outOfTurn makes this transaction fail, to be run again in turn.
func (t *tx) outOfTurn() {
	if t.err == nil {
		t.err = errTurn
	}
}

// lockKeys takes keys (see Dialect.LockKeys): what hangs on them, other than by a
// change, is then this transaction's alone to write.
func (t *tx) lockKeys(ctx context.Context, ids ...string) error {
	if t.dialect.LockKeys == "" || len(ids) == 0 {
		return nil
	}
	wanted, err := t.dialect.List(ids)
	if err != nil {
		return err
	}
	return t.exec(ctx, t.dialect.LockKeys, wanted)
}

// clientID is the client ID of a key.
func (t *tx) clientID(ctx context.Context, keyID string) (string, error) {
	var id string
	err := t.row(ctx, []any{&id}, "SELECT client_id FROM keys WHERE id = ?", keyID)
	return id, err
}

// require answers ErrNotFound about a field unless the statement finds a row.
func (t *tx) require(ctx context.Context, name, text string, args ...any) error {
	found, err := t.exists(ctx, text, args...)
	if err == nil && !found {
		return field(name, keystore.ErrNotFound)
	}
	return err
}

// reference is a statement that finds what a record refers to, and its arguments.
type reference struct {
	text string
	args [2]string
}

// refer is require for what many records of one transaction refer to: what was found
// is not asked for again.
func (t *tx) refer(ctx context.Context, name, text string, args ...string) error {
	r, values := reference{text: text}, make([]any, len(args))
	for i, arg := range args {
		r.args[i], values[i] = arg, arg
	}
	if t.referred[r] {
		return nil
	}
	if err := t.require(ctx, name, text, values...); err != nil {
		return err
	}
	if t.referred == nil {
		t.referred = map[reference]bool{}
	}
	t.referred[r] = true
	return nil
}

// refuse answers sentinel about a field if the statement finds a row.
func (t *tx) refuse(ctx context.Context, sentinel error, name, text string, args ...any) error {
	found, err := t.exists(ctx, text, args...)
	if err == nil && found {
		return field(name, sentinel)
	}
	return err
}

// one changes or deletes one record, which must be there.
func (t *tx) one(ctx context.Context, text string, args ...any) error {
	n, err := t.affect(ctx, text, args...)
	if err == nil && n == 0 {
		return keystore.ErrNotFound
	}
	return err
}

// field says which field a sentinel is about; other errors stay as they are.
func field(name string, err error) error {
	for _, sentinel := range []error{keystore.ErrNotFound, keystore.ErrConflict, keystore.ErrInUse} {
		if errors.Is(err, sentinel) {
			return &keystore.FieldError{Field: name, Err: sentinel}
		}
	}
	return err
}

// missing is a record put without what names it: a mistake of the caller.
func missing(name string) error { return fmt.Errorf("record without %s", name) }
