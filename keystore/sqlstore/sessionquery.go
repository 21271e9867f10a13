package sqlstore

import (
	"context"
	"errors"

	"github.com/keyreeve/keyreeve/keystore"
)

const (
	// sessionsAndKeys names the records that say whether a session still goes on.
	sessionsAndKeys = `sessions s JOIN keys k ON k.id = s.key_id JOIN customers cu ON cu.id = k.customer_id
		LEFT JOIN microtenants mt ON mt.customer_id = k.customer_id AND mt.id = k.microtenant_id`
	// currentSession holds for a session of the present generation (see
	// keystore.SessionGeneration) whose secret is live at the bound time:
	// keystore.Session.Current in SQL.
	currentSession = `(s.generation = k.generation + cu.generation + coalesce(mt.generation, 0) AND EXISTS (SELECT 1 FROM secrets c
		WHERE c.key_id = s.key_id AND c.id = s.secret_id AND c.retired = 0 AND (c.expires = 0 OR c.expires > ?)))`
)

// ListSessions lists one page of the matching sessions and counts them all.
func (r *reader) ListSessions(ctx context.Context, q keystore.SessionQuery) ([]*keystore.Session, int, error) {
	match, err := r.sessionConditions(q)
	if err != nil {
		return nil, 0, err
	}
	return page(ctx, r, listing{
		columns: "s.id, s.key_id, s.secret_id, s.address, s.issued, s.expires, s.ended, s.end_reason",
		from:    sessionsAndKeys, match: match,
		order: []orderColumn{{column: "s.issued", desc: true, number: true}, {column: "s.id", desc: true}},
	}, place{after: q.After, offset: q.Offset, limit: q.Limit}, scanSession)
}

func (r *reader) sessionConditions(q keystore.SessionQuery) (conditions, error) {
	var c conditions
	if q.CustomerID == "" && !q.AllCustomers {
		return c, errors.New("a session query must name its customer or ask for all")
	}
	c.equal("s.key_id", q.KeyID)
	c.equal("k.customer_id", q.CustomerID)
	c.equal("k.microtenant_id", q.MicrotenantID)
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
