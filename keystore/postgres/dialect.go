package postgres

import (
	"strings"
	"sync"

	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

const (
	// writerLock is the advisory lock of who writes changes ("KEYREEVE" in ASCII, as
	// others in the database may have locks of their own). It is taken before anything
	// is read and kept until the commit is over, so that revisions appear in their
	// order and without gaps.
	writerLock = "5423839536121992773"
	// migrationLock is that of who makes or migrates the schema, a session's.
	migrationLock = "5423839536121992774"
)

// timeColumns of state read a sqlstore.Time.
const timeColumns = "keyreeve_now(), clock_era, era_began"

// dialect is PostgreSQL's, of version 13 and newer.
//
// Beside others a writer waits for no row longer than lock_timeout. That is less
// than the server's deadlock_timeout (1 s by default): where the one whose turn it
// is and another wait for each other, the other gives up before the server looks
// who of them has to. It must be so, for the turn costs more to run again.
var dialect = sqlstore.Dialect{
	BeginRead:  "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT " + timeColumns + " FROM state",
	BeginWrite: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock(" + writerLock + ")",
	BeginFree:  "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '250ms'; SELECT " + timeColumns + " FROM state",
	Time:       timeColumns,

	Each:       "SELECT unnest(CAST(? AS TEXT[]))",
	List:       func(values []string) (any, error) { return list(values), nil },
	Contains:   "strpos",
	Label:      labels + ")",
	LabelValue: labels + " AND l.value = ?)",
	KeyRow:     "k.id",

	LockKeys: "SELECT id FROM keys WHERE id IN (SELECT unnest(CAST(? AS TEXT[]))) ORDER BY id FOR NO KEY UPDATE",
	DrawSeqs: "SELECT nextval('tally_seqs') FROM generate_series(1, CAST(? AS INTEGER)) ORDER BY 1",

	Announce:     "SELECT pg_notify('" + channel + "', '')",
	Ledger:       "counted",
	TallyStamp:   ", written = excluded.written",
	TallyWritten: "written",
	Horizon:      "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint",

	History:  true,
	Distrust: []string{distrustNodes, unknownNodes},
	Moved:    movedTallies,
	Registry: true,

	Unhurried:    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0",
	SeqsDrawn:    "SELECT coalesce(pg_sequence_last_value('tally_seqs'), 0)", // which takes USAGE, as drawing does
	MoveSeqs:     "SELECT setval('tally_seqs', ?)",
	MoveAuditIDs: "SELECT setval(pg_get_serial_sequence('audit', 'id'), ?)",
	FillLacks: `SELECT 'UPDATE on the sequence ' || s FROM unnest(ARRAY['tally_seqs', pg_get_serial_sequence('audit', 'id')]) AS t (s)
		WHERE NOT has_sequence_privilege(CAST(s AS regclass), 'UPDATE')`,
}

// Who follows the database follows it still, by leases that were renewed after the state
// that was restored, and that may be longer than the row says; and there may be nodes
// that were not there by then. So the nodes are taken for serving for as long as the
// longest lease that is known of: those that there are, until they renew, and one for
// those that nobody knows, which is there from an earlier time, or made.
const (
	distrustNodes = `UPDATE nodes SET position = 0, renewed_ns = keyreeve_now(), era = s.clock_era,
		lease_ns = greatest((SELECT max(lease_ns) FROM nodes), CAST(?1 AS BIGINT)) FROM state s`
	unknownNodes = `INSERT INTO nodes (id, token, turn, name, version, started, position, renewed_ns, era, lease_ns, max_stale_ns, stopped)
	SELECT 'restore', '', 0, '(nodes that the restored database does not know)', '', keyreeve_now() / 1000000, 0, keyreeve_now(), clock_era,
		greatest((SELECT max(lease_ns) FROM nodes), CAST(?1 AS BIGINT)), greatest((SELECT max(max_stale_ns) FROM nodes), 0), true
	FROM state ON CONFLICT (id) DO NOTHING`
	// No transaction that is seen is as new as the next that will begin.
	movedTallies = "UPDATE tallies SET written = 0 WHERE written >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
)

const labels = "EXISTS (SELECT 1 FROM json_each_text(CAST(nullif(k.labels, '') AS json)) l WHERE l.key = ?"

// list is text to be bound as one array.
func list(values []string) []string {
	if values == nil {
		return []string{}
	}
	return values
}

// numbered are statements whose ? have become $1, $2, …, by their text.
var numbered sync.Map

// number is a constant statement with its parameters as PostgreSQL has them.
func number(text string) string {
	if found, ok := numbered.Load(text); ok {
		return found.(string)
	}
	rewritten := rewrite(text)
	numbered.Store(text, rewritten)
	return rewritten
}

// rewrite numbers parameters: ?2 is the second argument, each ? the next one. What
// is quoted stays.
func rewrite(text string) string {
	if !strings.Contains(text, "?") {
		return text
	}
	var b strings.Builder
	b.Grow(len(text) + 16)
	quoted, next := false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'':
			quoted = !quoted
			b.WriteByte(c)
		case c == '?' && !quoted:
			b.WriteByte('$')
			if i+1 < len(text) && '1' <= text[i+1] && text[i+1] <= '9' {
				continue // the number follows
			}
			next++
			writeInt(&b, next)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func writeInt(b *strings.Builder, n int) {
	if n >= 10 {
		writeInt(b, n/10)
	}
	b.WriteByte(byte('0' + n%10))
}
