package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

func TestKeysAreFilteredByLabelTimeAndUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clock.Advance(24 * time.Hour) // to 3 January
	w.key(lifecycle.NewKey{Name: "prod", RoleID: w.viewerRole, CustomerID: "acme", Labels: map[string]string{"env": "prod", "of": "a,b"},
		ExpiresAt: lifecycle.Some(w.clock.Now().Wall.Add(time.Hour))})
	require.NoError(t, w.store.Use(t.Context(), []keystore.Use{{KeyID: w.viewer.ID, SecretID: w.viewer.Secrets[0].ID, At: w.clock.Now().Wall}}))
	for query, want := range map[string][]string{
		"label=env":                            {"prod"},
		"label=env:prod,of":                    {"prod"},
		"label=" + escaped(`of:a\,b`):          {"prod"},
		"label=env:test":                       {},
		"created_after=2026-01-03":             {"prod"},
		"created_after=2026-01-03T03:04:04Z":   {"prod"},
		"created_after=2026-01-03T03:04:05Z":   {},
		"created_before=2026-01-03&q=viewer":   {"viewer"},
		"expires_before=2026-01-04":            {"prod"},
		"never_used=false":                     {"viewer"},
		"never_used=true&q=prod":               {"prod"},
		"locked=true":                          {},
		"locked=false&label=env":               {"prod"},
		"source=null&label=env":                {"prod"},
		"microtenant_id=null&q=tenant":         {},
		"microtenant_id=emea":                  {"tenant"},
		"sort=-created_at,name&q=v&page_size=": nil,
		"label=env&sort=last_used_at,-name":    {"prod"},
	} {
		if want == nil {
			continue
		}
		require.Equal(t, want, w.do(w.admin, "GET", "/v1/keys?"+query, "").names(), query)
	}
	for query, field := range map[string]string{
		"label=-": "label", "created_after=soon": "created_after", "created_before=2026-02-30": "created_before", "expires_before=0001-01-01": "expires_before",
		"never_used=maybe": "never_used", "locked=2": "locked", "sort=secret": "sort", "sort=name,name": "sort", "label=a&label=b": "label",
		"created_after=9999-12-31T23:59:59-12:00": "created_after",
	} {
		a := w.do(w.admin, "GET", "/v1/keys?"+query, "")
		require.Equal(t, http.StatusBadRequest, a.status, query)
		require.Contains(t, a.fields(), field, query)
	}
}

func TestACursorIsBoundToTheNewFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	page := w.do(w.admin, "GET", "/v1/keys?page_size=1&sort=-created_at,name&never_used=true", "")
	cursor := "&cursor=" + escaped(page.body["next_cursor"].(string))
	require.Equal(t, 200, w.do(w.admin, "GET", "/v1/keys?sort=-created_at,name&never_used=true"+cursor, "").status)
	for _, other := range []string{"never_used=false", "label=env", "locked=false", "created_after=2020-01-01", "sort=-created_at"} {
		a := w.do(w.admin, "GET", "/v1/keys?sort=-created_at,name&"+other+cursor, "")
		if strings.HasPrefix(other, "sort") {
			a = w.do(w.admin, "GET", "/v1/keys?never_used=true&"+other+cursor, "")
		}
		require.Equal(t, "invalid_cursor", a.code(), other)
	}
}

func TestTheDescriptionNamesEveryFieldToSortBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, field := range keystore.KeySortFields() {
		require.Equal(t, 200, w.do(w.viewer, "GET", "/v1/keys?sort=-"+field, "").status, field)
		require.Contains(t, string(w.api.spec), field)
	}
	require.Contains(t, string(w.api.spec), strings.Join([]string{"At most 4 of name, client_id, created_at, modified_at, last_used_at"}, ""))
}
