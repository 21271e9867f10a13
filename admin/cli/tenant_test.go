package cli

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cliTenant runs a command about a tenant and reads the one that it prints.
func (h *house) cliTenant(t *testing.T, args ...string) (i tenantItem) {
	t.Helper()
	got := h.mustCLI(t, append(args, "-o", "json")...)
	require.NoError(t, json.Unmarshal([]byte(got.out), &i))
	return i
}

func TestTenantsAreManagedByIDOrName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		group string
		in    []string
	}{{"customer", nil}, {"microtenant", []string{"--customer", "globex"}}} {
		h := newHouse(t)
		do := func(args ...string) tenantItem {
			return h.cliTenant(t, append(append([]string{c.group}, args...), c.in...)...)
		}
		made := do("create", "North Sea", "--id", "216", "--disabled")
		require.Equal(t, "216", made.ID)
		require.False(t, made.Enabled)
		require.Equal(t, made, do("show", "216"))
		require.Equal(t, made, do("show", "North Sea"))
		require.True(t, do("enable", "North Sea").Enabled)
		require.False(t, do("disable", "216").Enabled)
		require.Equal(t, "South", do("edit", "216", "--name", "South").Name)
		out := h.mustCLI(t, append([]string{c.group, "show", "South"}, c.in...)...).out
		require.Contains(t, out, "disabled")
		require.Contains(t, h.mustCLI(t, c.group, "list").out, "South")
		require.NotContains(t, h.mustCLI(t, c.group, "list", "-q", "south").out, "acme")
		require.Contains(t, h.mustCLI(t, append([]string{c.group, "delete", "South", "--yes"}, c.in...)...).errOut, "deleted South (216)")
		require.NotContains(t, h.mustCLI(t, c.group, "list").out, "South")
	}
}

func TestTenantsOfOneNameMustBeToldApart(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.mustCLI(t, "microtenant", "create", "emea", "--customer", "globex", "--id", "other")
	h.mustCLI(t, "microtenant", "create", "West", "--customer", "globex", "--id", "w1")
	h.mustCLI(t, "microtenant", "create", "West", "--customer", "acme", "--id", "w2")
	got := h.cli(t, "microtenant", "show", "West")
	require.Equal(t, ExitConflict, got.code)
	require.Contains(t, got.errOut, "say whose by --customer")
	require.Equal(t, "w1", h.cliTenant(t, "microtenant", "show", "West", "--customer", "globex").ID)
	got = h.cli(t, "microtenant", "show", "emea")
	require.Equal(t, ExitConflict, got.code, "the id of one, the name of another")
	require.Contains(t, got.errOut, "id:emea")
	require.Contains(t, got.errOut, "id:other")
	require.Equal(t, "emea", h.cliTenant(t, "microtenant", "show", "id:emea").ID)
	require.Equal(t, "other", h.cliTenant(t, "microtenant", "show", "emea", "--customer", "globex").ID)

	h.mustCLI(t, "microtenant", "create", "third", "--customer", "globex", "--id", "emea")
	got = h.cli(t, "microtenant", "disable", "emea")
	require.Equal(t, ExitConflict, got.code)
	require.Contains(t, got.errOut, "say whose by --customer", "of one id in two customers neither is taken")
	require.Equal(t, ExitConflict, h.cli(t, "microtenant", "disable", "id:emea").code)
	require.Equal(t, "globex", h.cliTenant(t, "microtenant", "disable", "id:emea", "--customer", "globex").CustomerID)
}

func TestACustomerNamedAsTheIdOfAnotherIsNotTakenForIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.mustCLI(t, "customer", "create", "Third", "--id", "third")
	h.mustCLI(t, "customer", "edit", "id:globex", "--name", "third")
	got := h.cli(t, "customer", "disable", "third")
	require.Equal(t, ExitConflict, got.code)
	require.Contains(t, got.errOut, "id:globex")
	require.Contains(t, got.errOut, "id:third")
	require.True(t, h.cliTenant(t, "customer", "show", "id:third").Enabled, "nothing was done")
	require.False(t, h.cliTenant(t, "customer", "disable", "id:third").Enabled)
	require.True(t, h.cliTenant(t, "customer", "show", "id:globex").Enabled)
}

func TestTenantsComeInEveryForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.mustCLI(t, "customer", "create", "=formula", "--id", "f")
	h.mustCLI(t, "microtenant", "create", "=formula", "--id", "f", "--customer", "acme")
	for group, total := range map[string]int{"customer": 3, "microtenant": 2} {
		all := []string{group, "list", "--all", "--page-size", "1"}
		var list struct{ Items []map[string]any }
		require.NoError(t, json.Unmarshal([]byte(h.mustCLI(t, append(all, "-o", "json")...).out), &list))
		require.Len(t, list.Items, total)
		records, err := csv.NewReader(strings.NewReader(h.mustCLI(t, append(all, "-o", "csv")...).out)).ReadAll()
		require.NoError(t, err)
		require.Len(t, records, total+1)
		require.Len(t, list.Items[0], len(records[0]), "each member has its column")
		for i, column := range records[0] {
			require.Contains(t, list.Items[0], column)
			if column == "name" {
				require.Equal(t, "'=formula", records[1][i], "no formula")
			}
		}
		require.Len(t, strings.Split(strings.TrimSpace(h.mustCLI(t, all...).out), "\n"), total+1)
		require.Contains(t, h.mustCLI(t, group, "show", "f", "-o", "yaml").out, "name: =formula")
		require.Contains(t, h.mustCLI(t, group, "show", "f", "-o", "csv").out, "'=formula")
		first := h.mustCLI(t, group, "list", "--sort", "-created_at", "--page-size", "1")
		require.Contains(t, first.errOut, "1 of ")
	}
}
