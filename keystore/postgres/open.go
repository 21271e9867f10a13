package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// oldestVersion is the oldest PostgreSQL that has all that is used here, as
// server_version_num has it: row stamps of 64 bits and gen_random_uuid came with it.
const oldestVersion = 130000

// ErrOlder: the database has the schema of an older version.
var ErrOlder = errors.New("older schema")

// Open opens the store, making or migrating its tables as needed. Several processes
// may open one database at one time. The user needs no rights beyond the tables,
// once they are there.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Clock == nil {
		return nil, errors.New("opening the key store: no clock given")
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	s := &Store{registry: newRegistry()}
	s.way.Store(&way{options: o, config: cfg.ConnConfig.Copy()})
	cfg.BeforeConnect = s.current
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the key store: %w", err)
	}
	s.identity, s.logger, s.pool = identity(cfg), o.Logger, pool
	beside, reading := share(int(cfg.MaxConns))
	s.writing, s.beside, s.reading = make(slots, 1), make(slots, beside), make(slots, reading)
	if cfg.ConnConfig.RuntimeParams["statement_timeout"] == settings["statement_timeout"] {
		s.answerWithin = answerWithin
	}
	s.timeline.clock, s.timeline.logger = o.Clock, o.Logger
	s.Store = sqlstore.New(database{s}, o.Clock)
	if err := s.prepare(ctx, o); err != nil {
		s.closeAll()
		return nil, fmt.Errorf("opening the key store %s: %w", s.identity, err)
	}
	s.waker = listen(s.config, o.Logger)
	return s, nil
}

func (s *Store) prepare(ctx context.Context, o Options) error {
	var version int
	var encoding string
	err := s.pool.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')").Scan(&version, &encoding)
	if err != nil {
		return connectError(ctx, err)
	}
	if version < oldestVersion {
		return fmt.Errorf("the server is PostgreSQL %d, expected 13 or newer", version/10000)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s, expected UTF8", encoding)
	}
	if err := migrate(ctx, s.pool.Config().ConnConfig, o.Visit); err != nil {
		return err
	}
	return s.Prepare(ctx)
}
