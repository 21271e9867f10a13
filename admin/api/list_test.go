package api

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// walk follows cursors to the end and lists all names; between is called
// between two pages.
func (w *world) walk(as lifecycle.CreatedKey, path, query string, between func()) (names []string) {
	w.t.Helper()
	cursor := ""
	for range 100 {
		a := w.do(as, "GET", path+"?"+query+cursor, "")
		require.Equal(w.t, 200, a.status, a.raw)
		names = append(names, a.names()...)
		next, more := a.body["next_cursor"].(string)
		if !more {
			return names
		}
		cursor = "&cursor=" + escaped(next)
		between()
	}
	require.Fail(w.t, "the list does not end")
	return nil
}

func TestPagesNeitherRepeatNorLoseKeysWhenOthersAreMade(t *testing.T) {
	t.Parallel()
	for _, sort := range []string{"name", "-name", "created_at", "-created_at", "modified_at", "client_id", "-client_id", ""} {
		t.Run("sort="+sort, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var old []string
			for i := range 12 {
				name := fmt.Sprintf("old-%02d", i)
				old = append(old, name)
				w.key(lifecycle.NewKey{Name: name, RoleID: w.viewerRole, CustomerID: "acme"})
			}
			made := 0
			names := w.walk(w.admin, "/v1/keys", "page_size=3&sort="+sort, func() {
				if made > 6 {
					return
				}
				for _, prefix := range []string{"a", "zz"} { // ahead of and behind where the walk stands
					w.key(lifecycle.NewKey{Name: fmt.Sprintf("%s-%d", prefix, made), RoleID: w.viewerRole, CustomerID: "acme"})
					made++
				}
			})
			seen := map[string]int{}
			for _, n := range names {
				seen[n]++
				require.Equal(t, 1, seen[n], "%s is listed once", n)
			}
			for _, n := range old {
				require.Equal(t, 1, seen[n], "%s is not lost", n)
			}
		})
	}
}

func TestListsAreOrderedCountedAndFiltered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	off := w.key(lifecycle.NewKey{Name: "off", RoleID: w.viewerRole, CustomerID: "acme", Enabled: lifecycle.Some(false), Description: "Retired Deployment"})
	ascending := w.do(w.admin, "GET", "/v1/keys?sort=name", "")
	require.True(t, slices.IsSorted(ascending.names()))
	descending := w.do(w.admin, "GET", "/v1/keys?sort=-name", "").names()
	slices.Reverse(descending)
	require.Equal(t, ascending.names(), descending)
	require.EqualValues(t, len(descending), ascending.body["total"])
	require.Nil(t, ascending.body["next_cursor"])

	require.Equal(t, ascending.names()[2:4], w.do(w.admin, "GET", "/v1/keys?page_size=2&page=2", "").names(), "page jumps")
	require.Len(t, w.do(w.admin, "GET", "/v1/keys?q&page_size=2", "").names(), 2, "a parameter without a value hides none behind it")
	beyond := w.do(w.admin, "GET", "/v1/keys?page=1000000&page_size=500", "")
	require.Empty(t, beyond.names())
	require.NotNil(t, beyond.body["items"])

	for query, want := range map[string][]string{
		"q=retired":                              {"off"},
		"q=" + off.ClientID:                      {"off"},
		"q=%25":                                  {},
		"state=disabled":                         {"off"},
		"state=expired":                          {},
		"role_id=" + w.adminRole:                 {"admin", "tenant"},
		"microtenant_id=emea":                    {"tenant"},
		"microtenant_id=emea&q=admin":            {},
		"source=elsewhere":                       {},
		"customer_id=acme&role_id=role_operator": {"operator"},
		"state=active&role_id=" + w.viewerRole:   {"viewer"},
		"state=disabled&role_id=" + w.viewerRole: {"off"},
	} {
		require.Equal(t, want, w.do(w.admin, "GET", "/v1/keys?"+query, "").names(), query)
	}
}

func TestACursorServesOnlyTheListItCameFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.do(w.admin, "GET", "/v1/keys?page_size=2&sort=name", "")
	cursor := first.body["next_cursor"].(string)
	good := w.do(w.admin, "GET", "/v1/keys?page_size=3&sort=name&cursor="+cursor, "")
	require.Equal(t, 200, good.status, "another page size is the same list")

	refuse := func(as lifecycle.CreatedKey, query, why string) {
		a := w.do(as, "GET", query, "")
		require.Equal(t, 400, a.status, why)
		require.Equal(t, "invalid_cursor", a.code(), why)
		require.Contains(t, a.fields(), "cursor", why)
	}
	refuse(w.admin, "/v1/keys?sort=-name&cursor="+cursor, "another direction")
	refuse(w.admin, "/v1/keys?sort=created_at&cursor="+cursor, "another order")
	refuse(w.admin, "/v1/keys?state=active&cursor="+cursor, "another filter")
	refuse(w.operator, "/v1/keys?cursor="+cursor, "another reach")
	refuse(w.foreign, "/v1/keys?cursor="+cursor, "another customer")
	refuse(w.tenant, "/v1/keys?cursor="+cursor, "another microtenant")
	refuse(w.admin, "/v1/roles?cursor="+cursor, "another collection")
	for _, forged := range []string{"x", "AAAA", cursor + "A", cursor[:len(cursor)-4], "!" + cursor[1:]} {
		refuse(w.admin, "/v1/keys?sort=name&cursor="+escaped(forged), "forged")
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	require.NoError(t, err)
	for i := range raw {
		bent := slices.Clone(raw)
		bent[i] ^= 1
		refuse(w.admin, "/v1/keys?sort=name&cursor="+base64.RawURLEncoding.EncodeToString(bent), fmt.Sprintf("byte %d changed", i))
	}
}

func TestRolesArePagedLikeKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.do(w.admin, "GET", "/v1/roles", "").names()
	require.Equal(t, []string{"API Full Access", "API Read Only", "Admin", "Operator", "Viewer"}, all)
	require.Equal(t, all, w.walk(w.admin, "/v1/roles", "page_size=2", func() {}))
	reversed := w.walk(w.admin, "/v1/roles", "page_size=1&sort=-name", func() {})
	slices.Reverse(reversed)
	require.Equal(t, all, reversed)
	require.Equal(t, all[2:4], w.do(w.admin, "GET", "/v1/roles?page_size=2&page=2", "").names())
	require.Equal(t, []string{"Operator"}, w.do(w.admin, "GET", "/v1/roles?q=OPERA", "").names())
	require.Equal(t, 400, w.do(w.admin, "GET", "/v1/roles?sort=created_at", "").status)
	role := w.do(w.admin, "GET", "/v1/roles?q=operator", "").body["items"].([]any)[0].(map[string]any)
	require.Equal(t, map[string]any{"*": "full", "keyreeve/*": "full"}, role["permissions"])
	require.Equal(t, false, role["editable"])
}
