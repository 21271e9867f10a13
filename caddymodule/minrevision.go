package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session/authn"
)

const (
	// headerMinRevision asks for a decision on a state no older than a write, by
	// the Keyreeve-Revision that its answer carried.
	headerMinRevision = "Keyreeve-Min-Revision"
	// minRevisionWithin bounds how long a request waits for that state.
	minRevisionWithin = 250 * time.Millisecond
)

// awaitRevision honours Keyreeve-Min-Revision of a proven caller: where this node
// had to catch up, the caller is proven anew on what it sees now.
func (g *Gate) awaitRevision(r *http.Request, v *verdict) {
	asked := r.Header[headerMinRevision]
	if len(asked) == 0 {
		return
	}
	revision, err := strconv.ParseInt(asked[0], 10, 64)
	if err != nil || revision < 0 || len(asked) > 1 {
		v.Decision = policy.Deny(policy.InvalidRevision)
		v.Detail = headerMinRevision + " is not one revision"
		return
	}
	keys := g.app.running.Load().store.keys
	if keys.Position() >= keystore.Revision(revision) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), minRevisionWithin)
	defer cancel()
	switch err := keys.AwaitRevision(ctx, keystore.Revision(revision)); {
	case errors.Is(err, keystore.ErrAhead):
		v.Decision = policy.Deny(policy.InvalidRevision)
		v.Detail = headerMinRevision + " is ahead of the store"
	case err != nil:
		v.Decision = policy.Deny(policy.StoreUnavailable)
		v.Detail, v.RetryAfter = err.Error(), time.Second
	default:
		v.Result = authn.Result{}
		g.prove(r, v)
	}
}
