package page

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// gates are two over the same rules, the second of which only watches. Keys stand
// well with them unless they are disabled.
type gates struct {
	w   *world
	set *policy.Set
}

func (g gates) Gates() []lifecycle.Gate {
	return []lifecycle.Gate{
		{Name: "api.example.com", Listen: []string{":443"}, Hosts: []string{"api.example.com"}, Set: g.set},
		{Name: "next.example.com", Listen: []string{":443"}, Hosts: []string{"next.example.com"}, Shadow: true, Set: g.set},
	}
}

func (g gates) Standing(ctx context.Context, clientID string, _ bool, _ netip.Addr) (s lifecycle.Standing) {
	err := g.w.store.View(ctx, func(r keystore.Reader) (err error) {
		if s.Key, err = r.KeyByClientID(ctx, clientID); err == nil {
			s.Role, err = r.Role(ctx, s.Key.RoleID)
		}
		return err
	})
	require.NoError(g.w, err)
	s.Decision = policy.Decision{Allow: true}
	if !s.Key.Enabled {
		s.Decision = policy.Deny(policy.InvalidClient)
		s.Detail = "the key is disabled"
	}
	s.Subject = policy.Subject{CustomerID: s.Key.CustomerID, MicrotenantID: s.Key.MicrotenantID, Permissions: s.Role.Permissions}
	return s
}

func (gates) Status(r policy.Reason) int {
	if r == policy.InvalidClient {
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}

func (g gates) Denial(id string) (lifecycle.Denial, bool) {
	return lifecycle.Denial{RequestID: id, Gate: "api.example.com", Method: "GET", Path: "/nowhere", Reason: policy.NoRoute, Detail: "no rule names it",
		At: time.Now(), KeyID: g.w.admin.ID, KeyCustomerID: "acme"}, id == "req-denied"
}

// gated gives the world two gates over orders and a public path.
func (w *world) gated() {
	file, err := policy.ParseFile("gate.yaml", []byte(`version: 1
resources:
  orders: {group: sales, title: Order Management}
routes:
  - {methods: [GET, POST], path: "/c/{customerId}/orders", resource: orders}
  - {methods: [GET], path: "/c/{customerId}/orders/{id}", resource: orders}
  - {methods: [GET], path: /healthz, public: true}
`))
	require.NoError(w, err)
	set, err := policy.Compile([]*policy.File{file}, nil)
	require.NoError(w, err)
	w.page.svc = lifecycle.New(lifecycle.Config{Store: w.store, Keyring: w.ring, Gatekeeper: gates{w, set}})
}

// text is what is read of an answer: without tags and with single spaces.
func (a answer) text() string {
	plain := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(a.body, " ")
	return strings.Join(strings.Fields(plain), " ")
}

func TestAKeysPageShowsAllOfTheKey(t *testing.T) {
	w := newWorld(t)
	w.gated()
	b := w.as(w.admin)
	k := w.key(lifecycle.NewKey{Name: "Billing <export>", Description: "Runs monthly", RoleID: keystore.RoleReadOnly, CustomerID: "acme", MicrotenantID: lifecycle.Some("emea"),
		SessionValiditySeconds: lifecycle.Some(int64(900)), AllowedCIDRs: []string{"192.0.2.0/24"}, Labels: map[string]string{"env": "prod"}})
	a := b.get("/keyreeve/keys/" + k.ID)
	require.Equal(t, http.StatusOK, a.StatusCode, a.says())
	holds(t, a.body, "<h1><bdi>Billing &lt;export&gt;</bdi></h1>")
	holds(t, a.body, `data-copy="`+k.ClientID+`"`)
	holds(t, a.body, `data-copy="`+k.ID+`"`)
	for _, want := range []string{"Runs monthly", "API Read Only", "ACME", "Europe", "900 s (15 minutes)", "192.0.2.0/24", "env: prod", "Keyreeve itself",
		"somebody at the machine itself", "Calls in the last 24 hours", "No calls in any of the last 24 hours.", "Expires never"} {
		holds(t, a.text(), want)
	}
	lacks(t, a.body, `style="`)
	require.Equal(t, 24, strings.Count(a.body, "<rect class="), "a bar for each hour")
	lacks(t, a.body, k.ClientSecret)
}

// acting is a key as the actor that it is.
func (w *world) acting(id string) (a lifecycle.Actor) {
	w.Helper()
	require.NoError(w, w.store.View(w.Context(), func(r keystore.Reader) error {
		k, err := r.Key(w.Context(), id)
		if err != nil {
			return err
		}
		role, err := r.Role(w.Context(), k.RoleID)
		a = lifecycle.ForKey(k, role, "192.0.2.9", "req-7")
		return err
	}))
	return a
}

func TestAKeysPageIsThereForWhoMaySeeTheKey(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"", "/live", "/check?method=GET&path=/"} {
		at := "/keyreeve/keys/" + w.admin.ID + path
		for _, other := range []lifecycle.CreatedKey{w.foreign, w.tenant} {
			code := w.as(other).get(at, "HX-Request", "true").StatusCode
			require.Contains(t, []int{http.StatusNotFound, stopPolling}, code, at)
		}
		require.Equal(t, http.StatusSeeOther, w.browser().get("/keyreeve/keys/"+w.admin.ID).StatusCode)
	}
	require.Equal(t, http.StatusNotFound, w.as(w.foreign).get("/keyreeve/keys/"+w.admin.ID).StatusCode)
	require.Equal(t, http.StatusNotFound, w.as(w.admin).get("/keyreeve/keys/key_none").StatusCode)
	require.Equal(t, http.StatusOK, w.as(w.operator).get("/keyreeve/keys/"+w.foreign.ID).StatusCode)
}

func TestWhatTheActorMayNotReadOfAKeyIsLeftOutWithAWord(t *testing.T) {
	w := newWorld(t)
	w.gated()
	few := w.as(w.viewer).get("/keyreeve/keys/" + w.admin.ID)
	require.Equal(t, http.StatusOK, few.StatusCode, few.says())
	holds(t, few.text(), "Your role does not show sessions.")
	holds(t, few.text(), "Your role does not show the audit trail.")
	lacks(t, few.body, `class="events"`)
	lacks(t, few.body, `id="key-role"`, "there is no page of it for them")

	all := w.as(w.operator).get("/keyreeve/keys/" + w.admin.ID)
	lacks(t, all.text(), "Your role does not show")
	holds(t, all.body, `class="events"`)
	holds(t, all.body, `target_id=`+w.admin.ID)
	holds(t, all.body, `id="key-role"`)
}

func TestWhoMadeAKeyIsNamedWhereThatMayBeKnown(t *testing.T) {
	w := newWorld(t)
	made, _, err := w.svc.CreateKey(t.Context(), w.acting(w.operator.ID),
		lifecycle.NewKey{Name: "made", RoleID: keystore.RoleReadOnly, CustomerID: "umbrella"})
	require.NoError(t, err)
	at := "/keyreeve/keys/" + made.ID
	holds(t, w.as(w.operator).get(at).body, `href="/keyreeve/keys/`+w.operator.ID+`"><bdi>operator</bdi></a>`)
	foreign := w.as(w.foreign).get(at)
	require.Equal(t, http.StatusOK, foreign.StatusCode)
	lacks(t, foreign.body, `href="/keyreeve/keys/`+w.operator.ID)
}

func TestTheLivePartsOfAKeyAreAnsweredOnlyWhenTheyChange(t *testing.T) {
	w := newWorld(t)
	w.gated()
	b := w.as(w.admin)
	poll := regexp.MustCompile(`hx-get="(/keyreeve/keys/[^"/]*/live[^"]*)"`)
	live := poll.FindStringSubmatch(b.get("/keyreeve/keys/" + w.viewer.ID).body)[1]
	require.Equal(t, http.StatusNoContent, b.get(live, "HX-Request", "true").StatusCode)
	require.Equal(t, "/keyreeve/keys/"+w.viewer.ID, b.get(live).Header.Get("Location"), "no page of its own")
	_, _, err := w.svc.UpdateKey(t.Context(), atMachine, w.viewer.ID, lifecycle.KeyPatch{Enabled: lifecycle.Some(false)}, nil)
	require.NoError(t, err)
	a := b.get(live, "HX-Request", "true")
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, a.body, `id="key-state" hx-swap-oob="true"`)
	holds(t, a.text(), "Disabled switched off")
	holds(t, a.body, `id="status-`+w.viewer.ID+`"`, "what can be done changes with it")
	require.Equal(t, http.StatusNoContent, b.get(poll.FindStringSubmatch(a.body)[1], "HX-Request", "true").StatusCode)

	_, err = w.svc.DeleteKey(t.Context(), atMachine, w.viewer.ID, nil)
	require.NoError(t, err)
	gone := b.get(live, "HX-Request", "true")
	require.Equal(t, stopPolling, gone.StatusCode, "nothing is asked for again")
	holds(t, gone.text(), "This key is not there any more.")
}

func TestAKeyOfASourceSaysWhoOwnsIt(t *testing.T) {
	w := newWorld(t)
	w.source("acme", "okta")
	w.push(lifecycle.SourceRef{Name: "okta", CustomerID: "acme"}, "kr_from_okta")
	k := w.stored("kr_from_okta").ID
	a := w.as(w.operator).get("/keyreeve/keys/" + k)
	require.Equal(t, http.StatusOK, a.StatusCode, a.says())
	holds(t, a.text(), "okta owns this key; ask Identity team about it.")
	holds(t, a.body, `id="key-source" href="/keyreeve/sources/okta?customer_id=acme"`)
	few := w.as(w.viewer).get("/keyreeve/keys/" + k)
	holds(t, few.text(), "More of the source your role does not show.")
	lacks(t, few.body, "Identity team")
}

func TestTheChartOfCallsIsToldInWordsToo(t *testing.T) {
	from := time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC)
	u := usageView{lifecycle.KeyUsage{Calls24h: 1001, Hours: []lifecycle.HourCalls{{From: from, Calls: 1}, {From: from.Add(time.Hour)}, {From: from.Add(2 * time.Hour), Calls: 1000}}}}
	require.Equal(t, "1,001", u.Total())
	require.Equal(t, "09:00 UTC, 1 call; 11:00 UTC, 1,000 calls; none in the other hours.", u.Words())
	chart := string(u.Chart())
	require.Contains(t, chart, `<rect class="some" x="0" y="37" width="8" height="3"><title>09:00 UTC, 1 call</title></rect>`, "one call can be seen")
	require.Contains(t, chart, `<rect class="none" x="10" y="39" width="8" height="1">`)
	require.Contains(t, chart, `<rect class="some" x="20" y="0" width="8" height="40">`)
}

func TestWhatAKeyMayCallIsAnsweredOnItsPage(t *testing.T) {
	w := newWorld(t)
	w.gated()
	b := w.as(w.viewer)
	at := "/keyreeve/keys/" + w.admin.ID
	ask := url.Values{"method": {"POST"}, "path": {"/c/acme/orders?page=2"}}

	plain := b.get(at)
	holds(t, plain.body, `id="check-form"`)
	holds(t, plain.body, `<option value="/c/acme/orders">`, "paths of its customer are suggested")
	lacks(t, plain.body, "{id}", "and none with a parameter left")
	lacks(t, plain.body, `class="verdict`)

	// Without script the address of the check leads to the page with the answer.
	require.Equal(t, at+"?"+ask.Encode(), b.get(at+"/check?"+ask.Encode()).Header.Get("Location"))
	whole := b.get(at + "?" + ask.Encode())
	part := b.get(at+"/check?"+ask.Encode()+"&gate=&microtenant_id=", "HX-Request", "true", "HX-Target", "key-check")
	require.Equal(t, at+"?"+ask.Encode(), part.Header.Get("HX-Push-Url"))
	lacks(t, part.body, "<html")
	lacks(t, part.body, "hx-preserve", "a new answer takes the place of the old one")
	alone := b.get(at+"?"+ask.Encode(), "HX-Request", "true", "HX-Target", "check-answer")
	require.True(t, strings.HasPrefix(alone.body, `<div id="check-answer"`), alone.body)
	for _, a := range []answer{whole, part, alone} {
		require.Equal(t, http.StatusOK, a.StatusCode, a.says())
		for _, want := range []string{"Gate 1 api.example.com Refused The role does not hold the permission that the rule asks for. orders:create is needed, Admin holds read, by *",
			"The client sees 403 Forbidden permission_denied", "Permission needed orders:create A role holds it by naming orders, its group sales or *.",
			"The role holds read by *", "Permission Failed orders:create is needed", "Path Passed Every program reads it alike.",
			"GET, POST /c/{customerId}/orders gate.yaml:5 Applies", "This gate only watches, so the client sees the answer of the upstream"} {
			holds(t, a.text(), want)
		}
		holds(t, a.body, "--key "+w.admin.ClientID+" POST &#39;/c/acme/orders?page=2&#39;")
	}
	holds(t, b.get(at+"?method=GET&path=/c/acme/orders&gate=1").text(), "Allowed Nothing stands against it. The client sees the answer of the upstream allowed")
	holds(t, b.get(at+"?method=GET&path=/c/umbrella/orders&gate=1").text(), "The customer or the microtenant that it names is not the key’s."[:40])

	// When the page loads itself anew, what was asked stays.
	holds(t, b.get(at+"?"+ask.Encode(), "HX-Request", "true").body, "hx-preserve")
}

func TestWhatIsWrongWithACheckStandsAtItsField(t *testing.T) {
	w := newWorld(t)
	w.gated()
	b := w.as(w.admin)
	at := "/keyreeve/keys/" + w.admin.ID
	for query, field := range map[string]string{"method=GET": "path", "method=GET&path=orders": "path", "path=/": "method", "method=G+T&path=/": "method",
		"method=GET&path=/&source_address=here": "source_address", "method=GET&path=/&gate=9": "gate"} {
		a := b.get(at + "?" + query)
		require.Equal(t, http.StatusBadRequest, a.StatusCode, query)
		holds(t, a.body, `id="f-`+field+`-error"`, query)
		holds(t, a.body, `href="#f-`+field+`"`, query)
		lacks(t, a.body, `class="verdict`, query)
	}
}

func TestWithoutAGateThereIsNothingToAsk(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	holds(t, b.get("/keyreeve/keys/"+w.admin.ID).text(), "The configuration has no gate")
	holds(t, b.get("/keyreeve/policy").text(), "The configuration has no gate")
	holds(t, b.get("/keyreeve/policy/routes").text(), "No gate of the configuration has a policy")
}
