package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/keyreeve/keyreeve/keystore"
)

// currentSession holds for a session of its key's present generation whose secret
// is live at the bound time: keystore.Session.Current in SQL.
const currentSession = `(s.generation = k.generation AND EXISTS (SELECT 1 FROM secrets c
	WHERE c.key_id = s.key_id AND c.id = s.secret_id AND c.retired = 0 AND (c.expires = 0 OR c.expires > ?)))`

// ListSessions lists one page of the matching sessions and counts them all.
func (r *reader) ListSessions(ctx context.Context, q keystore.SessionQuery) ([]*keystore.Session, int, error) {
	match, err := r.sessionConditions(q)
	if err == nil {
		err = r.usable()
	}
	if err != nil {
		return nil, 0, err
	}
	const from = "FROM sessions s JOIN keys k ON k.id = s.key_id"
	rows, err := r.conn.c.QueryContext(ctx, "SELECT count(*) "+from+match.where(), match.args...)
	if err != nil {
		return nil, 0, r.failed(ctx, err)
	}
	counted, err := drain(ctx, r, rows, func(scan scanner) (n int, err error) { return n, scan(&n) })
	if err != nil {
		return nil, 0, err
	}
	total := counted[0]
	if q.Limit <= 0 || total == 0 {
		return nil, total, nil
	}
	offset := max(0, q.Offset)
	if q.After != nil {
		issued, err := strconv.ParseInt(q.After.Value, 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("cursor of a list of sessions: expected Unix milliseconds, got %q", q.After.Value)
		}
		match.add("(s.issued, s.id) < (?, ?)", issued, q.After.ID)
		offset = 0
	}
	rows, err = r.conn.c.QueryContext(ctx, `SELECT s.id, s.key_id, s.secret_id, s.address, s.issued, s.expires, s.ended, s.end_reason `+
		from+match.where()+" ORDER BY s.issued DESC, s.id DESC LIMIT ? OFFSET ?", append(match.args, q.Limit, offset)...)
	if err != nil {
		return nil, 0, r.failed(ctx, err)
	}
	sessions, err := drain(ctx, r, rows, scanSession)
	return sessions, total, err
}

func (r *reader) sessionConditions(q keystore.SessionQuery) (conditions, error) {
	var c conditions
	if q.CustomerID == "" && !q.AllCustomers {
		return c, errors.New("a session query must name its customer or ask for all")
	}
	for _, f := range []struct{ column, value string }{
		{"s.key_id", q.KeyID}, {"k.customer_id", q.CustomerID}, {"k.microtenant_id", q.MicrotenantID},
	} {
		if f.value != "" {
			c.add(f.column+" = ?", f.value)
		}
	}
	now := millis(r.now.Wall)
	switch q.State {
	case keystore.SessionActive:
		c.add("s.ended = 0 AND s.expires > ? AND "+currentSession, now, now)
	case keystore.SessionEnded:
		c.add("(s.ended > 0 OR s.expires > ? AND NOT "+currentSession+")", now, now)
	case keystore.SessionExpired:
		c.add("s.ended = 0 AND s.expires <= ?", now)
	}
	return c, keystore.CheckSessionState(q.State)
}

// Locks lists one page of the locks in force and counts them all. Whether a lock
// is still in force is for package policy to say, so every row is looked at; only
// the page is kept.
func (r *reader) Locks(ctx context.Context, q keystore.LockQuery) ([]keystore.Lock, int, error) {
	if q.CustomerID == "" && !q.AllCustomers {
		return nil, 0, errors.New("a lock query must name its customer or ask for all")
	}
	var page []keystore.Lock
	total := 0
	read := func(scan scanner) (struct{}, error) {
		l, err := scanLock(scan)
		if err != nil || l.Remaining(r.now) == 0 {
			return struct{}{}, err
		}
		total++
		wanted := total > q.Offset
		if q.After != nil {
			wanted = l.Behind(*q.After)
		}
		if wanted && len(page) < q.Limit {
			page = append(page, l)
		}
		return struct{}{}, nil
	}
	_, err := list(ctx, r, read, `SELECT `+lockColumns+` FROM tallies t
		JOIN (SELECT id, name, client_id, customer_id, microtenant_id FROM keys) k ON k.id = t.key_id
		WHERE t.locked_for_ns > 0 AND ? IN ('', k.customer_id) AND ? IN ('', k.microtenant_id)
		ORDER BY k.name, t.key_id, t.source`, q.CustomerID, q.MicrotenantID)
	if err != nil {
		return nil, 0, err
	}
	return page, total, nil
}

const lockColumns = "k.name, k.client_id, k.customer_id, k.microtenant_id, " + tallyColumns

func scanLock(scan scanner) (keystore.Lock, error) {
	var l keystore.Lock
	tally, err := scanTally(func(dest ...any) error {
		return scan(append([]any{&l.KeyName, &l.ClientID, &l.CustomerID, &l.MicrotenantID}, dest...)...)
	})
	l.Tally = tally
	return l, err
}
