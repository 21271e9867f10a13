package page

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

func TestTheTableIsSortedByEveryColumnBothWays(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	every := strings.Join(idsOf(keyColumns), ",")
	all, whole := b.get("/keyreeve/keys").names(), b.get("/keyreeve/keys?columns="+every).body
	for _, c := range keyColumns {
		require.NotEmpty(t, c.Sort, c.Title)
		holds(t, whole, ` data-title="`+c.Title+`">`, "small screens name the column")
		up := b.get("/keyreeve/keys?columns=" + every + "&sort=" + c.Sort)
		require.Equal(t, http.StatusOK, up.StatusCode, c.Title)
		holds(t, up.body, `aria-sort="ascending"`, c.Title)
		holds(t, up.body, `;sort=-`+c.Sort+`"`, "%s: the next click goes the other way", c.Title)
		down := b.get("/keyreeve/keys?columns=" + every + "&sort=-" + c.Sort)
		holds(t, down.body, `aria-sort="descending"`, c.Title)
		require.ElementsMatch(t, all, up.names(), c.Title)
		require.ElementsMatch(t, all, down.names(), c.Title)
	}
}

func TestRolesAndTenantsAreSortedAsPeopleReadThem(t *testing.T) {
	w := newWorld(t)
	w.key(lifecycle.NewKey{Name: "labelled", RoleID: w.adminRole, CustomerID: "acme", Labels: map[string]string{"env": "prod"}})
	b := w.as(w.operator)
	last := func(sort string) string {
		names := b.get("/keyreeve/keys?customer_id=acme&sort=" + sort).names()
		return names[len(names)-1]
	}
	require.Equal(t, "tenant", last("microtenant"), "those of none first")
	require.Equal(t, "labelled", last("labels"))
	require.Equal(t, "foreign", func() string { n := b.get("/keyreeve/keys?sort=-customer").names(); return n[0] }())
	require.True(t, strings.HasPrefix(b.get("/keyreeve/keys?sort=-role&customer_id=acme").names()[0], "v"), "Viewer is the last role by name")
}
