package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestIfNoneMatchMakesASourceAndReplacesNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.sourceAdmin()
	const path = "/v1/sources/idp"
	body := func(owner string) string {
		return `{"rule":"locked","max_role_id":"role_api_read_only","owner":"` + owner + `"}`
	}
	require.Equal(t, 412, w.do(admin, "PUT", path, body("one"), "If-Match", "*").status, "there is none to match")
	made := w.do(admin, "PUT", path, body("one"), "If-None-Match", "*")
	require.Equal(t, 201, made.status, made.raw)
	tag := made.header.Get("ETag")
	for _, given := range []string{"*", tag, "W/" + tag, `"other", ` + tag} {
		a := w.do(admin, "PUT", path, body("two"), "If-None-Match", given)
		require.Equal(t, 412, a.status, given)
		require.Equal(t, "revision_mismatch", a.code())
	}
	require.Equal(t, 412, w.do(admin, "PUT", path, body("two"), "If-Match", tag, "If-None-Match", "*").status, "both must hold")
	require.Equal(t, "one", w.do(admin, "GET", path, "").body["owner"])
	require.Equal(t, 200, w.do(admin, "PUT", path, body("two"), "If-None-Match", `"other"`).status)
	require.Equal(t, 412, w.do(admin, "DELETE", path, "", "If-None-Match", "*").status, "whatever the method")
}

func TestWhatBelongsToAKeyHasTheKeysETag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := "/v1/keys/" + w.viewer.ID
	tag := func() string { return w.do(w.operator, "GET", path, "").header.Get("ETag") }
	old := tag()
	for _, part := range []string{"/lock", "/secrets", "/sessions"} {
		require.Equal(t, old, w.do(w.operator, "GET", path+part, "").header.Get("ETag"), part)
	}
	_, err := w.store.Count(t.Context(), policy.DefaultLockout(), []keystore.Proof{{KeyID: w.viewer.ID, Address: "192.0.2.9"}})
	require.NoError(t, err)
	require.Equal(t, old, tag(), "a failure changes nothing that can be written")
	require.Equal(t, 200, w.do(w.operator, "PATCH", path, `{"description":"changed"}`).status)

	id := w.signIn(w.viewer, "a")
	for _, part := range []string{"/lock", "/sessions"} {
		a := w.do(w.operator, "DELETE", path+part, "", "If-Match", old)
		require.Equal(t, 412, a.status, part)
		require.Equal(t, "revision_mismatch", a.code())
	}
	require.Equal(t, "active", w.do(w.operator, "GET", "/v1/sessions/"+id, "").body["state"])
	require.EqualValues(t, 1, w.do(w.operator, "GET", path+"/lock", "").body["failed_attempts"])
	for _, part := range []string{"/lock", "/sessions"} {
		require.Equal(t, 204, w.do(w.operator, "DELETE", path+part, "", "If-Match", tag()).status, part)
	}
	require.Equal(t, "ended", w.do(w.operator, "GET", "/v1/sessions/"+id, "").body["state"])
	require.Equal(t, 404, w.do(w.operator, "DELETE", "/v1/keys/none/sessions", "", "If-Match", "*").status)
}

func TestTheETagOfASessionChangesWithItsEndAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	get := func(id string) (tag, state string) {
		a := w.do(w.operator, "GET", "/v1/sessions/"+id, "")
		return a.header.Get("ETag"), a.body["state"].(string)
	}
	ended, withKey, left := w.signIn(w.viewer, "a"), w.signIn(w.bystander, "b"), w.signIn(w.admin, "c")
	open, _ := get(ended)
	require.NotEmpty(t, open)
	require.Equal(t, 412, w.do(w.operator, "DELETE", "/v1/sessions/"+ended, "", "If-Match", `"other"`).status)
	require.Equal(t, 204, w.do(w.operator, "DELETE", "/v1/sessions/"+ended, "", "If-Match", open).status)
	over, _ := get(ended)
	require.NotEqual(t, open, over)
	require.Equal(t, 412, w.do(w.operator, "DELETE", "/v1/sessions/"+ended, "", "If-Match", open).status, "someone else was faster")
	require.Equal(t, 204, w.do(w.operator, "DELETE", "/v1/sessions/"+ended, "", "If-Match", over).status)

	require.Equal(t, 204, w.do(w.operator, "DELETE", "/v1/keys/"+w.bystander.ID+"/sessions", "").status)
	tag, _ := get(withKey)
	require.Equal(t, over, tag, "ended with all of its key")
	w.clock.Advance(2 * time.Hour)
	for id, want := range map[string]string{left: open, withKey: over} {
		tag, state := get(id)
		require.Equal(t, "expired", state)
		require.Equal(t, want, tag, "time alone changes nothing")
	}
}
