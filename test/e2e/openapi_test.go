package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/test/openapi"
)

// described is the admin API of a running gate, each exchange with which is held
// against its own OpenAPI document.
type described struct {
	t        *testing.T
	document *openapi.Document
	url      string
}

// reply is an answer of the described API.
type reply struct {
	status int
	header http.Header
	body   map[string]any
}

func (r reply) text(member string) string {
	s, _ := r.body[member].(string)
	return s
}

// as sends one request; by is a key's basic credential, "" for none. Each header
// is a name and a value.
func (d *described) as(by, method, target, body string, headers ...string) reply {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+target, strings.NewReader(body))
	require.NoError(d.t, err)
	if by != "" {
		req.Header.Set("Authorization", strings.TrimPrefix(by, "Authorization: "))
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(d.t, err)
	answer, err := io.ReadAll(resp.Body)
	require.NoError(d.t, err)
	require.NoError(d.t, resp.Body.Close())
	e := openapi.Exchange{Method: method, Target: target, Header: req.Header, Body: []byte(body),
		Status: resp.StatusCode, ResponseHeader: resp.Header, ResponseBody: bytes.TrimSpace(answer)}
	require.NoError(d.t, d.document.Check(e), "%s", answer)
	out := reply{status: resp.StatusCode, header: resp.Header}
	_ = json.Unmarshal(answer, &out.body) // no object: nil
	return out
}

// documented reads the document from the gate and requires it to be the committed one.
func documented(t *testing.T, g *gate) *described {
	t.Helper()
	a := g.api(t, "GET", "/v1/openapi.json", "")
	require.Equal(t, 200, a.status)
	committed, err := os.ReadFile("../../docs/openapi.json")
	require.NoError(t, err)
	require.JSONEq(t, string(committed), a.body)
	d, err := openapi.Parse([]byte(a.body))
	require.NoError(t, err)
	return &described{t: t, document: d, url: "http://" + g.admin}
}

// TestEveryPathAndEveryErrorOfTheDescriptionIsServed tries each operation of the
// OpenAPI document, and each status it describes, against a running gate.
func TestEveryPathAndEveryErrorOfTheDescriptionIsServed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.run(t, &site{gate: "policy " + h.policyFile(t), handlers: "keyreeve_auth", upstream: newUpstream(t).url})
	d := documented(t, g)
	s := newScene(d, h, g)
	s.succeed()
	s.conflict()
	for _, op := range d.document.Operations() {
		s.refuse(op)
	}
	unseen := slices.DeleteFunc(d.document.Unseen(), needsNodes)
	require.Empty(t, unseen, "described, and never seen")
}

// needsNodes reports what one node alone on a SQLite store never answers: a change that
// others have yet to confirm, a node that may still serve, a store that went back. That
// is tried on a PostgreSQL store.
func needsNodes(described string) bool {
	switch described {
	case "DELETE /v1/nodes/{id} 204", "DELETE /v1/nodes/{id} 409", "POST /v1/nodes/accept-restore 200":
		return true
	}
	return strings.HasSuffix(described, " 202")
}

// scene is what the operations are tried on.
type scene struct {
	*described
	h       *house
	g       *gate
	admin   string            // credential of an Operator
	nobody  string            // credential of a key without rights here
	records map[string]string // the path of a record of each kind, by the template of its path
}

func newScene(d *described, h *house, g *gate) *scene {
	return &scene{described: d, h: h, g: g, admin: h.operator.basic(), nobody: h.readonly.basic(), records: map[string]string{}}
}

func (s *scene) do(status int, method, target, body string, headers ...string) reply {
	s.t.Helper()
	r := s.as(s.admin, method, target, body, headers...)
	require.Equal(s.t, status, r.status, "%s %s: %v", method, target, r.body)
	return r
}

// keep notes a record for the refusals to come.
func (s *scene) keep(template, path string) string {
	s.records[template] = path
	return path
}

// succeed has each operation done once, by what is on the road to the others.
func (s *scene) succeed() {
	customer := `"customer_id":"` + s.h.customer + `"`
	for _, path := range []string{"/v1/keys", "/v1/roles", "/v1/customers", "/v1/microtenants", "/v1/sources", "/v1/locks", "/v1/sessions", "/v1/audit-events",
		"/v1/audit-events/verify", "/v1/nodes", "/v1/me", "/v1/me/preferences", "/v1/me/views", "/v1/policy/routes"} {
		s.do(200, "GET", path, "")
	}
	s.keep("/v1/nodes/{id}", "/v1/nodes/unknown")
	s.tenants()
	role := s.do(201, "POST", "/v1/roles", `{"name":"Described","permissions":{"*":"view"},`+customer+`}`).text("id")
	s.record("/v1/roles/{id}", "/v1/roles/"+role, `{"description":"d"}`)
	key := s.do(201, "POST", "/v1/keys", `{"name":"described","role_id":"`+role+`",`+customer+`}`)
	path := s.keep("/v1/keys/{id}", "/v1/keys/"+key.text("id"))
	for _, part := range []string{"lock", "secrets", "sessions", "usage"} {
		s.do(200, "GET", s.keep("/v1/keys/{id}/"+part, path+"/"+part), "")
	}
	s.record("/v1/keys/{id}", path, `{"labels":{"env":"test"},"allowed_cidrs":null,"expires_at":null}`)
	secret := s.do(201, "POST", path+"/secrets", `{"previous_expires_in":3600}`)
	require.NotEmpty(s.t, secret.text("client_secret"))
	s.h.secrets = append(s.h.secrets, secret.text("client_secret"), key.text("client_secret"))
	s.g.token(s.t, keyOf(key))
	session := s.do(200, "GET", "/v1/sessions?key_id="+key.text("id"), "").first()
	s.do(200, "GET", s.keep("/v1/sessions/{id}", "/v1/sessions/"+session), "")
	tag := s.do(200, "GET", "/v1/sessions/"+session, "").header.Get("ETag")
	s.do(204, "DELETE", "/v1/sessions/"+session, "", "If-Match", tag)
	tag = s.do(200, "GET", path+"/lock", "").header.Get("ETag")
	s.do(204, "DELETE", path+"/lock", "", "If-Match", tag)
	s.do(204, "DELETE", path+"/sessions", "", "If-Match", s.do(200, "GET", path+"/sessions", "").header.Get("ETag"))
	s.do(200, "POST", "/v1/keys/batch", `{"action":"disable","ids":["`+key.text("id")+`"],"dry_run":true}`)
	s.do(200, "POST", "/v1/policy/check", `{"key_id":"`+key.text("id")+`","method":"GET","path":"/x"}`)
	s.preferences()
	s.sources(role)
}

func keyOf(r reply) key {
	return key{id: r.text("id"), clientID: r.text("client_id"), secret: r.text("client_secret")}
}

// first is the id of a list's first item.
func (r reply) first() string {
	return r.body["items"].([]any)[0].(map[string]any)["id"].(string)
}

// record shows and changes a record.
func (s *scene) record(template, path, patch string) {
	s.t.Helper()
	s.keep(template, path)
	tag := s.do(200, "GET", path, "").header.Get("ETag")
	s.do(200, "PATCH", path, patch, "Content-Type", "application/merge-patch+json", "If-Match", tag)
}

// gone makes a record and deletes it.
func (s *scene) gone(path, body, at string) {
	s.t.Helper()
	made := s.do(201, "POST", path, body)
	s.do(204, "DELETE", path+"/"+made.text(at), "", "If-Match", made.header.Get("ETag"))
}

func (s *scene) tenants() {
	customer := s.do(201, "POST", "/v1/customers", `{"id":"described","name":"Described"}`).text("id")
	s.record("/v1/customers/{id}", "/v1/customers/"+customer, `{"name":"Described too"}`)
	s.gone("/v1/customers", `{"name":"Gone"}`, "id")
	s.do(201, "POST", "/v1/microtenants", `{"id":"described","name":"Described","customer_id":"`+customer+`"}`)
	s.record("/v1/microtenants/{id}", "/v1/microtenants/described", `{"enabled":false}`)
	s.gone("/v1/microtenants", `{"name":"Gone","customer_id":"`+customer+`"}`, "id")
	s.gone("/v1/roles", `{"name":"Gone","permissions":{},"customer_id":"`+customer+`"}`, "id")
	s.gone("/v1/keys", `{"name":"Gone","role_id":"role_api_read_only","customer_id":"`+customer+`"}`, "id")
	s.gone("/v1/sources", `{"name":"gone","rule":"locked","max_role_id":"role_api_read_only","owner":"Them","customer_id":"`+customer+`"}`, "name")
}

func (s *scene) preferences() {
	tag := s.do(200, "PUT", "/v1/me/preferences", `{"columns":["name"]}`).header.Get("ETag")
	s.do(200, "PATCH", "/v1/me/preferences", `{"theme":"dark"}`, "If-Match", tag)
	view := s.do(201, "POST", "/v1/me/views", `{"name":"Mine","list":"keys","query":"state=locked"}`).text("id")
	s.record("/v1/me/views/{id}", "/v1/me/views/"+view, `{"shared":true}`)
	s.gone("/v1/me/views", `{"name":"Gone","list":"keys"}`, "id")
}

func (s *scene) sources(role string) {
	body := `{"rule":"read_only","max_role_id":"` + role + `","owner":"Them"}`
	s.do(201, "POST", "/v1/sources", `{"name":"described","customer_id":"`+s.h.customer+`",`+body[1:])
	s.do(200, "PUT", "/v1/sources/described?customer_id="+s.h.customer, body)
	s.do(412, "PUT", "/v1/sources/described?customer_id="+s.h.customer, body, "If-None-Match", "*")
	s.record("/v1/sources/{name}", "/v1/sources/described", `{"owner":"Them again"}`)
	push := `{"keys":[{"client_id":"theirs","name":"theirs","role_id":"` + role + `","secret_sha256":"` + strings.Repeat("ab", 32) + `"}]}`
	s.do(200, "PUT", s.keep("/v1/sources/{name}/keys", "/v1/sources/described/keys"), push)
	theirs := s.do(200, "GET", "/v1/sources/described/keys", "").first()
	s.records["managed"] = "/v1/keys/" + theirs
}

// conflict has each operation refuse what contradicts the store, and a name of a
// request used for another.
func (s *scene) conflict() {
	theirs, customer := s.records["managed"], `"customer_id":"`+s.h.customer+`"`
	s.do(409, "PATCH", theirs, `{"name":"ours"}`)
	s.do(409, "DELETE", theirs, "")
	s.do(409, "POST", theirs+"/secrets", `{}`)
	ours := s.records["/v1/keys/{id}/secrets"]
	secret := s.do(200, "GET", theirs+"/secrets", "").first()
	s.do(409, "DELETE", s.keep("/v1/keys/{id}/secrets/{sid}", theirs+"/secrets/"+secret), "")
	for _, one := range []struct{ path, body string }{
		{"/v1/keys", `{"name":"described","role_id":"role_api_read_only",` + customer + `}`},
		{"/v1/roles", `{"name":"Described","permissions":{},` + customer + `}`},
		{"/v1/customers", `{"id":"described","name":"Other"}`},
		{"/v1/microtenants", `{"id":"described","name":"Other","customer_id":"described"}`},
		{"/v1/sources", `{"name":"described","rule":"locked","max_role_id":"role_api_read_only","owner":"Them",` + customer + `}`},
	} {
		s.do(409, "POST", one.path, one.body)
	}
	s.do(409, "DELETE", s.records["/v1/roles/{id}"], "")
	s.do(409, "PATCH", "/v1/roles/role_operator", `{"description":"x"}`)
	s.do(409, "DELETE", s.records["/v1/customers/{id}"], "")
	s.do(409, "PATCH", s.records["/v1/customers/{id}"], `{"name":"`+s.name("/v1/customers/"+s.h.customer)+`"}`)
	s.do(409, "DELETE", s.records["/v1/sources/{name}"], "")
	s.do(409, "PUT", s.records["/v1/sources/{name}/keys"], `{"keys":[],"max_removals":0}`)
	s.do(201, "POST", "/v1/keys", `{"name":"in it","role_id":"role_api_read_only","customer_id":"described","microtenant_id":"described"}`)
	s.do(409, "DELETE", s.records["/v1/microtenants/{id}"], "")
	s.do(201, "POST", "/v1/microtenants", `{"id":"second","name":"Second","customer_id":"described"}`)
	s.do(409, "PATCH", s.records["/v1/microtenants/{id}"], `{"name":"Second"}`)
	s.do(409, "POST", "/v1/nodes/accept-restore", "")
	s.retire(ours)
	s.reuse()
	s.fillViews()
}

// fillViews makes as many views as a key may have, and then one too many.
func (s *scene) fillViews() {
	s.t.Helper()
	for n := 0; ; n++ {
		r := s.as(s.admin, "POST", "/v1/me/views", `{"name":"Full","list":"keys"}`)
		if r.status == 409 {
			break
		}
		require.Equal(s.t, 201, r.status, "%v", r.body)
		require.Less(s.t, n, lifecycle.MaxViews)
	}
	s.do(409, "PATCH", s.records["/v1/me/views/{id}"], `{"shared":false}`)
}

func (s *scene) name(path string) string { return s.do(200, "GET", path, "").text("name") }

// retire retires the older of two secrets.
func (s *scene) retire(secrets string) {
	items := s.do(200, "GET", secrets, "").body["items"].([]any)
	older := items[len(items)-1].(map[string]any)["id"].(string)
	s.do(204, "DELETE", secrets+"/"+older+"?force=true", "")
}

// reuse names two different requests alike.
func (s *scene) reuse() {
	customer := `"customer_id":"` + s.h.customer + `"`
	for path, body := range map[string]string{
		"/v1/keys":                              `{"role_id":"role_api_read_only",` + customer + `,"name":"`,
		"/v1/roles":                             `{"permissions":{},` + customer + `,"name":"`,
		"/v1/customers":                         `{"name":"`,
		"/v1/microtenants":                      `{` + customer + `,"name":"`,
		"/v1/sources":                           `{"rule":"locked","owner":"Them","max_role_id":"role_api_read_only",` + customer + `,"name":"`,
		"/v1/me/views":                          `{"list":"keys","name":"`,
		"/v1/keys/batch":                        `{"action":"unlock","ids":["`,
		s.records["/v1/keys/{id}"] + "/secrets": `{"previous_expires_in":0`,
	} {
		end := func(word string) string {
			switch {
			case strings.HasSuffix(path, "/batch"):
				return word + `"]}`
			case strings.HasSuffix(path, "/secrets"):
				return strings.Repeat(" ", len(word)) + "}"
			}
			return word + `"}`
		}
		first := s.as(s.admin, "POST", path, body+end("once"), "Idempotency-Key", path)
		require.Less(s.t, first.status, 300, "%s: %v", path, first.body)
		again := s.as(s.admin, "POST", path, body+end("once"), "Idempotency-Key", path)
		require.Equal(s.t, first.status, again.status)
		require.Equal(s.t, "true", again.header.Get("Idempotency-Replayed"))
		require.NotContains(s.t, again.body, "client_secret")
		s.do(422, "POST", path, body+end("other"), "Idempotency-Key", path)
		if secret := first.text("client_secret"); secret != "" {
			s.h.secrets = append(s.h.secrets, secret)
		}
	}
}

// refuse tries what is refused alike everywhere.
func (s *scene) refuse(op openapi.Operation) {
	s.t.Helper()
	path, body := s.path(op), ""
	if len(op.MediaTypes) > 0 {
		body = "{}"
	}
	refused := func(status int, by, target, body string, headers ...string) {
		s.t.Helper()
		r := s.as(by, op.Method, target, body, headers...)
		require.Equal(s.t, status, r.status, "%s %s: %v", op.Method, target, r.body)
	}
	refused(401, "", path, body)
	refused(400, s.admin, path+"?nonsense=1", body)
	if slices.Contains(op.Statuses, "403") {
		refused(403, s.nobody, path, s.least(op, body))
	}
	if slices.Contains(op.Statuses, "404") {
		refused(404, s.admin, s.unknown(op), s.least(op, body))
	}
	if slices.Contains(op.Statuses, "412") {
		refused(412, s.admin, path, s.least(op, body), "If-Match", `"r0"`)
	}
	if body != "" {
		refused(415, s.admin, path, body, "Content-Type", "text/plain")
		refused(413, s.admin, path, `{"name":"`+strings.Repeat("x", 17<<20)+`"}`)
	}
}

// least is a body that nothing is wrong with but who sends it, and to where.
func (s *scene) least(op openapi.Operation, body string) string {
	switch op.Method + " " + op.Path {
	case "PUT /v1/sources/{name}/keys":
		return `{"keys":[]}`
	case "PUT /v1/sources/{name}":
		return `{"rule":"locked","owner":"Them","max_role_id":"role_api_read_only"}`
	case "POST /v1/keys/batch":
		return `{"action":"delete","ids":["x"]}`
	case "POST /v1/policy/check":
		return `{"role_id":"role_operator","method":"GET","path":"/"}`
	}
	return body
}

// path is that of a record which is there.
func (s *scene) path(op openapi.Operation) string {
	if !strings.Contains(op.Path, "{") {
		return op.Path
	}
	require.Contains(s.t, s.records, op.Path)
	return s.records[op.Path]
}

// unknown is the path of a record that is not there.
func (s *scene) unknown(op openapi.Operation) string {
	return strings.NewReplacer("{id}", "unknown", "{sid}", "unknown", "{name}", "unknown").Replace(op.Path)
}
