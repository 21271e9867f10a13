package caddymodule

import (
	"net/http"

	"github.com/keyreeve/keyreeve/policy"
)

// assert makes the assertion for a request that is let through, into v. A
// request that cannot have one is refused: its upstream would not believe it.
func (g *Gate) assert(r *http.Request, v *verdict, method, path string) {
	run := g.app.ready(r.Context())
	if run == nil {
		v.Decision = unready()
		return
	}
	// What is asserted is decided, and a key that is due is written to the store: no
	// revocation waits for that.
	defer run.store.keys.End(run.store.keys.Aside())
	assertion, err := run.tokens.Assert(r.Context(), v.Key, v.Role.ID, method, path, run.store.clock.Now())
	if err != nil {
		v.Decision = policy.Deny(policy.StoreUnavailable)
		v.Detail, v.RetryAfter = "making an assertion: "+err.Error(), readyWithin
		return
	}
	v.assertion = assertion
}
