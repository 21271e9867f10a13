package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestABatchTellsWhatBecameOfEachKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := `["` + strings.Join([]string{w.viewer.ID, w.operator.ID, w.foreign.ID, w.tenant.ID}, `","`) + `"]`
	for _, dry := range []string{"true", "false"} {
		a := w.do(w.admin, "POST", "/v1/keys/batch", `{"action":"disable","ids":`+ids+`,"dry_run":`+dry+`}`)
		require.Equal(t, 200, a.status, a.raw)
		require.Equal(t, []any{2.0, 2.0, "disable", dry == "true"}, []any{a.body["succeeded"], a.body["failed"], a.body["action"], a.body["dry_run"]})
		var got []any
		for _, item := range a.body["items"].([]any) {
			m := item.(map[string]any)
			got = append(got, m["id"], m["status"], m["code"])
		}
		require.Equal(t, []any{w.viewer.ID, 200.0, nil, w.operator.ID, 403.0, "exceeds_own_rights", w.foreign.ID, 404.0, "not_found", w.tenant.ID, 200.0, nil}, got)
		require.Equal(t, "disabled", a.body["items"].([]any)[0].(map[string]any)["key"].(map[string]any)["state"])
		state := w.do(w.admin, "GET", "/v1/keys/"+w.viewer.ID, "").body["state"]
		if dry == "true" {
			require.Equal(t, "active", state)
			require.Empty(t, a.header.Get("Keyreeve-Revision"), "there is no write to speak of")
		} else {
			require.Equal(t, "disabled", state)
			require.NotEmpty(t, a.header.Get("Keyreeve-Revision"))
		}
	}
	gone := w.do(w.admin, "POST", "/v1/keys/batch", `{"action":"delete","ids":["`+w.viewer.ID+`"]}`)
	item := gone.body["items"].([]any)[0].(map[string]any)
	require.Equal(t, 204.0, item["status"])
	require.NotContains(t, item, "key")
}

func TestABadBatchIsRefusedByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := `"k` + strings.Repeat(`","k`, 500) + `"`
	for body, want := range map[string]map[string]string{
		`{}`:                                                  {"action": "required", "ids": "required"},
		`{"action":"explode","ids":["a"]}`:                    {"action": "invalid_format"},
		`{"action":"disable","ids":[]}`:                       {"ids": "required"},
		`{"action":"disable","ids":"a"}`:                      {"ids": "invalid_type"},
		`{"action":"disable","ids":["a","b","a"]}`:            {"ids[2]": "conflict"},
		`{"action":"disable","ids":["a b"]}`:                  {"ids[0]": "invalid_format"},
		`{"action":"disable","ids":[` + many + `]}`:           {"ids": "too_many"},
		`{"action":"disable","ids":["a"],"dry_run":"yes"}`:    {"dry_run": "invalid_type"},
		`{"action":"disable","ids":["a"],"enabled":true}`:     {"enabled": "unknown_field"},
		`{"action":"disable","ids":["a"],"ids":["b"]}`:        {"ids": "duplicate_field"},
		`{"action":["disable"],"ids":["a"],"dry_run":"true"}`: {"action": "invalid_type", "dry_run": "invalid_type"},
	} {
		a := w.do(w.admin, "POST", "/v1/keys/batch", body)
		require.Equal(t, 400, a.status, body)
		require.Equal(t, want, a.fields(), body)
	}
	require.Equal(t, 403, w.do(w.viewer, "POST", "/v1/keys/batch", `{"action":"disable","ids":["`+w.viewer.ID+`"],"dry_run":true}`).status)
}

func TestTheWordBatchIsNoKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		a := w.do(w.admin, method, "/v1/keys/batch", "")
		require.Equal(t, 405, a.status, method)
		require.Equal(t, "POST", a.header.Get("Allow"))
	}
	require.Equal(t, 405, w.do(w.admin, "POST", "/v1/keys/"+w.viewer.ID, "").status)
	require.Equal(t, 404, w.do(w.admin, "GET", "/v1/keys/batch/lock", "").status, "nor has one of that name a lock")
}
