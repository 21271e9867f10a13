package pgtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// NewDatabase makes an empty database of t's own, dropped when t ends, and returns
// its name. Its text is in the order of a language (ICU, PostgreSQL 15 and newer):
// who wants another order has to say so.
func (s *Server) NewDatabase(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	s.counted++
	name := fmt.Sprintf("test_%d", s.counted)
	s.mu.Unlock()
	language := ""
	if s.Version(t) >= 15 {
		language = " LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
	}
	s.Exec(t, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'"+language)
	t.Cleanup(func() {
		// A server that the test left stopped takes its databases along.
		_ = s.exec(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	})
	return name
}

// CreateUser makes a user who may do nothing yet, dropped with the server.
func (s *Server) CreateUser(t testing.TB, name string) {
	t.Helper()
	s.Exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", pgx.Identifier{name}.Sanitize(), password))
}

// Version is the server's major version.
func (s *Server) Version(t testing.TB) int {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.DSN(Superuser, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	var number int
	if err := c.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&number); err != nil {
		t.Fatal(err)
	}
	return number / 10000
}
