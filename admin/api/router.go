package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// router is an http.ServeMux that also knows which paths it has and with which
// methods, so that 404 and 405 are ours to word and paths that are not the
// API's can be passed on.
type router struct {
	*http.ServeMux
	routes []*route
	roots  []string // such as /v1/keys: all at and below it is the API's
}

type route struct {
	path     string
	segments []string
	methods  []string
}

func newRouter() *router { return &router{ServeMux: http.NewServeMux()} }

// HandleFunc takes patterns such as `GET /v1/keys/{id}`, as humago gives them.
func (rt *router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	rt.ServeMux.HandleFunc(pattern, handler)
	method, path, _ := strings.Cut(pattern, " ")
	i := slices.IndexFunc(rt.routes, func(r *route) bool { return r.path == path })
	if i < 0 {
		i = len(rt.routes)
		rt.routes = append(rt.routes, &route{path: path, segments: split(path)})
	}
	added := rt.routes[i]
	added.methods = append(added.methods, method)
	if method == http.MethodGet {
		added.methods = append(added.methods, http.MethodHead)
	}
	slices.Sort(added.methods)
	root := "/" + strings.Join(added.segments[:min(2, len(added.segments))], "/")
	if !slices.Contains(rt.roots, root) {
		rt.roots = append(rt.roots, root)
	}
}

// owns reports whether a decoded path is at or below one of the API's roots.
func (rt *router) owns(path string) bool {
	return slices.ContainsFunc(rt.roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// find is the route of an escaped path, nil if there is none. ServeMux would
// redirect a path with empty or dot segments; here it simply is another path.
func (rt *router) find(escaped string) *route {
	given := split(escaped)
	for i, s := range given {
		plain, err := url.PathUnescape(s)
		if err != nil || plain == "" || plain == "." || plain == ".." || strings.Contains(plain, "/") {
			return nil
		}
		given[i] = plain
	}
	var found *route
	for _, r := range rt.routes {
		if r.matches(given) && (found == nil || r.before(found)) {
			found = r
		}
	}
	return found
}

// before reports whether a route goes before another that matches the same path:
// the first segment that is literal in but one of them decides, as in ServeMux.
func (r *route) before(other *route) bool {
	for i, s := range r.segments {
		if literal, otherLiteral := !strings.HasPrefix(s, "{"), !strings.HasPrefix(other.segments[i], "{"); literal != otherLiteral {
			return literal
		}
	}
	return false
}

func (r *route) matches(given []string) bool {
	return slices.EqualFunc(r.segments, given, func(want, have string) bool {
		return want == have || strings.HasPrefix(want, "{")
	})
}

func (r *route) allows(method string) bool { return slices.Contains(r.methods, method) }

func split(path string) []string { return strings.Split(strings.TrimPrefix(path, "/"), "/") }
