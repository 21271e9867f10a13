package postgres

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
)

// fullDevice answers every write with "no space left on device" (full(4)).
const fullDevice = "/dev/full"

// TestOnAFullDiskWritesSaySoAndAllElseGoesOn has the server find no room in the file of
// one table, as the system says it and not as a test does. A server that finds none for
// its log ends, which is an outage like others.
func TestOnAFullDiskWritesSaySoAndAllElseGoesOn(t *testing.T) {
	if _, err := os.Stat(fullDevice); err != nil {
		return // Linux has it; elsewhere a trigger stands in, see TestAFullDiskIsErrFull…
	}
	server := pgtest.Start(t, pgtest.Volatile()...)
	g := newGate(t, server)
	by := g.other()
	ctx := context.Background()
	file := g.fileOf("sources") // an empty one, so that its first row needs room
	source := func(s *keystore.Cached) error {
		_, err := s.Update(ctx, func(tx keystore.Tx) error {
			_ = tx.PutKey(ctx, testKey(900))
			return tx.PutSource(ctx, &keystore.Source{CustomerID: "c", Name: "s", Owner: "o", Rule: keystore.SourceReadOnly, MaxRoleID: keystore.RoleReadOnly})
		})
		return err
	}
	server.Stop(t)
	require.NoError(t, os.Rename(file, file+".room"))
	require.NoError(t, os.Symlink(fullDevice, file))
	server.Start(t)
	g.heals(g.edit(by))
	end := g.load()
	for range 20 {
		err := source(g.keys)
		require.ErrorIs(t, err, keystore.ErrFull)
		require.NotErrorIs(t, err, keystore.ErrUnavailable)
		require.NotErrorIs(t, err, keystore.ErrInDoubt)
		_, _, lost := g.keys.Followed()
		require.False(t, lost, "it is read and followed all the same")
	}
	require.True(t, g.knows(5*warm), "a key that was not known here")
	rev := g.edit(by)
	require.Eventually(t, func() bool { return g.keys.Position() >= rev }, 20*time.Second, time.Millisecond)
	end()
	require.False(t, g.knows(900), "nothing of it is stored")

	server.Stop(t)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Rename(file+".room", file))
	server.Start(t)
	g.heals(g.edit(by))
	require.NoError(t, source(g.keys))
	require.True(t, g.knows(900))
}

// fileOf is where the server keeps a table.
func (g *gate) fileOf(table string) string {
	g.t.Helper()
	var dir, file string
	require.NoError(g.t, connect(g.t, g.dsn).QueryRow(context.Background(),
		"SELECT current_setting('data_directory'), pg_relation_filepath($1)", table).Scan(&dir, &file))
	return filepath.Join(dir, file)
}

func TestAServerThatOnlyFollowsIsOutOfReachUntilItWrites(t *testing.T) {
	server := pgtest.Start(t, append(pgtest.Volatile(), "wal_level=replica")...)
	g := newGate(t, server)
	by := g.other()
	signal := filepath.Join(filepath.Dir(g.fileOf("keys")), "..", "..", "standby.signal")
	end := g.load()
	server.Stop(t)
	require.NoError(t, os.WriteFile(signal, nil, 0o644))
	server.Start(t)
	require.Never(t, func() bool { _, _, lost := g.keys.Followed(); return !lost }, 3*time.Second, 10*time.Millisecond, "what it says may be old")
	g.refuses()
	_, err := by.Head(context.Background())
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.ErrorIs(t, err, errStandby)
	_, err = Open(t.Context(), Options{DSN: g.dsn, Clock: g.clock})
	require.ErrorIs(t, err, keystore.ErrUnavailable, "as at a failover: it may be over soon")

	server.Stop(t)
	require.NoError(t, os.Remove(signal))
	server.Start(t)
	g.heals(g.edit(by))
	end()
}

func TestWhatWillNotPassByItselfIsNoOutage(t *testing.T) {
	server := pgtest.Shared(t)
	name := server.NewDatabase(t)
	server.CreateUser(t, "somebody")
	clock := keystore.NewSystemClock()
	for why, dsn := range map[string]string{
		"no such database": server.DSN(pgtest.Superuser, "nowhere"),
		"no such user":     server.DSN("nobody", name),
		"no right":         server.DSN("somebody", name),
		"no TLS there":     server.DSNBy(server.Address(), pgtest.Superuser, name) + "?sslmode=require",
	} {
		_, err := Open(t.Context(), Options{DSN: dsn, Clock: clock})
		require.Error(t, err, why)
		require.NotErrorIs(t, err, keystore.ErrUnavailable, why)
	}
	for why, dsn := range map[string]string{
		"nobody listens": "postgres://u@127.0.0.1:1/k",
		"no such host":   "postgres://u@nowhere.invalid/k",
	} {
		_, err := Open(t.Context(), Options{DSN: dsn, Clock: clock})
		require.ErrorIs(t, err, keystore.ErrUnavailable, why)
	}
}
