package zpa

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// filled is a world in which umbrella has 45 keys besides its own.
func filled(t *testing.T) (w *world, path string) {
	w = newWorld(t)
	for i := range 45 {
		w.key(lifecycle.NewKey{Name: fmt.Sprintf("n%02d", i), RoleID: keystore.RoleReadOnly, CustomerID: "umbrella", Description: fmt.Sprintf("about %d", i)})
	}
	return w, "/mgmtconfig/v1/admin/customers/umbrella/apiKeys"
}

func TestListsAreReadByPages(t *testing.T) {
	t.Parallel()
	w, path := filled(t)
	for query, want := range map[string]struct {
		pages, count string
		first, last  string
		n            int
	}{
		"":                           {"3", "46", "foreign", "n18", 20},
		"?page=1":                    {"3", "46", "foreign", "n18", 20},
		"?page=3":                    {"3", "46", "n39", "n44", 6},
		"?pagesize=500":              {"1", "46", "foreign", "n44", 46},
		"?pageSize=500":              {"1", "46", "foreign", "n44", 46},
		"?page=2&pagesize=40":        {"2", "46", "n39", "n44", 6},
		"?pagesize=40&pageSize=40":   {"2", "46", "foreign", "n38", 40},
		"?pagesize=23":               {"2", "46", "foreign", "n21", 23},
		"?page=&pagesize=":           {"3", "46", "foreign", "n18", 20},
		"?sortBy=name&sortOrder=DSC": {"3", "46", "n44", "n25", 20},
		"?sortOrder=desc":            {"3", "46", "n44", "n25", 20},
	} {
		a := w.do(w.operator, "GET", path+query, "")
		require.Equal(t, 200, a.status, a.raw)
		names := a.names()
		require.Equal(t, []any{want.pages, want.count, want.n}, []any{a.body["totalPages"], a.body["totalCount"], len(names)}, query)
		require.Equal(t, []string{want.first, want.last}, []string{names[0], names[len(names)-1]}, query)
	}
	require.JSONEq(t, `{"totalPages":"3","totalCount":"46","list":[]}`, w.do(w.operator, "GET", path+"?page=4", "").raw)
	require.JSONEq(t, `{"totalPages":"0","totalCount":"0","list":[]}`, w.do(w.operator, "GET", path+"?search=name+EQ+nothing", "").raw)
}

func TestEverySortFieldIsOneOfTheStore(t *testing.T) {
	t.Parallel()
	w, path := filled(t)
	for field := range sorts {
		for _, order := range []string{"ASC", "DSC", "DESC"} {
			require.Equal(t, 200, w.do(w.operator, "GET", path+"?sortBy="+field+"&sortOrder="+order, "").status, field)
		}
	}
}

func TestPagesThatCannotBeAreRefusedByName(t *testing.T) {
	t.Parallel()
	w, path := filled(t)
	for query, word := range map[string]string{
		"page=0": "page must", "page=-1": "page must", "page=x": "page must", "page=1.5": "page must", "page=1000000000": "page must", "page=%2B1": "page must", "page=01": "page must",
		"page=99999999999999999999": "page must", "pagesize=0": "pagesize must", "pagesize=501": "pagesize must", "pageSize=501": "pagesize must", "pagesize=-5": "pagesize must", "pagesize=all": "pagesize must",
		"pagesize=20&pageSize=30": "pageSize is not the same as pagesize", "page=1&page=1": "page is given more than once",
		"sortBy=clientSecret": "sortBy must", "sortOrder=up": "sortOrder must",
	} {
		w.do(w.operator, "GET", path+"?"+query, "").refused(t, 400, "validation.failed", word)
	}
	for _, query := range []string{"names=x", "Page=1", "page_size=5", "cursor=x"} {
		name, _, _ := strings.Cut(query, "=")
		w.do(w.operator, "GET", path+"?"+query, "").refused(t, 400, "unknown.field", name+" is not a parameter")
		w.do(w.operator, "GET", path+"/x?"+query, "").refused(t, 400, "unknown.field", name+" is not a parameter")
	}
	w.do(w.operator, "POST", path+"?page=1", `{"name":"x","roleId":"28"}`).refused(t, 400, "unknown.field", "page is not a parameter")
	w.do(w.operator, "GET", path+"?search=a;b", "").refused(t, 400, "malformed.query")
}

func TestSearchFindsAsItIsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const path = "/mgmtconfig/v1/admin/customers/umbrella/apiKeys"
	made := map[string]lifecycle.CreatedKey{}
	for name, role := range map[string]string{"alpha": keystore.RoleFullAccess, "Alpha beta": keystore.RoleReadOnly, "a+b EQ c": keystore.RoleReadOnly, "' OR 1=1 --": keystore.RoleReadOnly} {
		made[name] = w.key(lifecycle.NewKey{Name: name, RoleID: role, CustomerID: "umbrella", Description: "about " + name})
	}
	one := func(name string) []string { return []string{name} }
	for query, want := range map[string][]string{
		"name+EQ+alpha": one("alpha"), "name%20EQ%20alpha": one("alpha"), "name%2BEQ%2Balpha": one("alpha"), "name+eq+alpha": one("alpha"),
		"name%2BEQ%2BAlpha%20beta": one("Alpha beta"), "name+EQ+Alpha+beta": one("Alpha beta"), "name%20EQ%20a%2Bb%20EQ%20c": one("a+b EQ c"),
		"name+EQ+" + url.QueryEscape("' OR 1=1 --"): one("' OR 1=1 --"), "name+EQ+ALPHA": {}, "name+EQ+alph": {}, "name+EQ+%25": {},
		"id+EQ+" + made["alpha"].ID: one("alpha"), "clientId+EQ+" + made["alpha"].ClientID: one("alpha"), "id+EQ+" + w.admin.ID: {}, "clientId+EQ+x": {},
		"roleId+EQ+28": one("alpha"), "roleId+EQ+role_api_full_access": one("alpha"),
		"alpha": {"Alpha beta", "alpha"}, "about+alpha": {"Alpha beta", "alpha"}, made["alpha"].ClientID: one("alpha"), "beta+of+it": {}, "lpha+be": one("Alpha beta"), "%25": {},
	} {
		a := w.do(w.operator, "GET", path+"?search="+query, "")
		require.Equal(t, 200, a.status, a.raw)
		require.ElementsMatch(t, want, a.names(), query)
		require.Equal(t, fmt.Sprint(len(want)), a.body["totalCount"], query)
	}
	for query, word := range map[string]string{
		"name+NE+alpha": "expected EQ", "name+LIKE+alp": "expected EQ", "name+FOO+alpha": "expected EQ", "name+EQ+": "no value", "name+EQ": "no value",
		"description+EQ+x": "expected name, id, clientId or roleId", "enabled+EQ+true": "expected name", "NAME+EQ+alpha": "expected name", "%FF": "UTF-8",
	} {
		w.do(w.operator, "GET", path+"?search="+query, "").refused(t, 400, "validation.failed", "search", word)
	}
}
