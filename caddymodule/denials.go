package caddymodule

import (
	"net/http"
	"strings"
	"sync"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// denialsKept is how many recent denials can be explained: about 450 bytes each
	// with a usual path, so 5 MB, and at most 1.8 KiB, so 18 MB.
	denialsKept = 10_000
	// maxDeniedPath, maxDeniedText and maxDeniedMethod bound what is kept of one, in bytes.
	maxDeniedPath   = 1 << 10
	maxDeniedText   = 160
	maxDeniedMethod = 64
)

// denials are the latest ones, the oldest overwritten first. Written for each
// denial and never for what is let through.
type denials struct {
	mu   sync.Mutex
	ring []lifecycle.Denial
	next int
}

func (d *denials) add(one lifecycle.Denial) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ring) < denialsKept {
		d.ring = append(d.ring, one)
		return
	}
	d.ring[d.next] = one
	d.next = (d.next + 1) % denialsKept
}

// find is the newest denial of a request, which two gates may have refused.
func (d *denials) find(requestID string) (found lifecycle.Denial, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.ring {
		// From the newest, which stands before next, backwards.
		one := &d.ring[(d.next+2*len(d.ring)-1-i)%len(d.ring)]
		if one.RequestID == requestID {
			return *one, true
		}
	}
	return found, false
}

// keepDenial remembers what was decided on, for an administrator who asks by the
// request's id. Texts are copied: a part would keep the whole in memory, such as
// a query with a credential in it.
func (g *Gate) keepDenial(r *http.Request, v *verdict) {
	run := g.app.running.Load()
	if run == nil {
		return
	}
	d := lifecycle.Denial{
		RequestID: requestID(r), At: run.store.instant(v.began).Wall, Gate: run.gatekeeper.nameOf(g), Shadow: g.Shadow,
		Token:   v.Claims != nil || v.Reason == policy.InvalidToken,
		Method:  effectiveMethod(r),
		Address: clientAddress(r), Reason: v.Reason, Detail: cutCopy(v.Detail, maxDeniedText),
	}
	if g.cors.enabled() && g.isPreflight(r) {
		d.Method, d.Preflight = r.Header.Get("Access-Control-Request-Method"), true
	}
	path, class, decidable := credential.DecidablePath(r.URL, r.RequestURI)
	if !decidable {
		path = r.URL.EscapedPath()
		if target, _, _ := strings.Cut(r.RequestURI, "?"); strings.HasPrefix(target, "/") { // an absolute one may hold a password
			path = target
		}
	}
	if decidable {
		if m, _ := g.set.Match(d.Method, path, class == credential.PathOdd); m.Route != nil {
			d.MicrotenantID, d.MicrotenantAmbiguous = m.Route.MicrotenantIn(r.URL.RawQuery)
			d.MicrotenantID = cutCopy(d.MicrotenantID, maxDeniedText)
		}
	}
	d.Path, d.PathCut = cutCopy(path, maxDeniedPath), len(path) > maxDeniedPath
	d.Method = cutCopy(d.Method, maxDeniedMethod)
	if v.Key != nil {
		d.KeyID, d.KeyCustomerID, d.KeyMicrotenantID = v.Key.ID, v.Key.CustomerID, v.Key.MicrotenantID
	}
	if v.Route != nil {
		d.RoutePattern, d.RouteMethods, d.Resource, d.Action = v.Route.Pattern, v.Route.Methods, v.Route.Resource, v.Action
	}
	run.store.denials.add(d)
}

// cutCopy is a copy of the first bytes of a text.
func cutCopy(s string, most int) string { return strings.Clone(s[:min(len(s), most)]) }
