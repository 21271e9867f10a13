package page

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

var tags = regexp.MustCompile(`<[^>]*>`)

// words are what a part of a page says, without its markup.
func words(markup string) string {
	return strings.Join(strings.Fields(html.UnescapeString(tags.ReplaceAllString(markup, " "))), " ")
}

var eventWhat = regexp.MustCompile(`(?s)<p class="event-what">(.*?)</p>`)

// events are those of the audit trail in a page.
func (a answer) events() []string {
	all := []string{}
	for _, m := range eventWhat.FindAllStringSubmatch(a.body, -1) {
		all = append(all, words(m[1]))
	}
	return all
}

func TestTheTrailShowsWhatTheActorSees(t *testing.T) {
	w := newWorld(t)
	require.Contains(t, w.as(w.operator).get("/keyreeve/audit?page_size=100").events(), "test created the key foreign")
	seen := w.as(w.trailReader()).get("/keyreeve/audit?page_size=100").events()
	require.Contains(t, seen, "test created the key bystander")
	require.NotContains(t, seen, "test created the key foreign")
	require.Empty(t, w.as(w.trailReader()).get("/keyreeve/audit?customer_id=umbrella").events())
	require.Equal(t, []string{"test created the key tenant"}, w.as(w.auditor("emea")).get("/keyreeve/audit?target_kind=key&target_id="+w.tenant.ID).events())

	for _, path := range []string{"", "/export", "/export?format=csv", "/verify"} {
		require.Equal(t, http.StatusForbidden, w.as(w.viewer).get("/keyreeve/audit"+path).StatusCode, path)
	}
	require.Equal(t, http.StatusForbidden, w.as(w.viewer).post("/keyreeve/audit/verify", nil).StatusCode)
	require.Equal(t, http.StatusForbidden, w.as(w.trailReader()).get("/keyreeve/audit?customer_id=null").StatusCode, "events of no customer")
}

// auditor is a key of acme that may read the trail, in a microtenant if one is named.
func (w *world) auditor(microtenantID string) lifecycle.CreatedKey {
	w.Helper()
	name := "auditor of " + cmp.Or(microtenantID, "all")
	r, _, err := w.svc.CreateRole(w.Context(), atMachine, lifecycle.NewRole{Name: name, CustomerID: lifecycle.Null[string](),
		Permissions: policy.Permissions{"keyreeve/*": policy.View}})
	require.NoError(w, err)
	in := lifecycle.NewKey{Name: name, RoleID: r.ID, CustomerID: "acme"}
	if microtenantID != "" {
		in.MicrotenantID = lifecycle.Some(microtenantID)
	}
	return w.key(in)
}

func (w *world) trailReader() lifecycle.CreatedKey {
	w.Helper()
	r, _, err := w.svc.CreateRole(w.Context(), atMachine, lifecycle.NewRole{Name: "Trail " + newOnce(), CustomerID: lifecycle.Null[string](),
		Permissions: policy.Permissions{"keyreeve/audit": policy.View, "keyreeve/keys": policy.View}})
	require.NoError(w, err)
	return w.key(lifecycle.NewKey{Name: "reader " + newOnce(), RoleID: r.ID, CustomerID: "acme"})
}

func TestTheTrailIsNarrowedByEachFilter(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.svc.UpdateKey(t.Context(), atMachine, w.viewer.ID, lifecycle.KeyPatch{Enabled: lifecycle.Some(false)}, nil)
	require.NoError(t, err)
	b := w.as(w.operator)
	now := w.clock.Now().Wall.UTC()
	for query, want := range map[string][]string{
		"action=key.update":            {"test disabled the key viewer"},
		"action=microtenant.":          {"test created the microtenant Europe"},
		"target_kind=customer&sort=at": {"test created the customer ACME", "test created the customer UMBRELLA"},
		"target_kind=customer":         {"test created the customer UMBRELLA", "test created the customer ACME"},
		"target_id=" + w.bystander.ID:  {"test created the key bystander"},
		"microtenant_id=emea":          {"test created the key tenant", "test created the microtenant Europe"},
		"customer_id=umbrella":         {"test created the key foreign", "test created the customer UMBRELLA"},
		"customer_id=null&sort=at":     {"test created the role Admin", "test created the role Viewer"},
		"actor_id=system":              {},
		"request_id=none":              {},
		"actor_id=local&action=role.":  {"test created the role Viewer", "test created the role Admin"},
		"until=2000-01-01":             {},
		"since=2100-01-01T00:00":       {},
		"action=key.&since=2000-01-01T00:00:00Z&target_id=" + w.admin.ID + "&until=" + now.AddDate(1, 0, 0).Format("2006-01-02"): {"test created the key admin"},
	} {
		a := b.get("/keyreeve/audit?" + query)
		require.Equal(t, http.StatusOK, a.StatusCode, query)
		require.Equal(t, want, a.events(), query)
		part := b.get("/keyreeve/audit?"+query, "HX-Request", "true", "HX-Target", "audit-list")
		require.Equal(t, want, part.events(), query)
		lacks(t, part.body, "<html")
	}
	for _, query := range []string{"action=key", "since=yesterday", "until=x", "sort=name", "since=2026-01-02&until=2026-01-01", "customer_id=null&microtenant_id=emea"} {
		a := b.get("/keyreeve/audit?" + query)
		require.Equal(t, http.StatusBadRequest, a.StatusCode, query)
		holds(t, a.body, `class="faults"`, query)
	}
	holds(t, b.get("/keyreeve/audit?request_id=none").body, "No event matches")
}

func TestTheTrailFindsKeysByTheirNames(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	require.Equal(t, "/keyreeve/audit?target_id="+w.viewer.ID+"&target_kind=key", b.get("/keyreeve/audit?target_id=viewer&action=").Header.Get("Location"))
	require.Equal(t, "/keyreeve/audit?actor_id="+w.viewer.ID, b.get("/keyreeve/audit?actor_id="+w.viewer.ClientID).Header.Get("Location"))
	require.Equal(t, "/keyreeve/audit?actor_id="+w.viewer.ID, b.get("/keyreeve/audit?actor_id=viewer", "HX-Request", "true").Header.Get("HX-Push-Url"))
	w.key(lifecycle.NewKey{Name: "viewer", RoleID: w.adminRole, CustomerID: "umbrella"})
	holds(t, b.get("/keyreeve/audit?target_id=viewer").body, "2 keys have this name.")
	require.Equal(t, "/keyreeve/audit?customer_id=null", b.get("/keyreeve/audit?no_customer=true").Header.Get("Location"))
}

func TestPagingTheTrailMissesNothing(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	want := b.get("/keyreeve/audit?page_size=100").events()
	next := regexp.MustCompile(`id="page-next" rel="next" href="([^"]*)"`)
	a, found := b.get("/keyreeve/audit?page_size=3"), []string{}
	for {
		found = append(found, a.events()...)
		m := next.FindStringSubmatch(a.body)
		if m == nil {
			break
		}
		w.key(lifecycle.NewKey{Name: "meanwhile " + newOnce(), RoleID: w.adminRole, CustomerID: "acme"})
		a = b.get(html.UnescapeString(m[1]))
	}
	require.Equal(t, want, found)
}

func TestWhatIsNamedIsLinkedToAsLongAsItIsThere(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	link := `href="/keyreeve/keys/` + w.bystander.ID + `"`
	holds(t, b.get("/keyreeve/audit?target_id="+w.bystander.ID).body, link)
	_, err := w.svc.DeleteKey(t.Context(), atMachine, w.bystander.ID, nil)
	require.NoError(t, err)
	a := b.get("/keyreeve/audit?target_id=" + w.bystander.ID)
	require.Equal(t, []string{"test deleted the key bystander", "test created the key bystander"}, a.events())
	lacks(t, a.body, link)
	holds(t, a.body, `href="/keyreeve/roles/`+keystore.RoleFullAccess+`"`, "its role is there still")
}

func TestWhatStandsInTheTrailIsShownAsTextWhateverItIs(t *testing.T) {
	w := newWorld(t)
	hostile := "\u202e=cmd<script>alert(1)</script>\u2066"
	record := json.RawMessage(`{"name":"<img src=x onerror=alert(1)>","labels":{"\u202e<b>":"{{.}}"},"deep":` + strings.Repeat(`{"a":`, 30) + `1` + strings.Repeat(`}`, 30) + `}`)
	_, err := w.store.Update(t.Context(), func(tx keystore.Tx) error {
		return tx.AddAudit(t.Context(), &keystore.Audit{At: w.clock.Now().Wall, CustomerID: "acme", ActorKind: "key", ActorID: "key_x", ActorName: hostile, Address: hostile,
			RequestID: hostile, Action: "odd.<i>", TargetKind: "odd", TargetID: hostile, TargetName: hostile, Before: json.RawMessage(`{"name":1}`), After: record})
	})
	require.NoError(t, err)
	a := w.as(w.operator).get("/keyreeve/audit?page_size=1")
	require.Equal(t, http.StatusOK, a.StatusCode)
	lacks(t, a.body, "<script>alert")
	lacks(t, a.body, "<img")
	lacks(t, a.body, "\u202e", "nothing turns the text around it")
	holds(t, a.body, "<bdi>[U&#43;202E]=cmd&lt;script&gt;")
	holds(t, a.body, "<code>odd.&lt;i&gt;</code>", "an action without words is shown as it is")

	csv := w.as(w.operator).get("/keyreeve/audit/export?format=csv&action=odd.")
	holds(t, csv.body, "'\u202e=cmd<script>", "which some spreadsheets skip")
}

func TestAnExportHasWhatTheFiltersLetThrough(t *testing.T) {
	w := newWorld(t)
	w.key(lifecycle.NewKey{Name: "=cmd|x", RoleID: w.adminRole, CustomerID: "acme"})
	b := w.as(w.trailReader())
	a := b.get("/keyreeve/audit/export?format=csv&action=key.create")
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Equal(t, "text/csv; charset=utf-8; header=present", a.Header.Get("Content-Type"))
	require.Regexp(t, `^attachment; filename="keyreeve-audit-\d{8}T\d{6}Z\.csv"$`, a.Header.Get("Content-Disposition"))
	rows, err := csv.NewReader(strings.NewReader(a.body)).ReadAll()
	require.NoError(t, err)
	names := []string{}
	for _, row := range rows[1:] {
		require.Equal(t, "acme", row[4])
		names = append(names, row[14])
	}
	require.Equal(t, []string{"operator", "admin", "viewer", "tenant", "bystander", "'=cmd|x"}, names[:6])

	a = b.get("/keyreeve/audit/export?format=ndjson&customer_id=acme")
	require.Equal(t, "application/x-ndjson", a.Header.Get("Content-Type"))
	lines := strings.Split(strings.TrimSpace(a.body), "\n")
	var end lifecycle.AuditTrailer
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &end))
	require.True(t, end.Complete)
	proof, err := lifecycle.VerifyExport(strings.NewReader(a.body), nil, w.ring)
	require.NoError(t, err)
	require.True(t, proof.OK)
	require.Empty(t, b.do(http.MethodHead, "/keyreeve/audit/export?format=csv", "").body)
	require.Equal(t, http.StatusBadRequest, b.get("/keyreeve/audit/export?format=xml").StatusCode)
	require.Equal(t, http.StatusBadRequest, b.get("/keyreeve/audit/export?format=csv&since=soon").StatusCode)

	offer := b.get("/keyreeve/audit/export?action=key.create", "HX-Request", "true")
	holds(t, offer.body, `href="/keyreeve/audit/export?action=key.create&amp;format=csv"`)
	holds(t, html.UnescapeString(offer.body), "keyreeve audit export --action key.create --url "+w.url)
	holds(t, html.UnescapeString(offer.body), w.url+"/v1/audit-events?action=key.create&format=ndjson")
}

func TestVerifyingTellsWhatWasFoundChainByChain(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	holds(t, b.get("/keyreeve/audit/verify").body, "Verify now")
	a := b.post("/keyreeve/audit/verify", url.Values{}, "HX-Request", "true")
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, words(a.body), "Proved: 11 events in 3 chains, none changed, left out or put in.")
	for _, chain := range []string{"ACME", "UMBRELLA", "Events of no customer"} {
		holds(t, words(a.body), chain)
	}
	head := regexp.MustCompile(`acme:\d+:[0-9a-f]{64}`).FindString(a.body)
	require.NotEmpty(t, head)
	a = b.post("/keyreeve/audit/verify", url.Values{"head": {head}})
	holds(t, words(a.body), "Proved: ")
	a = b.post("/keyreeve/audit/verify", url.Values{"head": {"acme:1:" + strings.Repeat("0", 64)}})
	holds(t, words(a.body), "The trail is not what was written.")
	holds(t, words(a.body), "An older database was put back, or the chain was rewritten.")
	a = b.post("/keyreeve/audit/verify", url.Values{"head": {"nonsense"}})
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	holds(t, a.body, `href="#f-head"`)
	a = b.post("/keyreeve/audit/verify", url.Values{"head": {head}, "as": {"commands"}})
	holds(t, html.UnescapeString(a.body), "keyreeve audit verify --head "+head)
	lacks(t, a.body, `class="proof`)

	holds(t, words(w.as(w.trailReader()).post("/keyreeve/audit/verify", url.Values{}).body), "Proved: ")
	inside := w.as(w.auditor("emea")).post("/keyreeve/audit/verify", url.Values{})
	require.Equal(t, http.StatusForbidden, inside.StatusCode)
	holds(t, inside.body, "which an actor in a microtenant does not see")
}

func TestABrokenTrailSaysWhatMustHaveHappened(t *testing.T) {
	for _, code := range []string{keystore.AuditMissing, keystore.AuditChanged, keystore.AuditForged, keystore.AuditHeadMismatch, keystore.AuditForgedHead,
		keystore.AuditForgedStart, keystore.AuditPinMismatch, keystore.AuditForgedRoot, keystore.AuditRootMismatch, keystore.AuditUnchained,
		keystore.AuditUnknownKey, keystore.AuditPinForgotten} {
		p, bad, open := problemOf(&lifecycle.AuditProblem{Code: code, Detail: "x"})
		require.NotEmpty(t, p.Means, code)
		require.NotEqual(t, bad, open, code)
	}
}
