package lifecycle

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
	"github.com/keyreeve/keyreeve/session/authn"
)

const testPolicy = `version: 1
resources:
  segments: {group: configuration, title: Segments}
  servers: {group: configuration}
  files: {}
routes:
  - {methods: [GET, POST], path: "/c/{customerId}/segments", resource: segments}
  - {methods: [GET], path: "/c/{customerId}/servers", resource: servers, microtenant: off}
  - {methods: [GET], path: "/files/{name...}", resource: files, encoded: true}
  - {methods: [GET], path: "/healthz", public: true}
`

// gated is a house whose service answers for gates: a real authenticator over
// the store, and compiled policies.
type gated struct {
	*house
	keys    *keystore.Cached
	auth    *authn.Authenticator
	gates   []Gate
	denials map[string]Denial
}

// kept leaves closing to the house.
type kept struct{ keystore.Store }

func (kept) Close() error { return nil }

func newGated(t *testing.T) *gated {
	t.Helper()
	g := &gated{house: newHouse(t), denials: map[string]Denial{}}
	var err error
	g.keys, err = keystore.OpenCached(g.ctx, kept{g.store}, g.clock, keystore.CacheSizes{Keys: 100, Unknown: 100}, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.keys.Close()) })
	verified, err := session.NewVerified(10)
	require.NoError(t, err)
	t.Cleanup(verified.Close)
	ring := g.cfg.Keyring
	tokens := session.NewTokens(g.keys, ring, verified, session.Settings{Issuer: "urn:test", DefaultValidity: time.Hour, MaxValidity: time.Hour, MaxPerKey: 10, Algorithm: session.EdDSA})
	g.auth = authn.New(g.keys, ring, tokens, authn.Settings{Lockout: policy.DefaultLockout(), MaxStale: time.Hour})
	g.addGate("api.example.com", testPolicy)
	cfg := g.cfg
	cfg.Store, cfg.Gatekeeper = g.keys, g
	g.Service = New(cfg)
	return g
}

func (g *gated) addGate(name, text string) {
	f, err := policy.ParseFile("/etc/gate/policy.yaml", []byte(text))
	require.NoError(g, err)
	compiled, err := policy.Compile([]*policy.File{f}, nil)
	require.NoError(g, err)
	g.gates = append(g.gates, Gate{Name: name, Set: compiled})
}

func (g *gated) Gates() []Gate { return g.gates }

func (g *gated) Standing(ctx context.Context, clientID string, token bool, from netip.Addr) Standing {
	var address authn.Address
	if from.IsValid() {
		address = func() netip.Addr { return from }
	}
	s := g.auth.Standing(ctx, clientID, token, address, g.clock.Now())
	out := Standing{Decision: s.Decision, Network: s.Network, Key: s.Key, Role: s.Role}
	if s.Key != nil && s.Role != nil {
		out.Subject = s.Subject()
	}
	return out
}

func (g *gated) Status(r policy.Reason) int { return 400 + int(r) }

func (g *gated) Denial(id string) (Denial, bool) {
	d, ok := g.denials[id]
	return d, ok
}

// one is the answer of the only gate.
func (g *gated) one(in PolicyCheck) (GateCheck, PolicyAnswer) {
	g.Helper()
	a, err := g.CheckPolicy(g.ctx, local, in)
	require.NoError(g, err)
	require.Len(g, a.Results, 1)
	return a.Results[0], a
}

// marks is how each step went: + passed, - refused, . not judged.
func marks(g GateCheck) (text string) {
	for _, s := range g.Steps {
		switch {
		case s.OK == nil:
			text += "."
		case *s.OK:
			text += "+"
		default:
			text += "-"
		}
	}
	return text
}

func TestACheckNamesTheFirstStepThatFailsAndShowsTheOthers(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	reader := g.role("Reader", policy.Permissions{"configuration": policy.View, "segments": policy.Update})
	k := g.house.key("reader", reader)
	inside, _, err := g.CreateKey(g.ctx, local, NewKey{Name: "inside", RoleID: keystore.RoleFullAccess, CustomerID: "acme", MicrotenantID: Some("emea")})
	require.NoError(t, err)
	near, _, err := g.CreateKey(g.ctx, local, NewKey{Name: "near", RoleID: keystore.RoleFullAccess, CustomerID: "acme", AllowedCIDRs: []string{"192.0.2.0/24"}})
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		in   PolicyCheck
		code policy.Reason
		// steps: path credential client source route tenant role
		steps, detail string
	}{
		{"allowed", PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/c/acme/segments"}, policy.Allowed, "+++++++", ""},
		{"by client ID", PolicyCheck{ClientID: k.ClientID, Method: "HEAD", Target: "/c/acme/segments?page=2"}, policy.Allowed, "+++++++", ""},
		{"role lacks the action", PolicyCheck{KeyID: k.ID, Method: "POST", Target: "/c/acme/segments"}, policy.PermissionDenied, "++++++-",
			"segments:create is needed, Reader holds read, update, by segments and configuration"},
		{"role has no entry", PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/files/a"}, policy.PermissionDenied, "++++++-", "holds nothing on it"},
		{"another customer, and no right", PolicyCheck{KeyID: k.ID, Method: "POST", Target: "/c/umbrella/segments"}, policy.TenantMismatch, "+++++--", "not the key's"},
		{"no route", PolicyCheck{KeyID: k.ID, Method: "DELETE", Target: "/c/acme/segments"}, policy.NoRoute, "++++-..", "1 of 4 come near"},
		{"no route at all", PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/elsewhere"}, policy.NoRoute, "++++-..", "no rule names this path"},
		{"dot segment", PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/c/acme/../segments"}, policy.AmbiguousPath, "-+++...", "differently"},
		{"unparsable", PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/c/%zz"}, policy.AmbiguousPath, "-+++...", "differently"},
		{"encoded slash", PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/c/acme%2Fsegments"}, policy.AmbiguousPath, "-+++...", "no rule takes it so"},
		{"encoded where allowed", PolicyCheck{KeyID: near.ID, Method: "GET", Target: "/files/a%2Fb", SourceAddress: "192.0.2.9"}, policy.Allowed, "+++++++", ""},
		{"token in the query", PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/c/acme/segments?access_token=x"}, policy.InvalidRequest, "+-+++++", "belong in a header"},
		{"public", PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/healthz"}, policy.Public, "+...+..", ""},
		{"microtenant required", PolicyCheck{KeyID: inside.ID, Method: "GET", Target: "/c/acme/segments"}, policy.MicrotenantRequired, "+++++-+", "must name it"},
		{"microtenant named", PolicyCheck{KeyID: inside.ID, Method: "GET", Target: "/c/acme/segments?page=2", MicrotenantID: "emea"}, policy.Allowed, "+++++++", ""},
		{"microtenant twice", PolicyCheck{KeyID: inside.ID, Method: "GET", Target: "/c/acme/segments?microtenantId=emea", MicrotenantID: "emea"}, policy.AmbiguousQuery, "+++++-+", "repeated"},
		{"microtenant unknown", PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/c/acme/segments", MicrotenantID: "nowhere"}, policy.TenantMismatch, "+++++-+", "unknown"},
		{"microtenant not looked at", PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/c/acme/servers", MicrotenantID: "nowhere"}, policy.Allowed, "+++++++", ""},
		{"from outside", PolicyCheck{KeyID: near.ID, Method: "GET", Target: "/c/acme/segments", SourceAddress: "198.51.100.1"}, policy.InvalidClient, "+++-+++", "192.0.2.0/24"},
		{"from nowhere known", PolicyCheck{KeyID: near.ID, Method: "GET", Target: "/c/acme/segments"}, policy.Allowed, "+++.+++", ""},
		{"mapped address", PolicyCheck{KeyID: near.ID, Method: "GET", Target: "/c/acme/segments", SourceAddress: "::ffff:192.0.2.1"}, policy.Allowed, "+++++++", ""},
		{"a role alone", PolicyCheck{RoleID: reader, Method: "GET", Target: "/c/acme/segments"}, policy.Allowed, "++..+++", ""},
		{"a role alone in any microtenant", PolicyCheck{RoleID: reader, Method: "GET", Target: "/c/acme/segments", MicrotenantID: "apac"}, policy.Allowed, "++..+++", ""},
		{"a role alone lacks it", PolicyCheck{RoleID: keystore.RoleReadOnly, Method: "POST", Target: "/c/acme/segments"}, policy.PermissionDenied, "++..++-", "API Read Only holds read, by *"},
	} {
		got, answer := g.one(c.in)
		require.Equal(t, c.code.Code(), got.Decision.Code, c.name)
		require.Equal(t, c.steps, marks(got), "%s: %+v", c.name, got.Steps)
		require.Contains(t, got.Decision.Detail, c.detail, c.name)
		require.Equal(t, c.code == policy.Allowed || c.code == policy.Public, got.Decision.Allow, c.name)
		if got.Decision.Allow {
			require.Nil(t, got.Decision.Status, c.name)
		} else {
			require.Equal(t, 400+int(c.code), *got.Decision.Status, c.name)
		}
		require.Equal(t, c.in.RoleID == "", answer.Key != nil, c.name)
		require.NotNil(t, answer.Role, c.name)
	}
	got, answer := g.one(PolicyCheck{KeyID: k.ID, Method: "POST", Target: "/c/acme/segments"})
	require.Equal(t, &PolicyNeed{Resource: "segments", Group: optional("configuration"), Action: "create"}, got.Needed)
	require.Equal(t, []PolicyGrant{{"segments", []string{"update"}}, {"configuration", []string{"read"}}}, got.Grants)
	require.Equal(t, "/etc/gate/policy.yaml:7", got.Route.Origin)
	require.Equal(t, "Reader", answer.Role.Name)
	require.Equal(t, CheckedKey{ID: k.ID, Name: "reader", ClientID: k.ClientID, CustomerID: "acme"}, *answer.Key)
}

func TestACheckJudgesTheStateOfTheKeyAsAProofDoes(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	ask := func(k CreatedKey) (code, detail string) {
		got, _ := g.one(PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/c/acme/segments"})
		return got.Decision.Code, got.Decision.Detail
	}
	refused := func(k CreatedKey, why string) {
		t.Helper()
		code, detail := ask(k)
		require.Equal(t, "invalid_client", code)
		require.Equal(t, why, detail)
	}
	k := g.house.key("one", keystore.RoleFullAccess)
	code, _ := ask(k)
	require.Equal(t, "allowed", code)
	from := func() netip.Addr { return netip.MustParseAddr("192.0.2.1") }
	for range 3 {
		g.auth.Secret(g.ctx, k.ClientID, "wrong", from, g.clock.Now())
	}
	refused(k, "locked")
	g.clock.Advance(31 * time.Minute)
	code, _ = ask(k)
	require.Equal(t, "allowed", code, "asking changes nothing, and the lock is over")
	_, _, err := g.UpdateKey(g.ctx, local, k.ID, KeyPatch{Enabled: Some(false)}, nil)
	require.NoError(t, err)
	refused(k, "key disabled")
	soon := g.house.key("soon", keystore.RoleFullAccess)
	_, _, err = g.UpdateKey(g.ctx, local, soon.ID, KeyPatch{ExpiresAt: Some(g.clock.Now().Wall.Add(time.Minute))}, nil)
	require.NoError(t, err)
	g.clock.Advance(2 * time.Minute)
	refused(soon, "key expired")
}

func TestOnlyWhoMayReadAKeyOrRoleMayAskAboutIt(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	keysOnly := g.role("KeysOnly", policy.Permissions{"keyreeve/keys": policy.View})
	rolesOnly := g.role("RolesOnly", policy.Permissions{"keyreeve/roles": policy.View})
	reader, roler := g.actor("a", keysOnly), g.actor("b", rolesOnly)
	nobody := g.actor("c", keystore.RoleFullAccess)
	confined := g.actor("d", keysOnly, func(k *NewKey) { k.MicrotenantID = Some("emea") })
	own := g.house.key("own", keysOnly)
	foreign, _, err := g.CreateKey(g.ctx, local, NewKey{Name: "x", RoleID: keysOnly, CustomerID: "umbrella"})
	require.NoError(t, err)
	foreignRole, _, err := g.CreateRole(g.ctx, local, NewRole{Name: "Theirs", CustomerID: Some("umbrella")})
	require.NoError(t, err)
	ask := func(a Actor, in PolicyCheck) error {
		in.Method, in.Target = "GET", "/c/acme/segments"
		_, err := g.CheckPolicy(g.ctx, a, in)
		return err
	}
	require.NoError(t, ask(reader, PolicyCheck{KeyID: own.ID}))
	require.NoError(t, ask(reader, PolicyCheck{ClientID: own.ClientID}))
	require.NoError(t, ask(roler, PolicyCheck{RoleID: keysOnly}))
	requireRefused(t, ask(reader, PolicyCheck{KeyID: foreign.ID}), NotFound, CodeNotFound, "")
	requireRefused(t, ask(reader, PolicyCheck{ClientID: foreign.ClientID}), NotFound, CodeNotFound, "")
	requireRefused(t, ask(reader, PolicyCheck{ClientID: "unknown"}), NotFound, CodeNotFound, "")
	requireRefused(t, ask(confined, PolicyCheck{KeyID: own.ID}), NotFound, CodeNotFound, "")
	requireRefused(t, ask(reader, PolicyCheck{RoleID: keysOnly}), Forbidden, CodePermissionDenied, "")
	requireRefused(t, ask(roler, PolicyCheck{KeyID: own.ID}), Forbidden, CodePermissionDenied, "")
	requireRefused(t, ask(roler, PolicyCheck{RoleID: foreignRole.ID}), NotFound, CodeNotFound, "")
	requireRefused(t, ask(nobody, PolicyCheck{KeyID: own.ID}), Forbidden, CodePermissionDenied, "")

	for _, a := range []Actor{reader, roler} {
		page, err := g.ListPolicyRoutes(g.ctx, a, PolicyRouteFilter{})
		require.NoError(t, err)
		require.Equal(t, "policy.yaml:7", page.Items[0].Origin, "where files lie is not a customer's business")
		gates, err := g.PolicyGates(g.ctx, a)
		require.NoError(t, err)
		require.Equal(t, page.Items[0].Gate, gates[0])
		require.Len(t, gates, len(g.gates))
	}
	_, err = g.ListPolicyRoutes(g.ctx, nobody, PolicyRouteFilter{})
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	_, err = g.PolicyGates(g.ctx, nobody)
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	got, err := g.CheckPolicy(g.ctx, reader, PolicyCheck{KeyID: own.ID, Method: "GET", Target: "/c/acme/segments"})
	require.NoError(t, err)
	require.Equal(t, "policy.yaml:7", got.Results[0].Route.Origin)
	require.NotContains(t, got.Results[0].Steps[4].Detail, "/etc")
}

func TestWhatIsWrongWithACheckIsNamed(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	k := g.house.key("one", keystore.RoleFullAccess)
	good := PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/healthz"}
	for _, c := range []struct {
		change      func(*PolicyCheck)
		field, code string
	}{
		{func(p *PolicyCheck) { p.KeyID = "" }, "key_id", FieldRequired},
		{func(p *PolicyCheck) { p.RoleID = "role_operator" }, "key_id", FieldRequired},
		{func(p *PolicyCheck) { p.Method = "" }, "method", FieldRequired},
		{func(p *PolicyCheck) { p.Method = "GET /" }, "method", FieldFormat},
		{func(p *PolicyCheck) { p.Target = "" }, "path", FieldRequired},
		{func(p *PolicyCheck) { p.Target = "http://h/healthz" }, "path", FieldFormat},
		{func(p *PolicyCheck) { p.Target = "/" + string(make([]byte, maxTarget)) }, "path", FieldRange},
		{func(p *PolicyCheck) { p.MicrotenantID = string(make([]byte, 129)) }, "microtenant_id", FieldRange},
		{func(p *PolicyCheck) { p.SourceAddress = "here" }, "source_address", FieldFormat},
		{func(p *PolicyCheck) { p.SourceAddress = "fe80::1%eth0" }, "source_address", FieldFormat},
		{func(p *PolicyCheck) { p.Gate = "2" }, "gate", FieldNotFound},
	} {
		in := good
		c.change(&in)
		_, err := g.CheckPolicy(g.ctx, local, in)
		requireInvalid(t, err, c.field, c.code)
	}
	g.gates = nil
	_, err := g.CheckPolicy(g.ctx, local, good)
	requireRefused(t, err, Conflict, CodeNoGate, "")
	_, err = newHouse(t).CheckPolicy(g.ctx, local, PolicyCheck{RoleID: keystore.RoleOperator, Method: "GET", Target: "/"})
	requireRefused(t, err, Conflict, CodeNoGate, "")
}

func TestEachGateIsAskedUnlessOneIsNamed(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.addGate("other.example.com", "version: 1\nroutes:\n  - {methods: [GET], path: \"/c/{all...}\", public: true}\n")
	k := g.house.key("one", keystore.RoleReadOnly)
	ask := func(gate string) (codes []string) {
		a, err := g.CheckPolicy(g.ctx, local, PolicyCheck{KeyID: k.ID, Method: "GET", Target: "/c/umbrella/segments", Gate: gate})
		require.NoError(t, err)
		for _, r := range a.Results {
			codes = append(codes, r.Gate.Name+" "+r.Decision.Code)
		}
		return codes
	}
	require.Equal(t, []string{"api.example.com tenant_mismatch", "other.example.com public"}, ask(""))
	require.Equal(t, []string{"other.example.com public"}, ask("2"))
	require.Equal(t, []string{"api.example.com tenant_mismatch"}, ask("api.example.com"))

	page, err := g.ListPolicyRoutes(g.ctx, local, PolicyRouteFilter{Paging: Paging{Size: Some(3)}})
	require.NoError(t, err)
	require.Equal(t, 5, page.Total)
	rest, err := g.ListPolicyRoutes(g.ctx, local, PolicyRouteFilter{Paging: Paging{Size: Some(3), Cursor: *page.NextCursor}})
	require.NoError(t, err)
	var patterns []string
	for _, r := range append(page.Items, rest.Items...) {
		patterns = append(patterns, r.Pattern)
	}
	require.Equal(t, []string{"/c/{customerId}/segments", "/c/{customerId}/servers", "/files/{name...}", "/healthz", "/c/{all...}"}, patterns)
	require.Nil(t, rest.NextCursor)
	for _, f := range []PolicyRouteFilter{{Gate: "2"}, {Text: "ALL"}} {
		found, err := g.ListPolicyRoutes(g.ctx, local, f)
		require.NoError(t, err)
		require.Len(t, found.Items, 1)
		require.Equal(t, "other.example.com", found.Items[0].Gate.Name)
	}
	found, err := g.ListPolicyRoutes(g.ctx, local, PolicyRouteFilter{Resource: "servers"})
	require.NoError(t, err)
	require.Len(t, found.Items, 1)
	require.Nil(t, found.Items[0].MicrotenantQuery)
	require.Equal(t, "customerId", *found.Items[0].CustomerParam)
}

func TestARecordedDenialIsExplainedToItsTenantAlone(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	view := policy.Permissions{"keyreeve/keys": policy.View}
	viewer := g.role("Viewer", view)
	operator := g.actor("op", keystore.RoleOperator)
	acme, confined := g.actor("a", viewer), g.actor("b", viewer, func(k *NewKey) { k.MicrotenantID = Some("emea") })
	umbrella := g.actor("c", viewer, func(k *NewKey) { k.CustomerID = "umbrella" })
	k := g.house.key("one", keystore.RoleReadOnly)
	g.denials["r1"] = Denial{RequestID: "r1", At: g.clock.Now().Wall, Gate: "api.example.com", Method: "POST", Path: "/c/acme/segments",
		KeyID: k.ID, KeyCustomerID: "acme", Address: netip.MustParseAddr("192.0.2.1"), Reason: policy.PermissionDenied,
		RoutePattern: "/c/{customerId}/segments", RouteMethods: []string{"GET", "POST"}, Resource: "segments", Action: policy.Create}
	g.denials["r2"] = Denial{RequestID: "r2", Gate: "api.example.com", Method: "GET", Path: "/c/acme/segments", Reason: policy.InvalidClient, Detail: "unknown client"}

	explain := func(a Actor, id string) PolicyAnswer {
		t.Helper()
		answer, err := g.ExplainRequest(g.ctx, a, id)
		require.NoError(t, err)
		return answer
	}
	for _, a := range []Actor{local, operator, acme} {
		answer := explain(a, "r1")
		require.False(t, *answer.Changed)
		require.Equal(t, "permission_denied", answer.Recorded.Decision.Code)
		require.Equal(t, "permission_denied", answer.Results[0].Decision.Code)
		require.Equal(t, "++++++-", marks(answer.Results[0]))
		require.Equal(t, "192.0.2.1", *answer.Recorded.SourceAddress)
		require.Equal(t, &PolicyNeed{Resource: "segments", Action: "create"}, answer.Recorded.Needed)
	}
	for _, a := range []Actor{confined, umbrella} {
		_, err := g.ExplainRequest(g.ctx, a, "r1")
		requireRefused(t, err, NotFound, CodeNotFound, "")
	}
	unknown := explain(operator, "r2")
	require.Nil(t, unknown.Key)
	require.False(t, *unknown.Changed, "nobody became known")
	require.Equal(t, "+-..+..", marks(unknown.Results[0]))
	for id, a := range map[string]Actor{"r2": acme, "none": operator, "": operator} {
		_, err := g.ExplainRequest(g.ctx, a, id)
		requireRefused(t, err, NotFound, CodeNotFound, "")
	}
	_, err := g.ExplainRequest(g.ctx, g.actor("e", keystore.RoleFullAccess), "r1")
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")

	_, _, err = g.UpdateKey(g.ctx, local, k.ID, KeyPatch{RoleID: Some(keystore.RoleFullAccess)}, nil)
	require.NoError(t, err)
	answer := explain(acme, "r1")
	require.True(t, *answer.Changed)
	require.True(t, answer.Results[0].Decision.Allow)
	require.Equal(t, "permission_denied", answer.Recorded.Decision.Code, "what was recorded stands")
	_, err = g.DeleteKey(g.ctx, local, k.ID, nil)
	require.NoError(t, err)
	answer = explain(acme, "r1")
	require.Nil(t, answer.Key)
	require.Equal(t, "the key was deleted", answer.Results[0].Decision.Detail)
}

func TestWhatWasNotKeptIsNotJudgedAgain(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	k := g.house.key("one", keystore.RoleFullAccess)
	record := func(d Denial) PolicyAnswer {
		d.RequestID, d.KeyID, d.KeyCustomerID = "r", k.ID, "acme"
		if d.Gate == "" {
			d.Gate = "api.example.com"
		}
		d.Method = "GET"
		g.denials["r"] = d
		answer, err := g.ExplainRequest(g.ctx, local, "r")
		require.NoError(t, err)
		return answer
	}
	wrong := record(Denial{Path: "/c/acme/segments", Reason: policy.InvalidClient, Detail: "wrong secret"})
	require.Nil(t, wrong.Changed, "with a right secret it is allowed, which tells nothing of the one that was shown")
	require.True(t, wrong.Results[0].Decision.Allow)
	require.Equal(t, "+.+++++", marks(wrong.Results[0]))
	_, _, err := g.UpdateKey(g.ctx, local, k.ID, KeyPatch{Enabled: Some(false)}, nil)
	require.NoError(t, err)
	off := record(Denial{Path: "/c/acme/segments", Reason: policy.ClientInactive, Token: true, Detail: "key disabled"})
	require.False(t, *off.Changed)
	require.Equal(t, "client_inactive", off.Results[0].Decision.Code, "a token is judged as a token")
	_, _, err = g.UpdateKey(g.ctx, local, k.ID, KeyPatch{Enabled: Some(true)}, nil)
	require.NoError(t, err)

	twice := record(Denial{Path: "/c/acme/segments", MicrotenantAmbiguous: true, Reason: policy.AmbiguousQuery, RoutePattern: "/c/{customerId}/segments", RouteMethods: []string{"GET", "POST"}})
	require.False(t, *twice.Changed)
	named := record(Denial{Path: "/c/acme/segments", MicrotenantID: "nowhere", Reason: policy.TenantMismatch, RoutePattern: "/c/{customerId}/segments", RouteMethods: []string{"GET", "POST"}})
	require.False(t, *named.Changed)
	require.Equal(t, "nowhere", *named.Recorded.MicrotenantID)
	for _, d := range []Denial{{Path: "/c/acme", PathCut: true}, {Path: "/c/acme/segments", Gate: "gone.example.com"}} {
		d.Reason = policy.NoRoute
		lost := record(d)
		require.Nil(t, lost.Changed)
		require.Empty(t, lost.Results)
	}
	preflight := record(Denial{Path: "/c/acme/segments", Preflight: true, Reason: policy.NoRoute})
	require.True(t, *preflight.Changed)
	require.Equal(t, "public", preflight.Results[0].Decision.Code)
}
