package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// copyKind is what a column holds, in every kind of database.
type copyKind string

const (
	copyText     copyKind = ""
	copyInt      copyKind = "int"
	copyFlag     copyKind = "flag" // a boolean, or 0 and 1
	copyFloat    copyKind = "float"
	copyBytes    copyKind = "bytes"
	copyTextNull copyKind = "text?"
)

// copyTable is a table that is copied whole, with the columns that all databases have.
type copyTable struct {
	name    string
	columns []string
	kinds   []copyKind
	// translate changes what a row says where the databases differ, nil for nothing.
	translate func(m *copyClocks, t *copyTable, row []any)
	// skip is a condition on rows that stay, "" for none.
	skip string
	// history: only databases with Dialect.History have it. Copied from one to another
	// whoever followed the one finds in the other what was revoked.
	history bool
}

// copyTables are in an order in which each refers to those before it. What is left
// out belongs to the database and not to what it holds: where it stands (state), the
// change log, who follows it.
var copyTables = []copyTable{
	table("customers", "id name enabled:flag generation:int created:int modified:int revision:int search"),
	table("microtenants", "customer_id id name enabled:flag generation:int created:int modified:int revision:int search"),
	table("roles", "id customer_id name description permissions predefined:flag created:int modified:int revision:int"),
	table("sources", "customer_id name owner rule max_role_id created:int modified:int synced:int synced_by revision:int"),
	table("keys", `id client_id name description customer_id microtenant_id role_id enabled:flag disabled_here:flag session_validity_ns:int
		expires_at:int allowed_cidrs labels source generation:int last_used:int last_used_address last_used_route created:int created_by
		modified:int modified_by revision:int search`),
	table("secrets", `key_id pos:int id verifier:bytes master_key_id hint created:int expires:int retired:int ends:int
		last_used:int last_used_address tried:int tried_address`),
	tallyTable(),
	table("sessions", "id key_id secret_id generation:int address issued:int expires:int ended:int end_reason"),
	table("signing_keys", "id algorithm public sealed:bytes master_key_id created:int sign_from:int sign_until:int expires:int"),
	table("idempotency", "owner key fingerprint:bytes result revision:int created:int"),
	table("audit", `id:int seq:int number:int at:int customer_id microtenant_id actor_kind actor_id actor_name address request_id
		action target_kind target_id target_name before:text? after:text? hash:bytes mac:bytes master_key_id`),
	table("audit_heads", "customer_id seq:int hash:bytes mac:bytes master_key_id trimmed_seq:int trimmed_hash:bytes trimmed_mac:bytes trimmed_master_key_id"),
	table("audit_root", "one:int appended:int trimmed:int unchained:int unchained_id:int since:int mac:bytes master_key_id"),
	preferenceTable(),
	table("key_calls", "key_id hour:int calls:int"),
	historyTable("tombstones", "kind parent id gone:flag bounds rev:int stamp:int at:int"),
	historyTable("replayed", "stamp:int kind id parent at:int"),
}

// copyTablesOf are those that each of some databases has.
func copyTablesOf(dialects ...*Dialect) (tables []*copyTable) {
	history := !slices.ContainsFunc(dialects, func(d *Dialect) bool { return !d.History })
	for i := range copyTables {
		if t := &copyTables[i]; history || !t.history {
			tables = append(tables, t)
		}
	}
	return tables
}

// table reads the columns of a table: each a name, and behind a colon what is no text.
func table(name, columns string) copyTable {
	t := copyTable{name: name}
	for _, c := range strings.Fields(columns) {
		column, kind, _ := strings.Cut(c, ":")
		t.columns, t.kinds = append(t.columns, column), append(t.kinds, copyKind(kind))
	}
	return t
}

func tallyTable() copyTable {
	t := table("tallies", `key_id source failures:float last_wall_ns:int last_boot last_since_ns:int lock_wall_ns:int lock_boot lock_since_ns:int
		locked_for_ns:int seen:bytes trusted_ns:int seq:int at:int tries:bytes`)
	t.translate = translateTally
	return t
}

func historyTable(name, columns string) copyTable {
	t := table(name, columns)
	t.history = true
	return t
}

func preferenceTable() copyTable {
	t := table("preferences", "owner name value")
	t.skip = "owner = '" + originOwner + "'"
	return t
}

// from is the table and the rows of it that are copied.
func (t *copyTable) from() string {
	if t.skip == "" {
		return t.name
	}
	return t.name + " WHERE NOT (" + t.skip + ")"
}

func (t *copyTable) column(name string) int { return slices.Index(t.columns, name) }

// count is how many rows there are.
func (t *copyTable) count(ctx context.Context, r *reader) (n int64, err error) {
	return n, r.row(ctx, []any{&n}, "SELECT count(*) FROM "+t.from())
}

// read hands each row to fn, which may keep it.
func (t *copyTable) read(ctx context.Context, r *reader, fn func(row []any) error) error {
	c, err := t.open(ctx, r)
	if err != nil {
		return err
	}
	for {
		row, err := c.next(ctx)
		if err == nil && row != nil {
			err = fn(row)
		}
		if err != nil || row == nil {
			if closeErr := c.close(ctx); err == nil {
				err = closeErr
			}
			return err
		}
	}
}

// copyCursor reads a table row by row.
type copyCursor struct {
	table *copyTable
	r     *reader
	rows  Rows
	dest  []any
}

func (t *copyTable) open(ctx context.Context, r *reader) (*copyCursor, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	rows, err := r.conn.Query(ctx, "SELECT "+strings.Join(t.columns, ", ")+" FROM "+t.from())
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	c := &copyCursor{table: t, r: r, rows: rows, dest: make([]any, len(t.columns))}
	for i, kind := range t.kinds {
		switch kind {
		case copyText:
			c.dest[i] = new(string)
		case copyInt:
			c.dest[i] = new(int64)
		case copyFlag:
			c.dest[i] = new(bool)
		case copyFloat:
			c.dest[i] = new(float64)
		default:
			c.dest[i] = new([]byte)
		}
	}
	return c, nil
}

// next is the next row as it is bound in any database, nil behind the last.
func (c *copyCursor) next(ctx context.Context) ([]any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // where the database is local nobody else looks
	}
	if !c.rows.Next() {
		if err := c.rows.Err(); err != nil {
			return nil, c.r.failed(ctx, err)
		}
		return nil, nil
	}
	for _, d := range c.dest {
		if b, ok := d.(*[]byte); ok {
			*b = nil // what was read last is the caller's
		}
	}
	if err := c.rows.Scan(c.dest...); err != nil {
		return nil, c.r.failed(ctx, err)
	}
	row := make([]any, len(c.dest))
	for i, d := range c.dest {
		switch v := d.(type) {
		case *string:
			row[i] = *v
		case *int64:
			row[i] = *v
		case *bool:
			row[i] = *v
		case *float64:
			row[i] = *v
		case *[]byte:
			switch {
			case *v == nil: // NULL
			case c.table.kinds[i] == copyTextNull:
				row[i] = string(*v)
			default:
				row[i] = *v
			}
		}
	}
	return row, nil
}

func (c *copyCursor) close(ctx context.Context) error {
	if err := c.rows.Close(); err != nil {
		return c.r.failed(ctx, err)
	}
	return nil
}

// Loader is a Conn that takes many rows faster than statements do.
type Loader interface {
	// Load inserts rows until next answers nil.
	Load(ctx context.Context, table string, columns []string, next func() ([]any, error)) (int64, error)
}

// write inserts rows until next answers nil, each as it comes.
func (t *copyTable) write(ctx context.Context, to *tx, next func() ([]any, error)) error {
	var read error // which is no error of this database
	rows := func() ([]any, error) {
		row, err := next()
		read = err
		return row, err
	}
	if l, ok := to.conn.(Loader); ok {
		if err := to.ready(ctx); err != nil {
			return err
		}
		_, err := l.Load(ctx, t.name, t.columns, rows)
		switch {
		case read != nil:
			return read
		case err != nil:
			return to.failed(ctx, err)
		}
		return nil
	}
	text := "INSERT INTO " + t.name + " (" + strings.Join(t.columns, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(t.columns)-1) + ")"
	for {
		row, err := rows()
		if err != nil || row == nil {
			return err
		}
		if err := to.exec(ctx, text, row...); err != nil {
			return err
		}
	}
}

// copySum is the sum of the hashes of rows, so that it does not depend on their order,
// which is each database's own. It tells a copy that differs by mistake; what
// somebody would change on purpose is for the audit trail's seals.
type copySum struct {
	rows int64
	sum  [4]uint64
	hash [sha256.Size]byte
	text []byte
}

func (s *copySum) add(row []any) {
	b := s.text[:0]
	for _, value := range row {
		switch v := value.(type) {
		case nil:
			b = append(b, 0)
		case string:
			b = append(binary.BigEndian.AppendUint64(append(b, 1), uint64(len(v))), v...)
		case []byte:
			b = append(binary.BigEndian.AppendUint64(append(b, 2), uint64(len(v))), v...)
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, 3), uint64(v))
		case float64:
			b = binary.BigEndian.AppendUint64(append(b, 4), math.Float64bits(v))
		case bool:
			n := byte(0)
			if v {
				n = 1
			}
			b = append(b, 5, n)
		}
	}
	s.text, s.hash = b, sha256.Sum256(b)
	s.rows++
	var carry uint64
	for i := range s.sum {
		s.sum[i], carry = bits.Add64(s.sum[i], binary.BigEndian.Uint64(s.hash[8*i:]), carry)
	}
}

// equal reports whether the same rows were added, in any order.
func (s *copySum) equal(other *copySum) bool { return s.rows == other.rows && s.sum == other.sum }

func (s *copySum) String() string {
	var b []byte
	for _, part := range append([]uint64{uint64(s.rows)}, s.sum[:]...) {
		b = binary.BigEndian.AppendUint64(b, part)
	}
	return hex.EncodeToString(b)
}
