package page

import (
	"net/http"
	"net/url"
	"strings"
)

// route is one path with one method.
type route struct {
	handle func(*visit) error
	// open needs nobody to be signed in.
	open bool
	// passive requests are made by the page itself and do not prolong a session.
	passive bool
}

const (
	loginPath  = root + "login"
	logoutPath = root + "logout"
	keysPath   = root + "keys"
)

// addRoutes lists all of the page. Each room of it has a function of its own.
func (p *Page) addRoutes() {
	p.mux.HandleFunc("/{$}", p.toKeys)
	p.mux.HandleFunc("GET "+assetsPrefix, serveAsset)
	p.add("GET "+root+"{$}", route{handle: (*visit).home})
	p.add("GET "+loginPath, route{handle: (*visit).showSignIn, open: true})
	p.add("POST "+loginPath, route{handle: (*visit).signIn, open: true})
	p.add("GET "+loginPath+"/{code}", route{handle: (*visit).showLink, open: true})
	p.add("POST "+loginPath+"/{code}", route{handle: (*visit).useLink, open: true})
	p.add("POST "+logoutPath, route{handle: (*visit).signOut, open: true})
	p.addKeyTable()
	p.addKeyMaking()
	p.addSecrets()
	p.addKeyChanging()
	p.addBatch()
	p.addKeyPage()
	p.addRoles()
	p.addLocks()
	p.addSessions()
	p.addAudit()
	p.addSources()
	p.addTenants()
	p.addNodes()
	p.addPolicy()
	p.addPreferences()
	p.addHelp()
	p.add(root, route{handle: (*visit).noSuchPath})
}

// get and post add what only who is signed in may do.
func (p *Page) get(path string, handle func(*visit) error) {
	p.add("GET "+path, route{handle: handle})
}
func (p *Page) post(path string, handle func(*visit) error) {
	p.add("POST "+path, route{handle: handle})
}

// add registers a pattern of http.ServeMux.
func (p *Page) add(pattern string, at route) {
	p.served[pattern] = true
	p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if at.passive {
			r = passive(r)
		}
		v := &visit{page: p, w: w, r: r, route: at}
		if FromElsewhere(r) {
			v.showError(http.StatusForbidden, "cross_origin", "This came from another site, so nothing was done. Open the page itself and try again.")
			return
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		}
		if !at.open && !v.resume() {
			return
		}
		if v.signedIn() {
			if !p.turns.enter(v.actor.ID) {
				w.Header().Set("Retry-After", "1")
				v.showError(http.StatusTooManyRequests, "too_many_requests", "Too many requests at one time. Wait a moment and try again.")
				return
			}
			defer p.turns.leave(v.actor.ID)
		}
		if err := at.handle(v); err != nil {
			v.fail(err)
		}
	})
}

var origins = http.NewCrossOriginProtection()

// FromElsewhere reports a request that another site has a browser make to change
// something: it is not to be done for the sake of a cookie.
func FromElsewhere(r *http.Request) bool { return origins.Check(r) != nil }

func (p *Page) toKeys(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	http.Redirect(w, r, keysPath, http.StatusSeeOther)
}

// home goes to the first room that the actor may enter.
func (v *visit) home() error {
	for _, at := range v.rooms() {
		return v.redirect(at.Path)
	}
	return v.redirect(keysPath) // which says what is missing
}

// noSuchPath is 404, or 405 where another method would do.
func (v *visit) noSuchPath() error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		other := v.r.Clone(v.r.Context())
		other.Method = method
		if _, pattern := v.page.mux.Handler(other); pattern != root {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		v.showError(http.StatusNotFound, "not_found", "There is no such page.")
		return nil
	}
	v.w.Header().Set("Allow", strings.Join(allowed, ", "))
	v.showError(http.StatusMethodNotAllowed, "method_not_allowed", "This page cannot be asked for in this way.")
	return nil
}

// local is target if it is a place of the page, so that nobody is sent elsewhere,
// and otherwise root.
func local(target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil, u.Scheme != "", u.Host != "", u.User != nil, u.Opaque != "",
		!strings.HasPrefix(u.Path, root), strings.Contains(u.Path, "//"), strings.Contains(u.Path, ".."),
		strings.ContainsAny(target, "\\\r\n\t"), strings.HasPrefix(u.Path, loginPath), strings.HasPrefix(u.Path, logoutPath):
		return root
	}
	u.Fragment = ""
	return u.String()
}
