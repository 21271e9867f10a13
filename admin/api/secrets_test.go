package api

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func TestARotationAnswersLikeACreationAndShowsTheSecretOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := "/v1/keys/" + w.viewer.ID
	rotated := w.do(w.admin, "POST", path+"/secrets", `{"previous_expires_in":60}`, "If-Match", w.do(w.admin, "GET", path, "").header.Get("ETag"))
	require.Equal(t, 201, rotated.status, rotated.raw)
	require.Equal(t, w.viewer.ClientID, rotated.body["client_id"])
	require.Equal(t, w.viewer.ID, rotated.body["id"])
	secret := rotated.body["client_secret"].(string)
	made := rotated.body["secret"].(map[string]any)
	require.Equal(t, "live", made["state"])
	require.Equal(t, secret[len(secret)-4:], made["hint"])
	require.Equal(t, "no-store", rotated.header.Get("Cache-Control"))
	require.NotEmpty(t, rotated.header.Get("Keyreeve-Revision"))
	require.Equal(t, w.do(w.admin, "GET", path, "").header.Get("ETag"), rotated.header.Get("ETag"))
	signedIn := w.viewer
	signedIn.ClientSecret = secret
	require.Equal(t, 200, w.do(signedIn, "GET", "/v1/keys", "").status)

	list := w.do(signedIn, "GET", path+"/secrets", "")
	require.Equal(t, 200, list.status)
	require.NotContains(t, list.raw, secret)
	require.EqualValues(t, 2, list.body["total"])
	require.Nil(t, list.body["next_cursor"])
	old := list.body["items"].([]any)[1].(map[string]any)
	require.Equal(t, "expiring", old["state"])
	require.Equal(t, "2026-01-02T03:05:05Z", old["expires_at"])

	third := w.do(w.admin, "POST", path+"/secrets", "")
	require.Equal(t, 409, third.status)
	require.Equal(t, "too_many_secrets", third.code())
	retire := path + "/secrets/" + old["id"].(string)
	require.Equal(t, 412, w.do(w.admin, "DELETE", retire, "", "If-Match", `"r1"`).status)
	require.Equal(t, 204, w.do(w.admin, "DELETE", retire, "").status)
	require.Equal(t, 204, w.do(w.admin, "DELETE", retire, "").status, "again")
	require.Equal(t, 404, w.do(w.admin, "DELETE", path+"/secrets/sec_none", "").status)
	require.Equal(t, 201, w.do(w.admin, "POST", path+"/secrets", "").status, "no body is the defaults")
}

func TestASecretInUseIsRetiredByForceAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.viewer.Secrets[0].ID
	require.NoError(t, w.store.Use(t.Context(), []keystore.Use{{KeyID: w.viewer.ID, SecretID: id, At: w.clock.Now().Wall, Address: "192.0.2.7"}}))
	path := "/v1/keys/" + w.viewer.ID + "/secrets/" + id
	for query, status := range map[string]int{"": 409, "?force=false": 409, "?force=maybe": 400, "?force=true&force=true": 400, "?forced=true": 400} {
		require.Equal(t, status, w.do(w.admin, "DELETE", path+query, "").status, query)
	}
	refused := w.do(w.admin, "DELETE", path, "")
	require.Equal(t, "secret_in_use", refused.code())
	require.Contains(t, refused.body["detail"], "192.0.2.7")
	require.Equal(t, 204, w.do(w.admin, "DELETE", path+"?force=true", "").status)
	require.Empty(t, w.do(w.admin, "GET", "/v1/keys/"+w.viewer.ID, "").body["secrets"])
}

func TestABadRotationIsRefusedByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := "/v1/keys/" + w.viewer.ID + "/secrets"
	for body, code := range map[string]string{
		`{"previous_expires_in":-1}`: "out_of_range", `{"previous_expires_in":2592001}`: "out_of_range", `{"previous_expires_in":1.5}`: "invalid_type",
		`{"previous_expires_in":"3600"}`: "invalid_type", `{"previous_expires_in":9223372036854775808}`: "invalid_type",
	} {
		a := w.do(w.admin, "POST", path, body)
		require.Equal(t, 400, a.status, body)
		require.Equal(t, map[string]string{"previous_expires_in": code}, a.fields(), body)
	}
	for _, field := range []string{"client_secret", "secret_sha256", "secret", "id"} {
		a := w.do(w.admin, "POST", path, `{"`+field+`":"x"}`)
		require.Equal(t, map[string]string{field: "unknown_field"}, a.fields())
	}
	require.Equal(t, 415, w.do(w.admin, "POST", path, "x", "Content-Type", "text/plain").status)
	require.Equal(t, 403, w.do(w.viewer, "POST", path, "").status)
	require.Equal(t, 403, w.do(w.admin, "POST", "/v1/keys/"+w.operator.ID+"/secrets", "").status)
	require.Equal(t, 404, w.do(w.foreign, "POST", path, "").status)
	require.Equal(t, 404, w.do(w.foreign, "GET", path, "").status)
	require.Equal(t, 404, w.do(w.tenant, "GET", path, "").status)
	require.EqualValues(t, 1, w.do(w.admin, "GET", path, "").body["total"])
}

func TestOfTwoEditorsOfOneStateExactlyOneWins(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string][3]string{
		"edit":    {"PATCH", "", `{"description":"mine"}`},
		"rotate":  {"POST", "/secrets", `{"previous_expires_in":0}`},
		"disable": {"PATCH", "", `{"enabled":false}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			path := "/v1/keys/" + w.viewer.ID
			tag := w.do(w.admin, "GET", path, "").header.Get("ETag")
			const editors = 8
			statuses := make([]int, editors)
			var all sync.WaitGroup
			for i := range editors {
				all.Go(func() { statuses[i] = w.do(w.admin, edit[0], path+edit[1], edit[2], "If-Match", tag).status })
			}
			all.Wait()
			won := 0
			for _, status := range statuses {
				if status == 412 {
					continue
				}
				require.Contains(t, []int{200, 201}, status)
				won++
			}
			require.Equal(t, 1, won)
		})
	}
}

func TestAnUnlockHonoursIfMatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := "/v1/keys/" + w.viewer.ID
	require.Equal(t, 412, w.do(w.admin, "DELETE", path+"/lock", "", "If-Match", `"r0"`).status)
	require.Equal(t, 204, w.do(w.admin, "DELETE", path+"/lock", "", "If-Match", w.do(w.admin, "GET", path, "").header.Get("ETag")).status)
}
