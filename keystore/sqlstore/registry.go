package sqlstore

import (
	"context"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// The nodes of a database that many machines use, see keystore.Registry. Their rows are
// written without the turn; only to forget one is an administrator's matter, and part of
// his transaction.

// SelectNodes begins a statement that reads nodes, with the state of the era as s, for
// ScanNode.
const SelectNodes = `SELECT n.id, n.name, n.version, n.started, n.position, n.renewed_ns, n.era, n.lease_ns, n.max_stale_ns, n.stopped, n.boot,
	n.token, n.turn, s.clock_era, s.era_began`

// NodeRow is a node as it is stored.
type NodeRow struct {
	keystore.Registered
	// Era is that of the database's clock in which Renewed was written, Current the one
	// as the row was read, and Began, in Unix milliseconds, when that began.
	Era, Current, Began int64
	// Token is of the process that renews the row, and Turn counts its renewals.
	Token string
	Turn  int64
}

// ScanNode reads a row of SelectNodes, and what else the statement reads behind it.
func ScanNode(scan func(...any) error, more ...any) (n NodeRow, err error) {
	var started, renewed, lease, maxStale int64
	dest := []any{&n.ID, &n.Name, &n.Version, &started, &n.Position, &renewed, &n.Era, &lease, &maxStale, &n.Stopped, &n.Boot, &n.Token, &n.Turn, &n.Current, &n.Began}
	if err := scan(append(dest, more...)...); err != nil {
		return n, err
	}
	n.Started, n.Renewed = time.UnixMilli(started).UTC(), time.Unix(0, renewed).UTC()
	n.Lease, n.MaxStale = time.Duration(lease), time.Duration(maxStale)
	n.Former = strings.HasSuffix(n.ID, RemnantMark+n.Token) && n.Token != ""
	return n, nil
}

// Judge says whether the node is fenced, as of a reading of the database's clock that
// was made no later than the row was.
func (n *NodeRow) Judge(now time.Time, steady bool) {
	n.Registered.Judge(keystore.StoreTime{Now: now, Era: n.Current, Began: time.UnixMilli(n.Began).UTC(), Steady: steady}, n.Era)
}

// RemnantMark is between the id of a node and the token of a process that had its row, in
// the id of what is left of that process: see keystore.Registered.
const RemnantMark = "~"

// ForgetNode takes a node out. See keystore.RegistryTx. From its row's being read until
// the transaction is over it cannot renew; if it does so after that, it follows the log
// anew.
func (t *tx) ForgetNode(ctx context.Context, id string) (keystore.Registered, error) {
	if !t.dialect.Registry {
		return keystore.Registered{}, keystore.ErrNotFound
	}
	var n NodeRow
	found, err := list(ctx, &t.reader, func(scan scanner) (NodeRow, error) { return ScanNode(scan) },
		SelectNodes+" FROM state s, nodes n WHERE n.id = ? FOR UPDATE OF n", id)
	switch {
	case err != nil:
		return n.Registered, err
	case len(found) == 0:
		return n.Registered, keystore.ErrNotFound
	}
	n = found[0]
	if n.Judge(time.Unix(0, t.at.Now), t.frame != nil && t.at.Era == n.Current); !n.Fenced() {
		return n.Registered, keystore.ErrInUse
	}
	return n.Registered, t.exec(ctx, "DELETE FROM nodes WHERE id = ?", id)
}

var _ keystore.RegistryTx = (*tx)(nil)
