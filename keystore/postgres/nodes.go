package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
	"github.com/keyreeve/keyreeve/policy"
)

// nodeMemory is how long the row of a node is kept that has been fenced.
const nodeMemory = 7 * 24 * time.Hour

// registry is what this process knows of its own row. A statement may be carried out
// long after who sent it gave it up, behind later ones of the same process or of the one
// that was started after it. So a row takes a renewal only from the process that has it,
// known by a token, and with a higher turn than the last.
type registry struct {
	mu    sync.Mutex // held by who renews
	token string
	turn  int64
	// owned is the id of the node whose row this process has had.
	owned string
	// longest is the longest lease that was found in a row, in ns. It never becomes
	// shorter: a row that shows no more may be one that was lost with the database.
	longest atomic.Int64
}

// found notes the lease of a row.
func (r *registry) found(lease int64) {
	for was := r.longest.Load(); lease > was && !r.longest.CompareAndSwap(was, lease); was = r.longest.Load() {
	}
}

// LongestLease is the longest lease that this process has found in the registry.
func (s *Store) LongestLease() time.Duration { return time.Duration(s.registry.longest.Load()) }

func newRegistry() registry { return registry{token: rand.Text()} }

// renewNode makes the row or renews it. What was confirmed stays: it is raised by
// Confirm alone, once the history of this database was followed.
const renewNode = `INSERT INTO nodes AS n (id, token, turn, name, version, started, position, renewed_ns, era, lease_ns, max_stale_ns, stopped, boot)
	SELECT ?1, ?2, ?3, ?4, ?5, ?6, 0, keyreeve_now(), clock_era, ?7, ?8, ?9, ?10 FROM state
	ON CONFLICT (id) DO UPDATE SET turn = excluded.turn, name = excluded.name, version = excluded.version, started = excluded.started,
		renewed_ns = excluded.renewed_ns, era = excluded.era, lease_ns = excluded.lease_ns, max_stale_ns = excluded.max_stale_ns,
		stopped = excluded.stopped, boot = excluded.boot
	WHERE n.token = excluded.token AND n.turn < excluded.turn
	RETURNING renewed_ns, era, (SELECT coalesce(max(lease_ns), 0) FROM nodes)`

// takeNode takes the row over from the process that had it, if nobody else did so since.
// What that one had confirmed this one has yet to. With ?13 the row as it was stays too,
// as a remnant, which nobody renews and for which nobody confirms.
const takeNode = `WITH had AS (
	SELECT * FROM nodes WHERE id = ?1 AND token = ?11 AND turn = ?12 FOR UPDATE
), taken AS (
	UPDATE nodes SET token = ?2, turn = ?3, name = ?4, version = ?5, started = ?6, position = 0,
		renewed_ns = keyreeve_now(), era = s.clock_era, lease_ns = ?7, max_stale_ns = ?8, stopped = ?9, boot = ?10
	FROM state s, had WHERE nodes.id = had.id
	RETURNING nodes.renewed_ns, nodes.era
), remnant AS (
	INSERT INTO nodes (id, token, turn, name, version, started, position, renewed_ns, era, lease_ns, max_stale_ns, stopped)
	SELECT had.id || '` + sqlstore.RemnantMark + `' || had.token, had.token, had.turn, had.name, had.version, had.started, had.position,
		had.renewed_ns, had.era, had.lease_ns, had.max_stale_ns, had.stopped FROM had, taken WHERE CAST(?13 AS BOOLEAN)
	ON CONFLICT (id) DO UPDATE SET position = excluded.position, renewed_ns = excluded.renewed_ns, era = excluded.era,
		lease_ns = excluded.lease_ns, max_stale_ns = excluded.max_stale_ns
) SELECT renewed_ns, era, (SELECT max(lease_ns) FROM nodes) FROM taken`

// confirmNode is committed without waiting for the disk, of which set_config with true
// tells this one transaction. A position that the database does not have, or with another
// mark, is of a history that it does not have either.
const confirmNode = `UPDATE nodes SET position = ?3 FROM (SELECT set_config('synchronous_commit', 'off', true) AS commit) AS soon
	WHERE soon.commit = 'off' AND id = ?1 AND token = ?2 AND position < ?3 AND ?4 = (SELECT stamp FROM changes WHERE rev = ?3 ORDER BY n LIMIT 1)`

// listNodes reads all nodes, and the clock no later than them: a node seems rather less
// long without a renewal than it is.
const listNodes = "WITH t AS MATERIALIZED (SELECT keyreeve_now() AS now) " + sqlstore.SelectNodes + ", t.now FROM t, state s, nodes n"

// Renew makes or renews a node's row. keystore.ErrReplaced while another process has it
// that was started later.
func (s *Store) Renew(ctx context.Context, n keystore.Registration) error {
	r := &s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn++
	args := []any{n.ID, r.token, r.turn, n.Name, n.Version, n.Started.UnixMilli(), int64(n.Lease), int64(n.MaxStale), n.Stopped, n.Boot}
	return s.using(ctx, func(c *conn) error {
		c.warning = ""
		renewed, err := s.renewed(ctx, c, renewNode, args)
		if err == nil && !renewed {
			err = s.takeOver(ctx, c, &n, args)
		}
		if err == nil && c.warning != "" {
			err = fmt.Errorf("%w: %s", errWarned, c.warning)
		}
		if err != nil {
			return err
		}
		r.owned = n.ID
		return s.keep(ctx, c)
	})
}

// renewed runs a statement that answers the time where it found a row.
func (s *Store) renewed(ctx context.Context, c *conn, text string, args []any) (bool, error) {
	sent := s.timeline.clock.Now()
	found, err := c.Query(ctx, text, args...)
	if err != nil {
		return false, err
	}
	var at, era, longest int64
	renewed := found.Next()
	if renewed {
		err = found.Scan(&at, &era, &longest)
		s.registry.found(longest)
	}
	if closeErr := found.Close(); err == nil {
		err = closeErr
	}
	if err == nil && renewed {
		// What it says is seen to by whoever follows the log next. A row with a time that
		// is wrong by then is of an era that has ended, and counts from that end.
		s.observe(sent, s.timeline.clock.Now(), time.Unix(0, at), era)
	}
	return renewed, err
}

// takeOver takes a row that another process has had. Whoever is started from a node's
// snapshot is that node, and the process that wrote it is gone, which the lock beside the
// snapshot proves within one boot of a machine, and its having stopped or being fenced
// anywhere. Else it may serve on, as where a volume went to another machine: then a
// remnant of it stays, and writers wait for that as for any node. One that finds its row
// taken from it is not the node any more, and waits until whoever is it now is fenced.
func (s *Store) takeOver(ctx context.Context, c *conn, r *keystore.Registration, args []any) error {
	found, err := s.readNodes(ctx, c, listNodes+" WHERE n.id = ?", r.ID)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("%w: the node was taken out as it renewed", sqlstore.ErrAgain)
	}
	n := &found[0]
	if s.registry.owned == r.ID && n.Token != s.registry.token && !n.Fenced() {
		return keystore.ErrReplaced
	}
	s.registry.turn = max(s.registry.turn, n.Turn) + 1
	args[2] = s.registry.turn
	gone := n.Token == s.registry.token || n.Stopped || n.Fenced() || r.Boot != "" && r.Boot == n.Boot
	taken, err := s.renewed(ctx, c, takeNode, append(args, n.Token, n.Turn, !gone))
	if err == nil && !taken {
		err = fmt.Errorf("%w: another process renewed the node at the same time", sqlstore.ErrAgain)
	}
	return err
}

// keep stores how this machine's clock stands to the database's.
func (s *Store) keep(ctx context.Context, c *conn) error {
	text, args, ok := s.keeping()
	if !ok {
		return nil
	}
	_, err := c.Exec(ctx, text, args...)
	return err
}

// Confirm raises what a node has confirmed.
func (s *Store) Confirm(ctx context.Context, nodeID string, r keystore.Revision, seen keystore.Stamp) error {
	return s.using(ctx, func(c *conn) error {
		_, err := c.Exec(ctx, confirmNode, nodeID, s.registry.token, int64(r), int64(seen))
		return err
	})
}

// Nodes lists the nodes. If the clock was set, none is known to be fenced.
func (s *Store) Nodes(ctx context.Context) (nodes []keystore.Registered, err error) {
	err = s.using(ctx, func(c *conn) error {
		found, err := s.readNodes(ctx, c, listNodes+" ORDER BY n.id")
		for i := range found {
			nodes = append(nodes, found[i].Registered)
		}
		return err
	})
	return nodes, err
}

// readNodes reads nodes and judges them.
func (s *Store) readNodes(ctx context.Context, c *conn, text string, args ...any) (nodes []sqlstore.NodeRow, err error) {
	sent := s.timeline.clock.Now()
	found, err := c.Query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	var now int64
	for err == nil && found.Next() {
		var n sqlstore.NodeRow
		n, err = sqlstore.ScanNode(found.Scan, &now)
		s.registry.found(int64(n.Lease))
		nodes = append(nodes, n)
	}
	if closeErr := found.Close(); err == nil {
		err = closeErr
	}
	if err != nil || len(nodes) == 0 {
		return nil, err
	}
	steady := s.observe(sent, s.timeline.clock.Now(), time.Unix(0, now), nodes[0].Current)
	for i := range nodes {
		nodes[i].Judge(time.Unix(0, now), steady)
		nodes[i].Own = nodes[i].Token == s.registry.token
	}
	return nodes, nil
}

// Leave takes this process's node out.
func (s *Store) Leave(ctx context.Context, nodeID string) error {
	return s.using(ctx, func(c *conn) error {
		_, err := c.Exec(ctx, "DELETE FROM nodes WHERE id = ? AND token = ?", nodeID, s.registry.token)
		return err
	})
}

// Trim forgets what no longer matters, and nodes that have been fenced for long.
func (s *Store) Trim(ctx context.Context, l policy.Lockout, keep time.Duration) error {
	if err := s.Store.Trim(ctx, l, keep); err != nil {
		return err
	}
	return s.using(ctx, func(c *conn) error {
		found, err := s.readNodes(ctx, c, listNodes)
		for i := range found {
			if n := &found[i]; err == nil && (n.Left < -nodeMemory || n.Former && n.Fenced()) {
				_, err = c.Exec(ctx, "DELETE FROM nodes WHERE id = ? AND token = ? AND turn = ?", n.ID, n.Token, n.Turn)
			}
		}
		return err
	})
}

// using runs fn with a connection for short statements of their own.
func (s *Store) using(ctx context.Context, fn func(*conn) error) error {
	if err := s.Enter(); err != nil {
		return err
	}
	defer s.Store.Leave()
	d := database{s}
	c, err := d.Acquire(ctx, sqlstore.Lookup)
	if err != nil {
		return err
	}
	defer d.Release(c)
	err = fn(c.(*conn))
	if err == nil || errors.Is(err, keystore.ErrReplaced) || errors.Is(err, sqlstore.ErrAgain) || errors.Is(err, errWarned) {
		return err
	}
	return d.Error(ctx, err)
}

var _ keystore.Registry = (*Store)(nil)
