package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestEachRoleMayDoExactlyWhatItNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.key(lifecycle.NewKey{Name: "victim", RoleID: w.viewerRole, CustomerID: "acme"})
	operations := []struct {
		name, method, path, body           string
		operator, admin, viewer, bystander int // the bystander holds everything of the upstreams, nothing here
	}{
		{"list", "GET", "/v1/keys", "", 200, 200, 200, 403},
		{"get", "GET", "/v1/keys/" + victim.ID, "", 200, 200, 200, 403},
		{"head", "HEAD", "/v1/keys/" + victim.ID, "", 200, 200, 200, 403},
		{"create", "POST", "/v1/keys", `{"name":"by NAME","role_id":"` + w.viewerRole + `"}`, 201, 201, 403, 403},
		{"update", "PATCH", "/v1/keys/" + victim.ID, `{"description":"NAME"}`, 200, 200, 403, 403},
		{"lock", "GET", "/v1/keys/" + victim.ID + "/lock", "", 200, 200, 403, 403},
		{"unlock", "DELETE", "/v1/keys/" + victim.ID + "/lock", "", 204, 204, 403, 403},
		{"roles", "GET", "/v1/roles", "", 200, 200, 403, 403},
		{"get unknown", "GET", "/v1/keys/key_none", "", 404, 404, 404, 403},
		{"delete unknown", "DELETE", "/v1/keys/key_none", "", 404, 404, 403, 403},
		{"description", "GET", "/v1/openapi.json", "", 200, 200, 200, 200},
	}
	for _, op := range operations {
		for _, who := range []struct {
			name string
			key  lifecycle.CreatedKey
			want int
		}{{"operator", w.operator, op.operator}, {"admin", w.admin, op.admin}, {"viewer", w.viewer, op.viewer}, {"bystander", w.bystander, op.bystander}} {
			a := w.do(who.key, op.method, op.path, strings.ReplaceAll(op.body, "NAME", who.name))
			require.Equal(t, who.want, a.status, "%s by %s: %s", op.name, who.name, a.raw)
			if a.status == http.StatusForbidden && op.method != http.MethodHead {
				require.Equal(t, "permission_denied", a.code())
			}
		}
	}
}

func TestForeignKeysAreNotFoundAndNeverListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sibling := w.key(lifecycle.NewKey{Name: "sibling", RoleID: w.viewerRole, CustomerID: "acme", MicrotenantID: lifecycle.Some("apac")})
	for _, c := range []struct {
		name   string
		as     lifecycle.CreatedKey
		hidden lifecycle.CreatedKey
	}{
		{"another customer's", w.admin, w.foreign},
		{"a sibling microtenant's", w.tenant, sibling},
		{"the customer level from inside a microtenant", w.tenant, w.viewer},
	} {
		for _, r := range [][3]string{
			{"GET", "", ""}, {"PATCH", "", `{"enabled":false}`}, {"DELETE", "", ""}, {"GET", "/lock", ""}, {"DELETE", "/lock", ""},
		} {
			a := w.do(c.as, r[0], "/v1/keys/"+c.hidden.ID+r[1], r[2])
			require.Equal(t, 404, a.status, "%s: %s %s", c.name, r[0], a.raw)
			unknown := w.do(c.as, r[0], "/v1/keys/key_unknown"+r[1], r[2])
			require.Equal(t, unknown.body["detail"], a.body["detail"], "foreign and unknown read alike")
			require.Equal(t, unknown.body["code"], a.body["code"])
		}
		require.NotContains(t, w.do(c.as, "GET", "/v1/keys?page_size=500", "").names(), c.hidden.Name, c.name)
	}
	require.Equal(t, []string{"tenant"}, w.do(w.tenant, "GET", "/v1/keys", "").names())
	for _, filter := range []string{"customer_id=umbrella", "customer_id=none"} {
		a := w.do(w.admin, "GET", "/v1/keys?"+filter, "")
		require.Equal(t, 200, a.status)
		require.Empty(t, a.names(), "a filter does not widen what is seen")
		require.EqualValues(t, 0, a.body["total"])
	}
	require.Empty(t, w.do(w.tenant, "GET", "/v1/keys?microtenant_id=apac", "").names())
	require.Equal(t, []string{"foreign"}, w.do(w.operator, "GET", "/v1/keys?customer_id=umbrella", "").names(), "an Operator sees all")
	require.EqualValues(t, 7, w.do(w.operator, "GET", "/v1/keys", "").body["total"])
}

func TestNobodyGrantsMoreThanTheyHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name, method, path, body, field string
	}{
		{"mints an Operator", "POST", "/v1/keys", `{"name":"a","role_id":"role_operator"}`, "role_id"},
		{"mints full access", "POST", "/v1/keys", `{"name":"a","role_id":"role_api_full_access"}`, "role_id"},
		{"imports full access", "POST", "/v1/keys", `{"name":"a","role_id":"role_api_full_access","client_id":"old","secret_sha256":"` + strings.Repeat("ab", 32) + `"}`, "role_id"},
		{"mints for another customer", "POST", "/v1/keys", `{"name":"a","role_id":"` + w.viewerRole + `","customer_id":"umbrella"}`, "customer_id"},
		{"mints for no customer", "POST", "/v1/keys", `{"name":"a","role_id":"` + w.viewerRole + `","customer_id":"none"}`, "customer_id"},
		{"raises another key", "PATCH", "/v1/keys/" + w.viewer.ID, `{"role_id":"role_api_full_access"}`, "role_id"},
		{"edits a stronger key", "PATCH", "/v1/keys/" + w.operator.ID, `{"description":"mine"}`, "role_id"},
		{"weakens a stronger key", "PATCH", "/v1/keys/" + w.bystander.ID, `{"role_id":"` + w.viewerRole + `"}`, "role_id"},
		{"deletes a stronger key", "DELETE", "/v1/keys/" + w.operator.ID, "", "role_id"},
		{"changes its own role", "PATCH", "/v1/keys/" + w.admin.ID, `{"role_id":"` + w.viewerRole + `"}`, "role_id"},
	} {
		a := w.do(w.admin, c.method, c.path, c.body)
		require.Equal(t, 403, a.status, "%s: %s", c.name, a.raw)
		require.Equal(t, "exceeds_own_rights", a.code(), c.name)
		require.Contains(t, a.fields(), c.field, c.name)
	}
	for _, body := range []string{`"microtenant_id":"apac"`, `"microtenant_id":null`, `"microtenant_id":"none"`} {
		a := w.do(w.tenant, "POST", "/v1/keys", `{"name":"a","role_id":"`+w.viewerRole+`",`+body+`}`)
		require.Equal(t, 403, a.status, "%s %s", body, a.raw)
		require.Contains(t, a.fields(), "microtenant_id")
	}
	a := w.do(w.tenant, "POST", "/v1/keys", `{"name":"a","role_id":"`+w.viewerRole+`"}`)
	require.Equal(t, "emea", a.body["microtenant_id"], "a microtenant's admin makes keys inside it")
	require.EqualValues(t, 7, w.do(w.operator, "GET", "/v1/keys", "").body["total"], "nothing refused was stored")
}

func TestAKeyIsNeverMadeWiderOrLongerLivedThanItsMaker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := w.clock.Now().Wall.AddDate(0, 1, 0)
	bounded := w.key(lifecycle.NewKey{Name: "bounded", RoleID: w.adminRole, CustomerID: "acme",
		AllowedCIDRs: []string{"192.0.2.0/24", "2001:db8::/32"}, ExpiresAt: lifecycle.Some(end)})
	create := func(more string) answer {
		return w.do(bounded, "POST", "/v1/keys", `{"name":"`+strings.Repeat("n", len(more)%40+1)+`","role_id":"`+w.viewerRole+`"`+more+`}`)
	}
	within := `,"expires_at":"` + end.Format("2006-01-02T15:04:05Z07:00") + `"`
	for more, field := range map[string]string{
		``:                                  "allowed_cidrs",
		`,"allowed_cidrs":["192.0.2.0/25"]`: "expires_at",
		within:                              "allowed_cidrs",
		within + `,"allowed_cidrs":["192.0.0.0/16"]`:                            "allowed_cidrs",
		within + `,"allowed_cidrs":["192.0.2.0/25","10.0.0.0/8"]`:               "allowed_cidrs",
		`,"allowed_cidrs":["192.0.2.0/25"],"expires_at":"2126-01-01T00:00:00Z"`: "expires_at",
	} {
		a := create(more)
		require.Equal(t, 403, a.status, "%s: %s", more, a.raw)
		require.Contains(t, a.fields(), field, more)
	}
	made := create(within + `,"allowed_cidrs":["192.0.2.0/25","2001:db8:1::/48"]`)
	require.Equal(t, 201, made.status, made.raw)
	path := "/v1/keys/" + made.body["id"].(string)
	for _, body := range []string{`{"allowed_cidrs":null}`, `{"allowed_cidrs":[]}`, `{"allowed_cidrs":["0.0.0.0/0"]}`, `{"expires_at":null}`} {
		require.Equal(t, 403, w.do(bounded, "PATCH", path, body).status, body)
	}
	require.Equal(t, 403, w.do(bounded, "PATCH", "/v1/keys/"+bounded.ID, `{"expires_at":null}`).status, "not even itself")
	require.Equal(t, 403, w.do(bounded, "DELETE", "/v1/keys/"+w.viewer.ID, "").status, "nor one that reaches further")
	require.Equal(t, 200, w.do(bounded, "PATCH", path, `{"allowed_cidrs":["192.0.2.7/32"]}`).status)
	require.Equal(t, 204, w.do(bounded, "DELETE", path, "").status)
}

func TestARoleOfAnotherCustomerCannotBeUsedOrTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	role, _, err := w.svc.CreateRole(t.Context(), local, lifecycle.NewRole{Name: "theirs", CustomerID: lifecycle.Some("umbrella"), Permissions: policy.Permissions{"*": policy.Full}})
	require.NoError(t, err)
	for _, id := range []string{role.ID, "role_none"} {
		a := w.do(w.admin, "POST", "/v1/keys", `{"name":"a","role_id":"`+id+`"}`)
		require.Equal(t, 400, a.status, a.raw)
		require.Equal(t, map[string]string{"role_id": "not_found"}, a.fields())
	}
	require.NotContains(t, w.do(w.admin, "GET", "/v1/roles", "").names(), "theirs")
	require.Contains(t, w.do(w.operator, "GET", "/v1/roles", "").names(), "theirs")
	require.Contains(t, w.do(w.operator, "GET", "/v1/roles?customer_id=umbrella", "").names(), "theirs")
	require.NotContains(t, w.do(w.operator, "GET", "/v1/roles?customer_id=acme", "").names(), "theirs")
}

func TestRightsLostWhileARequestIsUnderWayAreLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k, err := w.store.KeyByClientID(t.Context(), w.admin.ClientID)
	require.NoError(t, err)
	var role *keystore.Role
	require.NoError(t, w.store.View(t.Context(), func(r keystore.Reader) (err error) {
		role, err = r.Role(t.Context(), k.RoleID)
		return err
	}))
	signedIn := lifecycle.ForKey(k, role, "192.0.2.1", "r1")
	w.api.auth = func(*http.Request) (lifecycle.Actor, *AuthProblem) { return signedIn, nil }
	path := "/v1/keys/" + w.viewer.ID
	require.Equal(t, 200, w.do(w.admin, "PATCH", path, `{"description":"before"}`).status)

	_, _, err = w.svc.UpdateKey(t.Context(), local, w.admin.ID, lifecycle.KeyPatch{RoleID: lifecycle.Some(w.viewerRole)}, nil)
	require.NoError(t, err)
	require.Equal(t, 403, w.do(w.admin, "PATCH", path, `{"description":"after"}`).status, "the role it has now decides")

	_, _, err = w.svc.UpdateKey(t.Context(), local, w.admin.ID, lifecycle.KeyPatch{Enabled: lifecycle.Some(false)}, nil)
	require.NoError(t, err)
	a := w.do(w.admin, "GET", path, "")
	require.Equal(t, 401, a.status)
	require.Equal(t, "client_inactive", a.code())
	require.Contains(t, a.header.Get("WWW-Authenticate"), `error="invalid_token"`)
}
