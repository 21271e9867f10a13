package caddymodule

import (
	"net/http"
	"strings"
	"sync"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// denialsKept is how many recent denials can be explained of callers who are proven,
	// and how many of others, whom anybody can be as often as he likes: about 450 bytes
	// each with a usual path, so 5 MB for both, and at most 1.8 KiB, so 18 MB.
	denialsKept = 5_000
	// maxDeniedPath, maxDeniedText and maxDeniedMethod bound what is kept of one, in bytes.
	maxDeniedPath   = 1 << 10
	maxDeniedText   = 160
	maxDeniedMethod = 64
)

// denials are the latest ones. Written for each denial and never for what is let
// through.
type denials struct {
	mu              sync.Mutex
	proven, unknown denialRing
}

// add keeps a denial; proven tells that the caller had shown the right credential.
func (d *denials) add(one lifecycle.Denial, proven bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if proven {
		d.proven.add(one)
	} else {
		d.unknown.add(one)
	}
}

// find is the newest denial of a request, which two gates may have refused.
func (d *denials) find(requestID string) (found lifecycle.Denial, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, unknown := d.proven.find(requestID), d.unknown.find(requestID)
	switch {
	case known == nil && unknown == nil:
		return found, false
	case known == nil || unknown != nil && unknown.At.After(known.At):
		return *unknown, true
	}
	return *known, true
}

// denialRing holds so many, the oldest overwritten first.
type denialRing struct {
	ring []lifecycle.Denial
	next int
}

func (d *denialRing) add(one lifecycle.Denial) {
	if len(d.ring) < denialsKept {
		d.ring = append(d.ring, one)
		return
	}
	d.ring[d.next] = one
	d.next = (d.next + 1) % denialsKept
}

// find is the newest of a request, nil for none.
func (d *denialRing) find(requestID string) *lifecycle.Denial {
	for i := range d.ring {
		// From the newest, which stands before next, backwards.
		one := &d.ring[(d.next+2*len(d.ring)-1-i)%len(d.ring)]
		if one.RequestID == requestID {
			return one
		}
	}
	return nil
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
		Token:  v.Claims != nil || v.Reason == policy.InvalidToken,
		Method: cutCopy(v.method, maxDeniedMethod), Preflight: v.preflight,
		Address: clientAddress(r), Reason: v.Reason, Detail: cutCopy(v.Detail, maxDeniedText),
	}
	path := v.path
	if path == "" {
		path = r.URL.EscapedPath()
		if target, _, _ := strings.Cut(r.RequestURI, "?"); strings.HasPrefix(target, "/") { // an absolute one may hold a password
			path = target
		}
		d.QueryUndecidable = strings.Contains(r.RequestURI, "#")
	}
	if v.matched != nil {
		d.MicrotenantID, d.MicrotenantAmbiguous = v.matched.MicrotenantIn(r.URL.RawQuery)
		d.MicrotenantID = cutCopy(d.MicrotenantID, maxDeniedText)
	}
	d.Path, d.PathCut = cutCopy(path, maxDeniedPath), len(path) > maxDeniedPath
	if v.Key != nil {
		d.KeyID, d.KeyCustomerID, d.KeyMicrotenantID = v.Key.ID, v.Key.CustomerID, v.Key.MicrotenantID
	}
	if v.Route != nil {
		d.RoutePattern, d.RouteMethods, d.Resource, d.Action = v.Route.Pattern, v.Route.Methods, v.Route.Resource, v.Action
	}
	run.store.denials.add(d, v.proven())
}

// cutCopy is a copy of the first bytes of a text.
func cutCopy(s string, most int) string { return strings.Clone(s[:min(len(s), most)]) }
