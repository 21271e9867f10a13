package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyreeve/keyreeve/keystore"
)

// Moving house: everything that one store holds, written into another, of the same kind
// or not.
//
// What is read is one snapshot, and what is written is one transaction: it is read
// back and held against the snapshot before it is committed, so that a target holds
// nothing or all of it, whenever the process dies. Both stores must be used by nobody:
// what is written to the source behind the snapshot would be lost, and a gate that
// decides by the target meanwhile would know none of the keys. That no admin write came
// between is made sure of at the end.
//
// The source's name (StoreID) goes with it, as tokens name it. Its change log does
// not: it begins anew past every revision of the source, so that whoever followed the
// source reads everything anew, and never thinks that the store went back.

// CopyOptions say how a store is copied.
type CopyOptions struct {
	// Sealer is what the seals of the audit trail are checked with. nil: only that its
	// events follow on one another.
	Sealer keystore.AuditSealer
	// AnyTrail copies a trail that does not verify as it is.
	AnyTrail bool
	// Progress hears how far it is, often, from one goroutine. May be nil.
	Progress func(CopyProgress)
}

// The steps of a copy.
const (
	CopyRows   = "copy"
	CopyVerify = "verify" // what was written is read back
	CopyTrail  = "audit"  // the audit trail is followed
)

// CopyProgress is how far a copy is.
type CopyProgress struct {
	Step string
	// Table is the one at work, and TableDone that it is finished; "" for the audit trail.
	Table     string
	TableDone bool
	// Done of Total rows of this step, in all tables; audit events in the last.
	Done, Total int64
}

// CopyReport is what was copied.
type CopyReport struct {
	From    string `json:"from"`
	To      string `json:"to"`
	StoreID string `json:"store_id"`
	// Source is where the source stood, and Revision where the target does.
	Source   keystore.Revision `json:"source_revision"`
	Revision keystore.Revision `json:"revision"`
	Rows     int64             `json:"rows"`
	Tables   []CopiedTable     `json:"tables"`
	// Locks are those in force.
	Locks int        `json:"locks"`
	Audit TrailProof `json:"audit"`
	// Again: the target held an earlier copy that nobody had used, which this one replaced.
	Again bool `json:"replaced_earlier_copy"`
}

// CopiedTable is how many rows a table has.
type CopiedTable struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
}

// SQL is the store itself, for what concerns all stores in SQL: see keystore.As.
func (s *Store) SQL() *Store { return s }

// Copy writes everything that is in from to another store, which must be empty or
// hold an earlier copy of the same store that nobody has used since. What is refused,
// fails or is interrupted leaves the target as it was.
func Copy(ctx context.Context, from, to keystore.Store, o CopyOptions) (report CopyReport, err error) {
	source, ok := keystore.As[interface{ SQL() *Store }](from)
	target, ok2 := keystore.As[interface{ SQL() *Store }](to)
	if !ok || !ok2 {
		return report, errors.New("only stores in SQL can be copied")
	}
	if report.From, report.To = from.Identity(), to.Identity(); report.From == report.To {
		return report, fmt.Errorf("the source and the target are one store, %s", report.From)
	}
	if o.Progress == nil {
		o.Progress = func(CopyProgress) {}
	}
	for name, s := range map[string]keystore.Store{"source": from, "target": to} {
		release, err := hold(ctx, s)
		if err != nil {
			return report, fmt.Errorf("the %s %s: %w", name, s.Identity(), err)
		}
		defer func() { _ = release() }() // ends with the process at the latest
	}
	err = source.SQL().view(ctx, func(r *reader) error {
		_, err := target.SQL().update(ctx, func(t *tx) error { // which begins anew where the connection is lost
			report = CopyReport{From: report.From, To: report.To}
			c := &copying{from: r, to: t, tables: copyTablesOf(r.dialect, t.dialect), o: o, report: &report,
				unchanged: func() error { return unchanged(ctx, from, to, report.Source) }}
			return c.run(ctx)
		})
		return err
	})
	return report, err
}

// copying is one copy at work.
type copying struct {
	from      *reader
	to        *tx
	tables    []*copyTable
	o         CopyOptions
	report    *CopyReport
	unchanged func() error

	clocks copyClocks
	sums   []copySum // of the tables, as they are written
	done   int64
}

func (c *copying) run(ctx context.Context) error {
	for _, r := range []*reader{c.from, &c.to.reader} {
		if r.dialect.Unhurried != "" {
			if err := r.exec(ctx, r.dialect.Unhurried); err != nil {
				return err
			}
		}
	}
	if err := c.to.mayFill(ctx); err != nil {
		return err
	}
	if err := c.source(ctx); err != nil {
		return fmt.Errorf("reading the source: %w", err)
	}
	earlier, err := c.to.earlierCopy(ctx, c.report.StoreID)
	if err != nil {
		return err
	}
	c.report.Again = earlier
	if err := c.rows(ctx); err != nil {
		return err
	}
	if err := c.verify(ctx); err != nil {
		return err
	}
	proof, err := proveTrail(ctx, c.to, c.o.Sealer, func(events int64) {
		c.o.Progress(CopyProgress{Step: CopyTrail, Done: events, Total: c.rowsOf("audit")})
	})
	if err != nil {
		return err
	}
	// The copy is the source's rows: what is wrong with it was wrong before.
	if c.report.Audit = proof; proof.Problem != "" && !c.o.AnyTrail {
		return fmt.Errorf("the audit trail of the source is not proved, so nothing was stored: %s", proof.Problem)
	}
	if err := c.stand(ctx); err != nil {
		return err
	}
	return c.unchanged()
}

// source reads where the source stands.
func (c *copying) source(ctx context.Context) error {
	// Both are local, and name one boot, where they have one clock.
	same := c.from.dialect.Local && c.to.dialect.Local && c.from.now.Boot == c.to.now.Boot
	c.clocks = copyClocks{from: c.from.now, to: c.to.now, same: same}
	if err := c.from.row(ctx, []any{&c.report.Source, &c.report.StoreID}, "SELECT head, store_id FROM state"); err != nil {
		return err
	}
	restored, err := c.from.Restored(ctx)
	switch {
	case err != nil:
		return err
	case restored != nil:
		return errors.New("the source went back to an older state that nobody has accepted yet: see `keyreeve node accept-restore`")
	}
	for _, t := range c.tables {
		n, err := t.count(ctx, c.from)
		if err != nil {
			return err
		}
		c.report.Tables = append(c.report.Tables, CopiedTable{Name: t.name, Rows: n})
		c.report.Rows += n
	}
	return nil
}

func (c *copying) rowsOf(table string) int64 {
	for _, t := range c.report.Tables {
		if t.Name == table {
			return t.Rows
		}
	}
	return 0
}

// rows writes all rows in place of what the target holds.
func (c *copying) rows(ctx context.Context) error {
	if err := c.to.empty(ctx); err != nil {
		return err
	}
	c.sums = make([]copySum, len(c.tables))
	for i, t := range c.tables {
		cursor, err := t.open(ctx, c.from)
		if err != nil {
			return fmt.Errorf("reading %s of the source: %w", t.name, err)
		}
		err = t.write(ctx, c.to, func() ([]any, error) {
			row, err := cursor.next(ctx)
			if err != nil {
				return nil, fmt.Errorf("reading the source: %w", err)
			}
			if row == nil {
				return nil, nil
			}
			if t.translate != nil {
				t.translate(&c.clocks, t, row)
			}
			c.sums[i].add(row)
			c.step(CopyRows, t)
			return row, nil
		})
		if closeErr := cursor.close(ctx); err == nil {
			err = closeErr
		}
		if err != nil {
			return fmt.Errorf("copying %s: %w", t.name, err)
		}
		c.o.Progress(CopyProgress{Step: CopyRows, Table: t.name, TableDone: true, Done: c.done, Total: c.report.Rows})
	}
	c.report.Locks = c.clocks.locks
	return nil
}

// progressEvery is how many rows lie between two words of progress.
const progressEvery = 1000

func (c *copying) step(step string, t *copyTable) {
	if c.done++; c.done%progressEvery == 0 {
		c.o.Progress(CopyProgress{Step: step, Table: t.name, Done: c.done, Total: c.report.Rows})
	}
}

// verify reads back what was written.
func (c *copying) verify(ctx context.Context) error {
	c.done = 0
	for i, t := range c.tables {
		read := copySum{}
		err := t.read(ctx, &c.to.reader, func(row []any) error {
			read.add(row)
			c.step(CopyVerify, t)
			return nil
		})
		switch {
		case err != nil:
			return fmt.Errorf("reading back %s: %w", t.name, err)
		case c.sums[i].rows != c.report.Tables[i].Rows:
			return fmt.Errorf("%s: %d rows were counted and %d read", t.name, c.report.Tables[i].Rows, c.sums[i].rows)
		case !read.equal(&c.sums[i]):
			return fmt.Errorf("%s: what the target holds is not what was written to it (%d rows of %d)", t.name, read.rows, c.sums[i].rows)
		}
		c.o.Progress(CopyProgress{Step: CopyVerify, Table: t.name, TableDone: true, Done: c.done, Total: c.report.Rows})
	}
	return nil
}

// stand says where the target stands: past every revision of the source and its own,
// with a change log that begins there; and that it is a copy.
func (c *copying) stand(ctx context.Context) error {
	var masterKeyID string
	if err := c.from.row(ctx, []any{&masterKeyID}, "SELECT master_key_id FROM state"); err != nil {
		return err
	}
	t := c.to
	t.head = max(t.head, c.report.Source)
	err := t.exec(ctx, "UPDATE state SET head = ?, trimmed = ?, master_key_id = ?, store_id = ?", t.head, t.head, masterKeyID, c.report.StoreID)
	if err != nil {
		return err
	}
	if err := c.counters(ctx); err != nil {
		return err
	}
	if err := c.join(ctx); err != nil {
		return err
	}
	if err := c.mark(ctx); err != nil {
		return err
	}
	// A revision of its own: no follower of the source has seen it.
	t.log(keystore.Change{Kind: keystore.KindRole, ID: keystore.RoleReadOnly})
	c.report.Revision = t.revision()
	return nil
}

// join writes the mark of the source's newest revision, as trimming leaves it, where
// both have History: whoever stands there finds that what follows follows on it.
func (c *copying) join(ctx context.Context) error {
	if !c.from.dialect.History || !c.to.dialect.History {
		return nil
	}
	stamp, err := c.from.StampAt(ctx, c.report.Source)
	switch {
	case errors.Is(err, keystore.ErrBehind) || stamp == 0:
		return nil // there was none
	case err != nil:
		return err
	}
	return c.to.exec(ctx, "INSERT INTO changes (rev, n, kind, id, client_id, customer_id, at, stamp) VALUES (?, 0, ?, ?, '', '', ?, ?)",
		c.report.Source, string(keystore.KindRole), keystore.RoleReadOnly, millis(c.to.now.Wall), stamp)
}

// counters go on where the source's are: what followed its counts sees later ones.
func (c *copying) counters(ctx context.Context) error {
	newest := int64(0)
	text := c.from.dialect.SeqsDrawn
	if text == "" {
		text = "SELECT tally_seq FROM state"
	}
	if err := c.from.row(ctx, []any{&newest}, text); err != nil {
		return fmt.Errorf("reading how far the source has counted: %w", err)
	}
	t := c.to
	if t.dialect.DrawSeqs == "" {
		t.seqs.newest = max(t.seqs.newest, newest)
	} else if err := t.moved(ctx, t.dialect.SeqsDrawn, t.dialect.MoveSeqs, newest); err != nil {
		return err
	}
	if t.dialect.MoveAuditIDs == "" {
		return nil // counted by the rows that are there
	}
	return t.moved(ctx, "SELECT coalesce(max(id), 0) FROM audit", t.dialect.MoveAuditIDs, 0)
}

// moved moves a counter forward: to what a statement reads, or the least.
func (t *tx) moved(ctx context.Context, read, move string, least int64) error {
	var to, now int64
	if err := t.row(ctx, []any{&to}, read); err != nil {
		return err
	}
	if to = max(to, least); to < 1 {
		return nil
	}
	return t.row(ctx, []any{&now}, move, to)
}
