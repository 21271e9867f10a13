package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnUpgradeOfTheTablesTellsWhatItDidAndWhatIsNext(t *testing.T) {
	t.Parallel()
	var asked SchemaUpgrade
	report := SchemaReport{Store: "postgres:db:5432/k", From: 1, To: 3, Granted: "gate"}
	env := func() Env {
		return Env{Schema: func(_ context.Context, u SchemaUpgrade) (SchemaReport, error) {
			asked = u
			return report, nil
		}}
	}
	got := run(t, env(), nil, "schema", "upgrade", "--store", "{env.OWNER}", "--grant", "gate")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, SchemaUpgrade{Place: Place{Store: "{env.OWNER}"}, Grant: "gate"}, asked)
	require.Equal(t, "postgres:db:5432/k was brought from schema 1 to 3\n", got.errOut)
	got = run(t, env(), nil, "schema", "upgrade", "--config", "owner.Caddyfile", "-o", "json")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, Place{Config: "owner.Caddyfile"}, asked.Place)
	require.JSONEq(t, `{"store":"postgres:db:5432/k","from":1,"to":3,"granted":"gate"}`, got.out)
	report.From, report.Granted = 3, ""
	got = run(t, env(), nil, "schema", "upgrade", "--store", "x", "-o", "csv")
	require.Equal(t, "store,from,to,granted\npostgres:db:5432/k,3,3,\n", strings.ReplaceAll(got.out, "\r", ""))
	require.Contains(t, got.errOut, "has schema 3 already\nnext: let --grant")

	for _, c := range []struct {
		args []string
		env  Env
		code int
		says string
	}{
		{nil, env(), ExitUsage, "--store is missing"},
		{[]string{"--store", "a", "--config", "b"}, env(), ExitUsage, "exclude each other"},
		{[]string{"--store", "a", "--url", "http://b"}, env(), ExitUsage, "--url does not belong to schema"},
		{[]string{"--store", "a"}, Env{}, ExitUsage, "this build cannot open stores"},
		{[]string{"--store", "a", "more"}, env(), ExitUsage, "unexpected argument"},
		{[]string{"--store", "a"}, Env{Schema: func(context.Context, SchemaUpgrade) (SchemaReport, error) {
			return SchemaReport{}, errors.New("not the owner")
		}}, ExitError, "not the owner"},
	} {
		got := run(t, c.env, nil, append([]string{"schema", "upgrade"}, c.args...)...)
		require.Equal(t, c.code, got.code, got.errOut)
		require.Contains(t, got.errOut, c.says)
		require.Empty(t, got.out)
	}
}
