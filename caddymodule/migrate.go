package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/admin/cli"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// moving is one end of a move: the app of its configuration, or one made up around a
// store that is named by itself.
type moving struct {
	*App
	// keyed: it says which master keys there are.
	keyed bool
	done  context.CancelFunc
}

// migrate moves everything from one store to another.
func migrate(ctx context.Context, m cli.Migration) (report sqlstore.CopyReport, err error) {
	from, err := openEnd(ctx, m.From, m.MasterKeyFiles)
	if err != nil {
		return report, fmt.Errorf("the source: %w", err)
	}
	defer from.done()
	to, err := openEnd(ctx, m.To, nil)
	if err != nil {
		return report, fmt.Errorf("the target: %w", err)
	}
	defer to.done()
	clock := keystore.NewSystemClock()
	source, err := from.existing(ctx, clock)
	if err != nil {
		return report, fmt.Errorf("opening the source: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	needed, err := source.MasterKeyIDs(ctx)
	if err != nil {
		return report, fmt.Errorf("asking the source for its master keys: %w", err)
	}
	sealer, err := sealerFor(source.Identity(), needed, from, to)
	if err != nil {
		return report, err
	}
	target, err := to.fillable(ctx, clock)
	if err != nil {
		return report, fmt.Errorf("opening the target: %w", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	return sqlstore.Copy(ctx, source, target, sqlstore.CopyOptions{Sealer: sealer, AnyTrail: m.AnyTrail, Progress: m.Progress})
}

// sealerFor is the master keys that the audit trail is checked with, those of the
// source before those of the target; nil where neither names any. Each that does must
// have all that the store depends on: at the target it would be refused.
func sealerFor(identity string, needed []string, ends ...moving) (keystore.AuditSealer, error) {
	var sealer keystore.AuditSealer
	for _, end := range ends {
		if !end.keyed {
			continue
		}
		ring, err := end.keyringFor(identity, needed, false)
		switch {
		case len(needed) == 0 && errors.Is(err, fs.ErrNotExist):
			continue // nothing depends on one yet
		case err != nil:
			return nil, err
		}
		if sealer == nil {
			sealer = ring
		}
	}
	return sealer, nil
}

// openEnd finds what one end is. Nothing is opened yet.
func openEnd(ctx context.Context, p cli.Place, masterKeyFiles []string) (moving, error) {
	cctx, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	end := moving{done: cancel}
	var err error
	if p.Config != "" {
		if end.App, err = offlineApp(p.Config); err == nil {
			err = end.configure(cctx)
		}
		end.keyed = true
	} else {
		end.App = new(App)
		end.opener, err = storeNamed(p.Store)
	}
	if err != nil {
		cancel()
		return moving{}, err
	}
	if len(masterKeyFiles) > 0 {
		end.MasterKey, end.MasterKeyFile, end.keyed = nil, masterKeyFiles, true
	}
	end.logger, end.offline = zap.NewNop(), true
	return end, nil
}

// storeNamed is a store by the word that a Caddyfile has for its kind, or by its DSN.
// Placeholders are replaced as there. No error repeats what may hold a password.
func storeNamed(name string) (StoreOpener, error) {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(name, true, true)
	if err != nil {
		return nil, fmt.Errorf("a placeholder has no value%s", namedIn(name))
	}
	switch kind, path, _ := strings.Cut(resolved, ":"); {
	case kind == "sqlite" && path == "":
		return nil, errors.New("sqlite: names no file, expected sqlite:/path/to/keyreeve.db")
	case kind == "sqlite":
		if literal, ok := strings.CutPrefix(name, "sqlite:"); ok {
			path = literal // whose placeholders are replaced as it is opened
		}
		return &SQLiteStore{Path: path}, nil
	case kind == "postgres", kind == "postgresql", strings.Contains(resolved, "="):
		s := &PostgresStore{DSN: name}
		if s.passwordInClear() {
			return nil, errors.New("a password in a command line is seen by others on the machine: put it into the environment (PGPASSWORD), a passfile, or write {env.NAME} or {file./path} in its place")
		}
		return s, s.Validate()
	}
	return nil, errors.New("expected a store such as sqlite:/path/to/keyreeve.db, postgres://gate@db.example.com/keyreeve or host=db.example.com dbname=keyreeve")
}

// existing opens the source, which must be there: nothing is made for it.
func (m moving) existing(ctx context.Context, clock keystore.Clock) (keystore.Store, error) {
	if e, ok := m.opener.(examiner); ok {
		found, err := e.Examine(ctx)
		switch {
		case err != nil:
			return nil, err
		case !found.exists:
			return nil, fmt.Errorf("there is no key store at %s", found.where)
		}
		if err := found.permitted(); err != nil {
			return nil, err
		}
	}
	return m.visited(ctx, clock)
}

// fillable opens the target, which is made where it is not there. That this user may
// write it is known before anything is copied.
func (m moving) fillable(ctx context.Context, clock keystore.Clock) (keystore.Store, error) {
	if e, ok := m.opener.(examiner); ok {
		found, err := e.Examine(ctx)
		if err == nil {
			err = found.permitted()
		}
		if err != nil {
			return nil, err
		}
	}
	return m.visited(ctx, clock)
}

// permitted is what this user may not do that a gate does, nil for nothing.
func (e *examination) permitted() error {
	switch p := e.postgres; {
	case p == nil:
	case e.schema == 0 && !p.MayMake:
		return errors.New("the user of the dsn may not make its tables: name it by the dsn of who is to own them")
	case len(p.Missing) > 0:
		return fmt.Errorf("the user of the dsn lacks %s: run `keyreeve schema upgrade` with the dsn of the tables' owner, and --grant for this user", strings.Join(p.Missing, ", "))
	}
	return nil
}

func (m moving) visited(ctx context.Context, clock keystore.Clock) (keystore.Store, error) {
	if v, ok := m.opener.(visitor); ok {
		return v.Visit(ctx, clock)
	}
	return m.opener.Open(ctx, clock)
}
