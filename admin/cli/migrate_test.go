package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// moved is what a build that can move stores answers here.
func moved(asked *Migration, report sqlstore.CopyReport, err error) Env {
	return Env{Migrate: func(_ context.Context, m Migration) (sqlstore.CopyReport, error) {
		*asked = m
		for _, p := range []sqlstore.CopyProgress{
			{Step: sqlstore.CopyRows, Table: "keys", Done: 1000, Total: 3000},
			{Step: sqlstore.CopyRows, Table: "keys", TableDone: true, Done: 3000, Total: 3000},
			{Step: sqlstore.CopyRows, Table: "key_calls", TableDone: true, Done: 3000, Total: 3000},
			{Step: sqlstore.CopyVerify, Table: "keys", TableDone: true, Done: 3000, Total: 3000},
			{Step: sqlstore.CopyTrail, Done: 12, Total: 12},
		} {
			m.Progress(p)
		}
		return report, err
	}}
}

func TestAMoveTellsHowFarItIsWhatItDidAndWhatIsNext(t *testing.T) {
	t.Parallel()
	report := sqlstore.CopyReport{From: "sqlite:/a.db", To: "postgres:db:5432/k", Rows: 3000, Tables: []sqlstore.CopiedTable{{Name: "keys", Rows: 3000}},
		Audit: sqlstore.TrailProof{Proved: sqlstore.TrailSeals, Events: 12, Chains: 2}}
	var asked Migration
	got := run(t, moved(&asked, report, nil), nil, "migrate", "--from", "sqlite:/a.db", "--to-config", "new", "--master-key-file", "k1", "--master-key-file", "k2", "--unproved-audit")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, Place{Store: "sqlite:/a.db"}, asked.From)
	require.Equal(t, Place{Config: "new"}, asked.To)
	require.Equal(t, []string{"k1", "k2"}, asked.MasterKeyFiles)
	require.True(t, asked.AnyTrail)
	require.Contains(t, got.out, "keys")
	require.Equal(t, "copying: 3000 of 3000 rows (100 %)\nreading back: 3000 of 3000 rows (100 %)\nproving the audit trail: 12 of 12 events (100 %)\n"+
		"audit trail: 12 events in 2 chains, proved by their seals\n"+
		"next: name postgres:db:5432/k in the configuration of every gate, with the same master keys, and start them; start none on sqlite:/a.db again, and keep it as a backup until all is well\n",
		got.errOut, "a line a step in a log")

	got = run(t, moved(&asked, report, nil), nil, "migrate", "--from", "a", "--to", "b", "-o", "json")
	var told struct {
		sqlstore.CopyReport
		Seconds *float64
	}
	require.NoError(t, json.Unmarshal([]byte(got.out), &told))
	require.Equal(t, report, told.CopyReport)
	require.NotNil(t, told.Seconds)
	require.Equal(t, "table,rows\nkeys,3000\n", strings.ReplaceAll(run(t, moved(&asked, report, nil), nil, "migrate", "--from", "a", "--to", "b", "-o", "csv").out, "\r", ""))
}

func TestAMoveThatCannotBeMeantOrIsRefusedHasItsExitCode(t *testing.T) {
	t.Parallel()
	var asked Migration
	for _, c := range []struct {
		args []string
		err  error
		code int
		says string
	}{
		{[]string{"--to", "b"}, nil, ExitUsage, "--from is missing"},
		{[]string{"--from", "a"}, nil, ExitUsage, "--to is missing"},
		{[]string{"--from", "a", "--from-config", "c", "--to", "b"}, nil, ExitUsage, "exclude each other"},
		{[]string{"--from", "a", "--to", "b", "--config", "c"}, nil, ExitUsage, "--config does not belong to migrate"},
		{[]string{"--from", "a", "--to", "b", "c"}, nil, ExitUsage, "unexpected argument"},
		{[]string{"--from", "a", "--to", "b"}, fmt.Errorf("the source: %w", keystore.ErrInUse), ExitConflict, "nothing was moved: the source: in use"},
		{[]string{"--from", "a", "--to", "b"}, errors.New("no"), ExitError, "nothing was moved: no"},
		{[]string{"--from", "a", "--to", "b"}, fmt.Errorf("commit: %w", keystore.ErrInDoubt), ExitError, "whether everything was moved is not known"},
	} {
		got := run(t, moved(&asked, sqlstore.CopyReport{}, c.err), nil, append([]string{"migrate"}, c.args...)...)
		require.Equal(t, c.code, got.code, got.errOut)
		require.Contains(t, got.errOut, c.says)
		require.Empty(t, got.out)
	}
	require.Equal(t, ExitUsage, run(t, Env{}, nil, "migrate", "--from", "a", "--to", "b").code, "a build without stores")
}

func TestALineOfProgressSaysHowFastAndHowLong(t *testing.T) {
	t.Parallel()
	p := &progress{}
	require.Equal(t, "copying keys: 1000 of 5000 rows (20 %), 500/s, 8s left", p.line(sqlstore.CopyProgress{Step: sqlstore.CopyRows, Table: "keys", Done: 1000, Total: 5000}, 2*time.Second))
	require.Equal(t, "copying: 0 of 0 rows", p.line(sqlstore.CopyProgress{Step: sqlstore.CopyRows, Table: "keys", TableDone: true}, time.Second))
	require.Equal(t, "proving the audit trail: 10 of 10 events (100 %), 10/s", p.line(sqlstore.CopyProgress{Step: sqlstore.CopyTrail, Done: 10, Total: 10}, time.Second))
}
