package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// maxSkew is how far a machine's clock and the database's may be apart before it
// is told: sessions are issued by the one and judged by others.
const maxSkew = 2 * time.Second

// server looks at a database server and at what is in the database; false if there is
// nothing to open, or nothing that may be opened without changing it.
func (d *doctor) server(found examination, err error) (good bool) {
	p := found.postgres
	if err != nil {
		advice := "check the dsn's user, password, database and certificate"
		if outOfReach(err) {
			advice = "make sure that the database runs and can be reached from this machine; a gate starts without it, and serves what its snapshot knows"
		}
		d.fail(checkStore, err, advice)
		return false
	}
	d.reached(found)
	switch {
	case found.schema == 0 && !p.MayMake:
		d.fail(checkRights, errors.New(found.where+" has no tables yet, and the user of the dsn may not make them"),
			"run `keyreeve schema upgrade` with the dsn of who is to own them, and --grant for this user")
		return false
	case found.schema == 0:
		d.warn(checkStore, found.where+" has no tables yet; the first start makes them", "or run `keyreeve schema upgrade` with a user that is to own them, and --grant for the gates' own")
		return false
	case len(p.Missing) > 0:
		d.fail(checkRights, fmt.Errorf("the user of the dsn lacks %s", strings.Join(p.Missing, ", ")), "run `keyreeve schema upgrade` with the dsn of the tables' owner, and --grant for this user")
		return false
	case found.schema != found.newest && !p.MayMigrate:
		d.fail(checkSchema, fmt.Errorf("%s has schema %d, this program uses %d, and the user of the dsn may not bring it there", found.where, found.schema, found.newest),
			"make a backup, then run `keyreeve schema upgrade` with the dsn of the tables' owner, and --grant for this user")
		return false
	case found.schema != found.newest:
		d.warn(checkSchema, fmt.Sprintf("%s has schema %d, this program uses %d and brings it there at its next start", found.where, found.schema, found.newest),
			"make a backup first: an older program cannot read it then")
		return false
	}
	d.ok(checkRights, "the user of the dsn may do what a gate needs")
	d.ok(checkSchema, "%d, the one that this program uses", found.schema)
	return true
}

// reached tells how the server is reached, and how it is set.
func (d *doctor) reached(found examination) {
	p := found.postgres
	how := "over " + p.TLS
	switch {
	case p.TLS != "":
	case p.Local:
		how = "over a socket of this machine"
	default:
		how = "without TLS"
		d.warn(checkServer, "the connection to "+found.where+" is not encrypted", "use sslmode=verify-full in the dsn, unless nobody else is on the way")
	}
	if own, ok := d.app.opener.(*PostgresStore); ok && own.passwordInClear() {
		d.warn(checkConfig, passwordInClear, "do so, or use PGPASSWORD or a passfile; then change the password")
	}
	if p.Superuser {
		d.warn(checkServer, "the user of the dsn is a superuser", "give the gates a user of their own: docs/postgres-grants.sql")
	}
	if own := d.app.maxConns(); p.Conns+own > p.MaxConns {
		d.warn(checkServer, fmt.Sprintf("%d of %d connections are in use, and a gate takes up to %d more", p.Conns, p.MaxConns, own),
			"raise the server's max_connections, or lower max_conns in `store postgres`")
	}
	if skew := p.Ahead.Abs() - p.Within; skew > maxSkew {
		d.warn(checkServer, fmt.Sprintf("its clock is %s off this machine's", p.Ahead.Round(time.Millisecond)), "set both by NTP")
	}
	d.ok(checkServer, "PostgreSQL %s, reached %s; its clock is within %s of this machine's", p.Server, how, (p.Ahead.Abs() + p.Within).Round(time.Millisecond))
}

// maxConns is how many connections a process takes of the database, 0 of another store.
func (a *App) maxConns() int {
	if p, ok := a.opener.(*PostgresStore); ok {
		return p.conns()
	}
	return 0
}

// registeredIn lists the nodes of a store that nobody follows here.
func registeredIn(store keystore.Store, kind string) func(context.Context) ([]lifecycle.Node, error) {
	return func(ctx context.Context) (all []lifecycle.Node, err error) {
		registry, ok := keystore.As[keystore.Registry](store)
		if !ok {
			return nil, nil
		}
		nodes, err := registry.Nodes(ctx)
		for i := range nodes {
			all = append(all, lifecycle.RegisteredNode(&nodes[i], kind))
		}
		return all, err
	}
}

// snapshot checks that there can be one.
func (d *doctor) snapshot() {
	d.app.offline = false // a command has none, the server that is to run has
	defer func() { d.app.offline = true }()
	identity, err := d.app.opener.Identity()
	if err != nil {
		return // told already
	}
	path := d.app.snapshotPath(identity)
	if path == "" {
		return
	}
	dir := existing(filepath.Dir(path))
	probe, err := os.CreateTemp(dir, ".keyreeve-doctor-*")
	if err == nil {
		err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	}
	if err != nil {
		d.fail(checkSnapshot, fmt.Errorf("%s cannot be written: %w", path, err), "let the server's user write to "+dir+", or name another file in `snapshot`")
		return
	}
	if d.ring == nil {
		d.ok(checkSnapshot, "%s can be written", path)
		return
	}
	head, err := keystore.ReadSnapshotHead(path, d.ring)
	switch {
	case errors.Is(err, keystore.ErrNotRegular):
		d.fail(checkSnapshot, err, "take it away, or name another file in `snapshot`: none is kept there, and a gate cannot be started without the store")
	case errors.Is(err, fs.ErrNotExist):
		d.ok(checkSnapshot, "%s can be written; there is none yet", path)
	case err != nil:
		d.warn(checkSnapshot, err.Error(), "none is needed while the store is in reach: the next start replaces it")
	case d.store == nil:
		d.beginsWith(path, identity, head.Written)
	default:
		d.ok(checkSnapshot, "%s, written %s", path, head.Written.UTC().Format(time.RFC3339))
	}
}

// beginsWith tells, where the store could not be opened, what a start would find in the
// snapshot.
func (d *doctor) beginsWith(path, identity string, written time.Time) {
	if err := keystore.CheckSnapshot(path, d.ring, identity, d.clock.Now(), d.app.settings.MaxStale); err != nil {
		d.warn(checkSnapshot, err.Error(), "bring the store back: a start without it would answer 503 until then")
		return
	}
	d.ok(checkSnapshot, "%s, written %s, is good: a start without the store serves what it knows", path, written.UTC().Format(time.RFC3339))
}

// existing is a directory, or the nearest one above it that is there.
func existing(dir string) string {
	for {
		_, err := os.Stat(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}
