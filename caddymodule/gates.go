package caddymodule

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// placedGate is a gate and where it stands in the configuration.
type placedGate struct {
	*Gate
	// name is the first host, or the first address where any host is served; unique.
	name          string
	listen, hosts []string
}

// placeGates finds the gates in the HTTP app, once all apps are provisioned: a
// handler is not told where it stands, and servers are provisioned in no fixed
// order. Gates inside other plugins' handlers come last.
func (a *App) placeGates() []placedGate {
	var found gateFinder
	if a.events != nil { // else no other app is around, see configure
		if app, err := a.events.ctx.AppIfConfigured("http"); err == nil {
			found.app(app.(*caddyhttp.App))
		}
	}
	for _, g := range a.gates {
		found.add(g, nil, nil)
	}
	found.name()
	return found.gates
}

// gateFinder walks a configuration.
type gateFinder struct {
	gates []placedGate
}

func (f *gateFinder) app(app *caddyhttp.App) {
	// srv2 comes before srv10.
	names := slices.SortedFunc(maps.Keys(app.Servers), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	for _, name := range names {
		server := app.Servers[name]
		f.routes(server.Routes, server.Listen, nil)
		if server.Errors != nil {
			f.routes(server.Errors.Routes, server.Listen, nil)
		}
		for _, named := range slices.Sorted(maps.Keys(server.NamedRoutes)) {
			f.routes(caddyhttp.RouteList{*server.NamedRoutes[named]}, server.Listen, nil)
		}
	}
}

// routes walks a list of routes that is reached for these hosts, every one if none.
func (f *gateFinder) routes(list caddyhttp.RouteList, listen, hosts []string) {
	for i := range list {
		here := hosts
		if narrower := hostsOf(list[i].MatcherSets); len(narrower) > 0 {
			here = narrower
		}
		for _, h := range list[i].Handlers {
			switch h := h.(type) {
			case *Gate:
				f.add(h, listen, here)
			case *caddyhttp.Subroute:
				f.routes(h.Routes, listen, here)
				if h.Errors != nil {
					f.routes(h.Errors.Routes, listen, here)
				}
			}
		}
	}
}

// hostsOf lists the hosts that a route is limited to.
func hostsOf(sets caddyhttp.MatcherSets) (hosts []string) {
	for _, set := range sets {
		for _, m := range set {
			if h, ok := m.(*caddyhttp.MatchHost); ok {
				hosts = append(hosts, *h...)
			}
		}
	}
	return hosts
}

// add takes a gate where it was first found.
func (f *gateFinder) add(g *Gate, listen, hosts []string) {
	if slices.ContainsFunc(f.gates, func(p placedGate) bool { return p.Gate == g }) {
		return
	}
	f.gates = append(f.gates, placedGate{Gate: g, listen: listen, hosts: hosts})
}

// name gives each gate a name of its own.
func (f *gateFinder) name() {
	count := map[string]int{}
	for i := range f.gates {
		p := &f.gates[i]
		p.name = "gate"
		for _, names := range [][]string{p.listen, p.hosts} {
			if len(names) > 0 {
				p.name = names[0]
			}
		}
		if count[p.name]++; count[p.name] > 1 {
			p.name = fmt.Sprintf("%s#%d", p.name, count[p.name])
		}
	}
}
