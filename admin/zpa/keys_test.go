package zpa

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

func TestAKeyIsShownInTheTermsOfItsClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.do(w.operator, "POST", acmeKeys, `{"name":"Terraform","enabled":true,"tokenExpiryTimeInSec":"900","roleId":"28"}`)
	require.Equal(t, http.StatusCreated, a.status, a.raw)
	id, clientID, secret := a.body["id"].(string), a.body["clientId"].(string), a.body["clientSecret"].(string)
	require.True(t, credential.CheckSecret(secret))
	require.Equal(t, acmeKeys+"/"+id, a.header.Get("Location"))
	revision, created := a.body["syncVersion"].(string), strconv.FormatInt(w.clock.Now().Wall.Unix(), 10)
	require.Equal(t, []string{`"r` + revision + `"`, revision}, []string{a.header.Get("ETag"), a.header.Get("Keyreeve-Revision")})
	require.Equal(t, "confirmed=1; pending=0", a.header.Get("Keyreeve-Propagation"))

	want := fmt.Sprintf(`{"id":%q,"name":"Terraform","clientId":%q,"enabled":true,"tokenExpiryTimeInSec":"900","roleId":"28","isLocked":false,
		"readOnly":false,"restrictedEntity":false,"zscalerManaged":false,"pinSessionEnabled":false,"syncVersion":%q,"customerId":"acme",
		"creationTime":%q,"modifiedTime":%q,"modifiedBy":%q,"scopeId":"acme","microtenantId":"0","microtenantName":"Default"}`,
		id, clientID, revision, created, created, w.operator.ID)
	got := w.do(w.operator, "GET", acmeKeys+"/"+id, "")
	require.Equal(t, http.StatusOK, got.status)
	require.JSONEq(t, want, got.raw, "the same without the secret")
	require.Equal(t, a.header.Get("ETag"), got.header.Get("ETag"))
	list := w.do(w.operator, "GET", acmeKeys+"?search=name+EQ+Terraform", "")
	require.JSONEq(t, `{"totalPages":"1","totalCount":"1","list":[`+want+`]}`, list.raw)
	require.Equal(t, keystore.RoleFullAccess, w.stored(id).RoleID)

	inside := w.do(w.operator, "POST", acmeKeys+"?microtenantId=emea", `{"name":"Inside","roleId":"role_api_read_only"}`)
	require.Equal(t, []any{"emea", "EMEA", "emea", "role_api_read_only"},
		[]any{inside.body["microtenantId"], inside.body["microtenantName"], inside.body["scopeId"], inside.body["roleId"]}, inside.raw)
	require.Equal(t, "3600", inside.body["tokenExpiryTimeInSec"], "the default, spelt out")
}

func TestEnabledLeftOutMeansFalse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, body := range []string{`{"name":"a%d","roleId":"28"}`, `{"name":"a%d","roleId":"28","enabled":null}`, `{"name":"a%d","roleId":"28","enabled":false}`} {
		require.False(t, w.stored(w.create(w.operator, acmeKeys, fmt.Sprintf(body, i))).Enabled, body)
	}
	id := w.create(w.operator, acmeKeys, `{"name":"b","roleId":"28","enabled":true}`)
	require.True(t, w.stored(id).Enabled)
	a := w.do(w.operator, "PUT", acmeKeys+"/"+id, `{"name":"b","roleId":"28","tokenExpiryTimeInSec":"3600"}`)
	require.Equal(t, http.StatusNoContent, a.status, a.raw)
	require.False(t, w.stored(id).Enabled)
}

func TestPUTReplacesWhatTheFaceKnowsAndLeavesAloneWhatItDoesNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := lifecycle.NewKey{Name: "before", Description: "kept", RoleID: keystore.RoleReadOnly, CustomerID: "acme",
		ExpiresAt: lifecycle.Some(w.clock.Now().Wall.Add(48 * time.Hour)), AllowedCIDRs: []string{"192.0.2.0/24"}, Labels: map[string]string{"env": "prod"}}
	made := w.key(in)
	before := w.stored(made.ID)
	a := w.do(w.operator, "PUT", acmeKeys+"/"+made.ID, `{"name":"after","roleId":"28","enabled":true,"tokenExpiryTimeInSec":600}`)
	require.Equal(t, http.StatusNoContent, a.status, a.raw)
	require.Empty(t, a.raw)
	after := w.stored(made.ID)
	require.Equal(t, []string{strconv.FormatInt(int64(after.Revision), 10), "confirmed=1; pending=0"},
		[]string{a.header.Get("Keyreeve-Revision"), a.header.Get("Keyreeve-Propagation")})
	require.Equal(t, []any{"after", keystore.RoleFullAccess, true, int64(600)}, []any{after.Name, after.RoleID, after.Enabled, *after.SessionValiditySeconds})
	require.Equal(t, []netip.Prefix{prefix("192.0.2.0/24")}, after.AllowedCIDRs)
	require.Equal(t, []any{before.Description, before.ExpiresAt, before.Labels, before.Secrets, before.ClientID},
		[]any{after.Description, after.ExpiresAt, after.Labels, after.Secrets, after.ClientID})

	a = w.do(w.operator, "PUT", acmeKeys+"/"+made.ID, `{"name":"after","roleId":"28","enabled":true}`)
	require.Equal(t, http.StatusNoContent, a.status, a.raw)
	require.Nil(t, w.stored(made.ID).SessionValiditySeconds, "left out is the default")
	w.do(w.operator, "PUT", acmeKeys+"/"+made.ID, `{"roleId":"28"}`).refused(t, 400, "validation.failed", "name is required")
	w.do(w.operator, "PUT", acmeKeys+"/"+made.ID, `{"name":"x"}`).refused(t, 400, "validation.failed", "roleId is required")
}

func TestWhatAClientGotItMaySendBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{acmeKeys, acmeKeys + "?microtenantId=emea"} {
		id := w.create(w.operator, path, `{"name":"Round trip","roleId":"28","enabled":true}`)
		one := strings.Replace(path, "apiKeys", "apiKeys/"+id, 1)
		got := w.do(w.operator, "GET", one, "")
		before := w.stored(id)
		a := w.do(w.operator, "PUT", one, got.raw)
		require.Equal(t, http.StatusNoContent, a.status, a.raw)
		require.Equal(t, before, w.stored(id), "nothing new was said")

		// Another wrote meanwhile; what only records that is not compared.
		require.Equal(t, 204, w.do(w.operator, "PUT", one, `{"name":"Meanwhile","roleId":"28","enabled":true}`).status)
		require.Equal(t, 204, w.do(w.operator, "PUT", one, got.raw).status)
		require.Equal(t, "Round trip", w.stored(id).Name)
		// Unless the client asks for it.
		w.do(w.operator, "PUT", one, got.raw, "If-Match", got.header.Get("ETag")).refused(t, 412, "revision.mismatch")
		w.do(w.operator, "DELETE", one, "", "If-Match", got.header.Get("ETag")).refused(t, 412, "revision.mismatch")
		w.clock.Advance(time.Minute)
	}
}

func TestMembersThatCannotBeSetAreRefusedByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.create(w.operator, acmeKeys, `{"name":"fixed","roleId":"28"}`)
	for _, member := range []string{
		`"id":"key_other"`, `"clientId":"other"`, `"clientSecret":"s3cret"`, `"isLocked":true`, `"readOnly":true`, `"restrictedEntity":true`,
		`"zscalerManaged":true`, `"pinSessionEnabled":true`, `"customerId":"umbrella"`, `"creationTime":"1"`, `"scopeId":"emea"`,
		`"microtenantId":"emea"`, `"microtenantName":"EMEA"`, `"iamClientId":"x"`, `"restrictionType":"x"`,
		`"customer_id":"umbrella"`, `"lock":{}`, `"source":"x"`, `"hash":"x"`, `"secret_sha256":"x"`, `"Name":"x"`, `"labels":{}`,
	} {
		name := strings.Trim(strings.SplitN(member, ":", 2)[0], `"`)
		body := `{"name":"fixed 2","roleId":"28",` + member + `}`
		for method, path := range map[string]string{"POST": acmeKeys, "PUT": acmeKeys + "/" + id} {
			a := w.do(w.operator, method, path, body)
			a.refused(t, 400, "unknown.field", name+" ")
			require.NotContains(t, a.raw, "s3cret")
		}
	}
	for _, member := range []string{`"syncVersion":"7"`, `"modifiedTime":"7"`, `"modifiedBy":"x"`} {
		w.do(w.operator, "POST", acmeKeys, `{"name":"fixed 3","roleId":"28",`+member+`}`).refused(t, 400, "unknown.field", strings.Trim(strings.SplitN(member, ":", 2)[0], `"`)+" ")
	}
	require.Equal(t, "fixed", w.stored(id).Name)
	empty := `{"name":"Empty members","roleId":"28","id":"","clientId":null,"clientSecret":"","isLocked":false,"readOnly":false,"customerId":"acme",
		"creationTime":"0","modifiedTime":0,"modifiedBy":"","syncVersion":"0","microtenantId":"0","microtenantName":"Default","scopeId":"acme","pinSessionEnabled":false}`
	w.create(w.operator, acmeKeys, empty)
}

func TestTypesAreWhatClientsSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, given := range []string{`"60"`, `60`, `"3600"`, `3600`, `null`} {
		w.create(w.operator, acmeKeys, fmt.Sprintf(`{"name":"ok %d","roleId":28,"tokenExpiryTimeInSec":%s}`, i, given))
	}
	for _, given := range []string{`"0"`, `0`, `-1`, `"-1"`, `59`, `"59"`, `3601`, `"3601"`} {
		w.do(w.operator, "POST", acmeKeys, `{"name":"bad","roleId":"28","tokenExpiryTimeInSec":`+given+`}`).
			refused(t, 400, "validation.failed", "tokenExpiryTimeInSec must be a whole number from 60 to 3600")
	}
	for _, given := range []string{`"9223372036854775808"`, `9223372036854775808`, `1.5`, `"1.5"`, `6e1`, `"6e1"`, `""`, `" 60"`, `"060"`, `"+60"`, `"0x3c"`, `true`, `[]`, `{}`, `"-"`, `"one hour"`} {
		w.do(w.operator, "POST", acmeKeys, `{"name":"bad","roleId":"28","tokenExpiryTimeInSec":`+given+`}`).
			refused(t, 400, "validation.failed", "tokenExpiryTimeInSec must be a whole number")
	}
	for member, word := range map[string]string{
		`"name":true`: "name must be a string", `"name":1.5`: "name must be a string", `"name":["x"]`: "name must be a string", `"enabled":"true"`: "enabled must be true or false",
		`"enabled":1`: "enabled must be true or false", `"roleId":{}`: "roleId must be a string", `"isLocked":"no"`: "isLocked must be true or false",
	} {
		w.do(w.operator, "POST", acmeKeys, `{`+member+`}`).refused(t, 400, "validation.failed", word)
	}
	w.do(w.operator, "POST", acmeKeys, `{"name":"","enabled":"x","roleId":"28","tokenExpiryTimeInSec":"x","x":1}`).
		refused(t, 400, "validation.failed", "enabled", "tokenExpiryTimeInSec", "x does not exist")
	w.do(w.operator, "POST", acmeKeys, `{"name":"\u202egnp.exe","roleId":"28"}`).refused(t, 400, "validation.failed", "name contains U+202E")
	w.do(w.operator, "POST", acmeKeys, `{"name":"x","roleId":"role_unknown"}`).refused(t, 400, "validation.failed", "roleId there is no such role")
}

func TestABodyIsReadAsStrictlyAsThatOfTheAdminAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	post := func(body string, headers ...string) answer {
		return w.do(w.operator, "POST", acmeKeys, body, headers...)
	}
	post(`{"name":"a","name":"b","roleId":"28"}`).refused(t, 400, "validation.failed", "name is given more than once")
	for _, body := range []string{`[]`, `null`, `{`, `{"name":"a"} {}`, "{\"name\":\"\xff\"}", `{"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`} {
		post(body).refused(t, 400, "malformed.json")
	}
	post(`{"name":"a","roleId":"28"}`, "Content-Type", "text/plain").refused(t, 415, "unsupported.media.type")
	post(`{"name":"`+strings.Repeat("a", 1<<20)+`"}`).refused(t, 413, "body.too.large")
	require.Equal(t, 201, post(`{"name":"a","roleId":"28"}`, "Content-Type", "application/json; charset=UTF-8").status)
}

func TestDeletingEndsAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.create(w.operator, acmeKeys, `{"name":"short","roleId":"28"}`)
	a := w.do(w.operator, "DELETE", acmeKeys+"/"+id, "")
	require.Equal(t, []any{http.StatusNoContent, ""}, []any{a.status, a.raw})
	require.NotEmpty(t, a.header.Get("Keyreeve-Revision"))
	for _, method := range []string{"GET", "DELETE"} {
		w.do(w.operator, method, acmeKeys+"/"+id, "").refused(t, 404, "resource.not.found")
	}
	w.do(w.operator, "PUT", acmeKeys+"/"+id, `{"name":"x","roleId":"28"}`).refused(t, 404, "resource.not.found")
}

func TestANameIsTakenOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(w.operator, acmeKeys, `{"name":"twice","roleId":"28"}`)
	w.do(w.operator, "POST", acmeKeys, `{"name":"twice","roleId":"28"}`).refused(t, 409, "name.taken", "another key has this name")
	w.create(w.operator, acmeKeys+"?microtenantId=emea", `{"name":"twice","roleId":"28"}`)
}

func TestARetriedPOSTMakesOneKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const body = `{"name":"once","roleId":"28"}`
	first := w.do(w.operator, "POST", acmeKeys, body, "Idempotency-Key", "abc")
	again := w.do(w.operator, "POST", acmeKeys, body, "Idempotency-Key", "abc")
	require.Equal(t, []int{201, 201}, []int{first.status, again.status}, again.raw)
	require.Equal(t, []any{first.body["id"], nil}, []any{again.body["id"], again.body["clientSecret"]})
	require.Equal(t, []string{"", "true"}, []string{first.header.Get("Idempotency-Replayed"), again.header.Get("Idempotency-Replayed")})
	w.do(w.operator, "POST", acmeKeys, `{"name":"other","roleId":"28"}`, "Idempotency-Key", "abc").refused(t, 422, "idempotency.key.reused")
	w.do(w.operator, "POST", acmeKeys, body, "Idempotency-Key", "a b").refused(t, 400, "validation.failed", "Idempotency-Key")
}

func TestKeysOfAnExternalSourceAreShownAndRefusedByOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for rule, want := range map[string][]any{
		keystore.SourceReadOnly: {true, false, false},
		keystore.SourceLocked:   {false, true, true},
	} {
		id := w.owned("src-"+rule[:4], rule)
		got := w.do(w.operator, "GET", acmeKeys+"/"+id, "")
		require.Equal(t, want, []any{got.body["readOnly"], got.body["restrictedEntity"], got.body["zscalerManaged"]}, got.raw)
		w.do(w.operator, "PUT", acmeKeys+"/"+id, got.raw).refused(t, 409, "managed.externally", "Directory team")
		w.do(w.operator, "DELETE", acmeKeys+"/"+id, "").refused(t, 409, "managed.externally", "Directory team")
	}
}

func TestALockIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.create(w.operator, acmeKeys, `{"name":"guessed","roleId":"28","enabled":true}`)
	for range 3 {
		_, err := w.store.Count(t.Context(), lockout(), []keystore.Proof{{KeyID: id}})
		require.NoError(t, err)
	}
	got := w.do(w.operator, "GET", acmeKeys+"/"+id, "")
	require.Equal(t, true, got.body["isLocked"])
	require.Equal(t, 204, w.do(w.operator, "PUT", acmeKeys+"/"+id, got.raw).status, "said back")
	body := map[string]any{"name": "guessed", "roleId": "28", "enabled": true, "isLocked": false}
	text, err := json.Marshal(body)
	require.NoError(t, err)
	w.do(w.operator, "PUT", acmeKeys+"/"+id, string(text)).refused(t, 400, "unknown.field", "isLocked cannot be set here and is true")
	require.True(t, w.stored(id).Lock.Locked)
}
