package zpa

import (
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// create answers POST of the collection. The answer is the only one that has the
// secret; a retry under the same Idempotency-Key gets the key without it.
func (c *call) create() error {
	ctx := c.r.Context()
	// First: nobody without the right costs the memory of a body, and once the key
	// is there, its secret must reach the client.
	s, err := c.h.svc.Surroundings(ctx, c.actor, policy.Create)
	if err != nil {
		return err
	}
	once, done, err := c.h.names.Once(c.r, c.actor.ID)
	if err != nil {
		return err
	}
	defer done()
	c.actor.Once = once
	var body keyBody
	if err := api.Decode(c.w, c.r, &body, typeJSON); err != nil {
		return err
	}
	in, err := body.newKey(c.actor.Reach, &s)
	if err != nil {
		return err
	}
	made, commit, err := c.h.svc.CreateKey(ctx, c.actor, in)
	if err != nil {
		return err
	}
	out := shown(&made.Key, &s)
	out.ClientSecret = made.ClientSecret
	c.written(commit)
	c.w.Header().Set("ETag", api.ETag(made.Revision))
	c.w.Header().Set("Location", (&url.URL{Path: base + c.customerID + "/" + collection + "/" + made.ID}).EscapedPath())
	c.answer(http.StatusCreated, out)
	return nil
}

// show answers GET of a key.
func (c *call) show() error {
	ctx := c.r.Context()
	s, err := c.h.svc.Surroundings(ctx, c.actor, policy.Read)
	if err != nil {
		return err
	}
	k, err := c.h.svc.GetKey(ctx, c.actor, c.keyID)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", api.ETag(k.Revision))
	c.answer(http.StatusOK, shown(&k, &s))
	return nil
}

// replace answers PUT of a key. The patch is made in the transaction that writes,
// from the key as it is there: what the client sends back is held against that.
func (c *call) replace() error {
	ctx := c.r.Context()
	s, err := c.h.svc.Surroundings(ctx, c.actor, policy.Update) // before the body, as in create
	if err != nil {
		return err
	}
	var body keyBody
	if err := api.Decode(c.w, c.r, &body, typeJSON); err != nil {
		return err
	}
	edit := func(k lifecycle.Key) (lifecycle.KeyPatch, error) { return body.patch(&k, &s) }
	k, commit, err := c.h.svc.EditKey(ctx, c.actor, c.keyID, edit, api.IfMatch(c.r))
	if err != nil {
		return err
	}
	c.written(commit)
	c.w.Header().Set("ETag", api.ETag(k.Revision))
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// remove answers DELETE of a key, which ends its sessions too.
func (c *call) remove() error {
	commit, err := c.h.svc.DeleteKey(c.r.Context(), c.actor, c.keyID, api.IfMatch(c.r))
	if err != nil {
		return err
	}
	c.written(commit)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// written says how far a write has got, and whether it was done before. Clients
// know no 202, so the header alone tells of nodes that may not have it yet.
func (c *call) written(commit lifecycle.Commit) {
	w := api.WrittenAs(commit)
	c.w.Header().Set("Keyreeve-Revision", w.Revision)
	c.w.Header().Set("Keyreeve-Propagation", w.Propagation)
	if w.Replayed != "" {
		c.w.Header().Set("Idempotency-Replayed", w.Replayed)
	}
}
