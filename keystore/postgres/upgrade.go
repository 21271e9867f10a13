package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Upgrade makes the tables, or brings them to what this program uses, and does nothing
// else: no node follows the store by it. It is for their owner, where the gates have less
// rights. From is the version that was found, 0 for none.
func Upgrade(ctx context.Context, o Options) (from, to int64, err error) {
	cfg, err := o.config()
	if err != nil {
		return 0, 0, err
	}
	failed := func(err error) (int64, int64, error) {
		return from, 0, fmt.Errorf("upgrading the key store %s: %w", identity(cfg), err)
	}
	found, err := Examine(ctx, o) // that the server and the database are good for it
	if err != nil {
		return 0, 0, err
	}
	if from = found.Schema; from != 0 && from != found.Newest && !found.MayMigrate {
		return failed(errors.New("the user of the dsn does not own the tables: name the store by the dsn of who does"))
	}
	if err := migrate(ctx, cfg.ConnConfig, false); err != nil {
		return failed(err)
	}
	db := stdlib.OpenDB(*cfg.ConnConfig)
	defer func() { err = errors.Join(err, db.Close()) }()
	if to, err = migrations.Version(ctx, db); err != nil {
		return failed(storeError(ctx, err))
	}
	return from, to, nil
}

// Grant runs statements that give rights to a user, all of them or none, and makes sure
// that they were given: where the one of the dsn may not, the server only warns.
func Grant(ctx context.Context, o Options, user, statements string) error {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	c, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	if err != nil {
		return connectError(ctx, err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	// Several statements sent as one are one transaction.
	if _, err := c.PgConn().Exec(ctx, statements).ReadAll(); err != nil {
		return fmt.Errorf("granting a gate's rights: %w", storeError(ctx, err))
	}
	lacks, err := missing(ctx, c, user)
	switch {
	case err != nil:
		return fmt.Errorf("asking for the rights of %s: %w", user, storeError(ctx, err))
	case len(lacks) > 0:
		return fmt.Errorf("%s still lacks %s, which the user of the dsn may not grant: let the owner do so", user, strings.Join(lacks, ", "))
	}
	return nil
}
