package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
)

// TestWhatTheDescriptionSaysOfSeveralNodesIsServed tries what needsNodes leaves out, on a
// PostgreSQL store with a second gate that was killed: for all that the store knows, that
// one may serve for minutes still.
func TestWhatTheDescriptionSaysOfSeveralNodesIsServed(t *testing.T) {
	t.Parallel()
	p := newLeftover(t)
	p.accepted()
	p.forgotten()
	p.restored()
	unseen := slices.DeleteFunc(p.document.Unseen(), func(described string) bool { return !needsNodes(described) })
	require.Empty(t, unseen, "described, and never seen")
}

// leftover is a gate that is left of two.
type leftover struct {
	*described
	server   *pgtest.Server
	database string
	h        *house
	site     *site
	g        *gate
	operator key
}

func newLeftover(t *testing.T) *leftover {
	p := &leftover{server: pgtest.Start(t, pgtest.Volatile()...), h: newHouse(t)}
	p.database = p.server.NewDatabase(t)
	store := fmt.Sprintf("postgres %q", p.server.DSNBy(p.server.Address(), pgtest.Superuser, p.database))
	p.site = &site{store: store, gate: "policy " + p.h.policyFile(t), handlers: "keyreeve_auth", upstream: newUpstream(t).url}
	p.g = p.h.run(t, p.site)
	// As the machine's administrator, who needs no key.
	p.local(t, "/v1/customers", `{"id":"acme","name":"Acme"}`)
	p.operator = keyOf(p.local(t, "/v1/keys", `{"name":"operator","role_id":"role_operator","customer_id":"acme"}`))
	p.h.operator = p.operator
	p.described = documented(t, p.g)
	other := newHouse(t)
	other.masterKey = p.h.masterKey
	gone, err := launch(other.dir, "run", "--config", other.write(t, "Caddyfile", other.caddyfile(&site{store: store, gate: p.site.gate, upstream: p.site.upstream})))
	require.NoError(t, err)
	t.Cleanup(func() { _ = gone.Kill() })
	require.Eventually(t, func() bool { return len(p.nodes()) == 2 }, patience, 20*time.Millisecond, "the other gate is registered")
	require.NoError(t, gone.Kill())
	return p
}

func (p *leftover) local(t *testing.T, path, body string) (made reply) {
	t.Helper()
	a, err := trySendOn("unix", p.h.socket(), request("POST", "/keyreeve"+path, "Content-Type: application/json", "Content-Length: "+itoa(len(body)))+body)
	require.NoError(t, err)
	require.Equal(t, 201, a.status, a.body)
	require.NoError(t, json.Unmarshal([]byte(a.body), &made.body))
	return made
}

// do sends one request, which does not wait for the gate that is gone.
func (p *leftover) do(status int, method, target, body string) reply {
	p.t.Helper()
	var headers []string
	if method != "GET" {
		headers = []string{"Prefer", "wait=0"}
	}
	r := p.as(p.operator.basic(), method, target, body, headers...)
	require.Equal(p.t, status, r.status, "%s %s: %v", method, target, r.body)
	return r
}

func (p *leftover) nodes() []any { return p.do(200, "GET", "/v1/nodes", "").body["items"].([]any) }

// accepted does once whatever can be answered with 202.
func (p *leftover) accepted() {
	made := p.do(201, "POST", "/v1/keys", `{"name":"k","role_id":"role_api_read_only","customer_id":"acme"}`)
	k := keyOf(made)
	p.g.token(p.t, k)
	session := p.do(200, "GET", "/v1/sessions?key_id="+k.id, "").first()
	secret := p.do(200, "GET", "/v1/keys/"+k.id+"/secrets", "").first()
	role := "/v1/roles/" + p.do(201, "POST", "/v1/roles", `{"name":"r","permissions":{"*":"view"},"customer_id":"acme"}`).text("id")
	p.do(201, "POST", "/v1/customers", `{"id":"other","name":"Other"}`)
	p.do(201, "POST", "/v1/microtenants", `{"id":"apac","name":"APAC","customer_id":"acme"}`)
	p.do(201, "POST", "/v1/sources", `{"name":"idp","rule":"read_only","max_role_id":"role_api_read_only","customer_id":"acme"}`)
	for _, c := range []struct{ method, path, body string }{
		{"DELETE", "/v1/sessions/" + session, ""},
		{"DELETE", "/v1/keys/" + k.id + "/sessions", ""},
		{"POST", "/v1/keys/" + k.id + "/secrets", `{"previous_expires_in":60}`},
		{"DELETE", "/v1/keys/" + k.id + "/secrets/" + secret + "?force=true", ""},
		{"PATCH", "/v1/keys/" + k.id, `{"enabled":false}`},
		{"POST", "/v1/keys/batch", `{"action":"end_sessions","ids":["` + k.id + `"]}`},
		{"DELETE", "/v1/keys/" + k.id, ""},
		{"PATCH", role, `{"permissions":{}}`},
		{"DELETE", role, ""},
		{"PATCH", "/v1/customers/other", `{"enabled":false}`},
		{"DELETE", "/v1/customers/other", ""},
		{"PATCH", "/v1/microtenants/apac", `{"enabled":false}`},
		{"DELETE", "/v1/microtenants/apac", ""},
		{"PUT", "/v1/sources/idp/keys", `{"keys":[]}`},
	} {
		r := p.do(202, c.method, c.path, c.body)
		require.Regexp(p.t, `^confirmed=[01]; pending=[12]$`, r.header.Get("Keyreeve-Propagation"))
		require.NotEmpty(p.t, r.body["pending"])
		if secret := r.text("client_secret"); secret != "" {
			p.h.secrets = append(p.h.secrets, secret)
		}
	}
}

// forgotten forgets the gate that is gone, once that is sure to serve no more.
func (p *leftover) forgotten() {
	listed := p.nodes()
	require.Len(p.t, listed, 2)
	i := slices.IndexFunc(listed, func(n any) bool { return n.(map[string]any)["self"] == false })
	gone := listed[i].(map[string]any)["id"].(string)
	refused := p.do(409, "DELETE", "/v1/nodes/"+gone, "")
	require.Equal(p.t, "node_not_fenced", refused.text("code"))
	require.NotEmpty(p.t, refused.text("accepts_until"))
	p.sql("UPDATE nodes SET renewed_ns = renewed_ns - 3600e9 WHERE id = '" + gone + "'")
	p.do(204, "DELETE", "/v1/nodes/"+gone, "")
	p.do(404, "DELETE", "/v1/nodes/"+gone, "")
	require.Len(p.t, p.nodes(), 1)
}

// restored brings back a copy of the database of before a change, and accepts that.
func (p *leftover) restored() {
	p.do(409, "POST", "/v1/nodes/accept-restore", "")
	p.restart(func() { p.server.Exec(p.t, "CREATE DATABASE old TEMPLATE "+p.database) })
	p.do(201, "POST", "/v1/customers", `{"id":"lost","name":"Lost"}`)
	p.restart(func() {
		p.server.Exec(p.t, "ALTER DATABASE "+p.database+" RENAME TO lost")
		p.server.Exec(p.t, "ALTER DATABASE old RENAME TO "+p.database)
	})
	p.do(404, "GET", "/v1/customers/lost", "")
	require.NotEmpty(p.t, p.do(200, "GET", "/v1/nodes", "").body["restored"])
	require.Equal(p.t, "store_restored", p.do(503, "POST", "/v1/customers", `{"name":"New"}`).text("code"))
	p.do(200, "POST", "/v1/nodes/accept-restore", "")
	p.do(201, "POST", "/v1/customers", `{"name":"New"}`)
}

// restart does something to the database while no gate has it open.
func (p *leftover) restart(do func()) {
	p.t.Helper()
	require.NoError(p.t, p.g.Stop())
	do()
	p.g = p.h.run(p.t, p.site)
}

// sql changes what the gates have stored.
func (p *leftover) sql(text string) {
	p.t.Helper()
	conn, err := pgx.Connect(p.t.Context(), p.server.DSN(pgtest.Superuser, p.database))
	require.NoError(p.t, err)
	_, err = conn.Exec(p.t.Context(), text)
	require.NoError(p.t, err)
	require.NoError(p.t, conn.Close(p.t.Context()))
}
