package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// maxRequestID bounds the id of a request, in bytes.
const maxRequestID = 128

// RecordedCheck is a recent refusal as it was recorded.
type RecordedCheck struct {
	RequestID     string         `json:"request_id"`
	Time          time.Time      `json:"time"`
	Gate          string         `json:"gate" doc:"Name of the gate at that time."`
	Shadow        bool           `json:"shadow" doc:"The gate only watched: the request was let through."`
	Preflight     bool           `json:"preflight" doc:"A browser asked whether it may send a request of this method."`
	Method        string         `json:"method"`
	Path          string         `json:"path" doc:"As it was decided on, escaped; at most 1 KiB of it."`
	PathCut       bool           `json:"path_cut" doc:"It was longer, so there is no present decision."`
	MicrotenantID *string        `json:"microtenant_id" nullable:"true" doc:"Named in the query, of which nothing else is kept."`
	Ambiguous     bool           `json:"microtenant_ambiguous" doc:"The query named a microtenant twice or in an odd spelling."`
	Credential    string         `json:"credential" enum:"token,other" doc:"Whether an access token was shown."`
	KeyID         *string        `json:"key_id" nullable:"true" doc:"null where the caller was not known."`
	SourceAddress *string        `json:"source_address" nullable:"true"`
	Decision      PolicyDecision `json:"decision"`
	Route         *string        `json:"route" nullable:"true" doc:"The rule that the request fell under."`
	Needed        *PolicyNeed    `json:"needed,omitempty"`
}

// ExplainRequest shows a recent refusal by the id of its request, and what the
// gate would decide on the same facts now. A refusal belongs to the tenant of the
// key that was used; one of a caller that is not known, to actors for all customers.
func (s *Service) ExplainRequest(ctx context.Context, a Actor, requestID string) (PolicyAnswer, error) {
	var (
		d   Denial
		who caller
	)
	err := s.view(ctx, a, func(o *op) (err error) {
		if err := o.need(ResourceKeys, policy.Read); err != nil {
			return err
		}
		a = o.actor
		if d, err = o.denial(requestID); err != nil || d.KeyID == "" {
			return err
		}
		who.key, err = o.r.Key(ctx, d.KeyID)
		if errors.Is(err, keystore.ErrNotFound) {
			err = nil // deleted since
		}
		return err
	})
	if err != nil {
		return PolicyAnswer{}, err
	}
	return s.explain(ctx, a, d, who), nil
}

// denial is a recent one that the actor may see.
func (o *op) denial(requestID string) (Denial, error) {
	none := &Error{Kind: NotFound, Code: CodeNotFound, Detail: "there is no recent denial with this request id; each node keeps its own latest ones"}
	if o.cfg.Gatekeeper == nil || requestID == "" || len(requestID) > maxRequestID {
		return Denial{}, none
	}
	d, ok := o.cfg.Gatekeeper.Denial(requestID)
	if !ok || !o.actor.sees(d.KeyCustomerID, d.KeyMicrotenantID) {
		return Denial{}, none
	}
	return d, nil
}

// explain decides anew on what was recorded.
func (s *Service) explain(ctx context.Context, a Actor, d Denial, who caller) PolicyAnswer {
	if ofCredential(d.Reason) {
		who.refused = policy.Decision{Reason: d.Reason}
	}
	switch {
	case who.key != nil:
		who.stand(s.cfg.Gatekeeper.Standing(ctx, who.key.ClientID, d.Token, d.Address))
	case d.KeyID != "":
		gone := policy.Deny(policy.InvalidClient)
		if d.Token {
			gone = policy.Deny(policy.ClientInactive)
		}
		gone.Detail = "the key was deleted"
		who.stand(Standing{Decision: gone})
	}
	out := who.answer()
	out.Recorded = s.recorded(a, d)
	var bad FieldErrors
	gates := s.pickGates(&bad, d.Gate)
	if d.PathCut || len(gates) != 1 { // the gate may be gone with a reload
		return out
	}
	q := asked{method: d.Method, target: d.Path, microtenant: d.MicrotenantID, ambiguous: d.MicrotenantAmbiguous,
		address: d.Address, preflight: d.Preflight}
	if d.QueryUndecidable {
		q.target += "?#" // as undecidable as it was; of the query nothing is kept
	}
	now := s.examine(a, gates[0], who, q)
	out.Results = append(out.Results, now)
	out.Changed = changed(d, now)
	return out
}

// ofCredential reports reasons that lie in what was shown, of which nothing is
// kept, or in how far the node was: whether they would be given again cannot be known.
func ofCredential(r policy.Reason) bool {
	switch r {
	case policy.TooEarly, policy.CredentialsRequired, policy.InvalidRequest, policy.InvalidClient, policy.InvalidToken,
		policy.ClientInactive, policy.StoreUnavailable, policy.InvalidRevision:
		return true
	}
	return false
}

// changed compares a refusal with the present decision; nil where that tells nothing.
func changed(d Denial, now GateCheck) *bool {
	route := ""
	if now.Route != nil {
		route = (&policy.Route{Methods: now.Route.Methods, Pattern: now.Route.Pattern}).String()
	}
	differs := now.Decision.Code != d.Reason.Code() || d.RoutePattern != "" && d.route() != route
	if differs && ofCredential(d.Reason) {
		return nil
	}
	return &differs
}

func (s *Service) recorded(a Actor, d Denial) *RecordedCheck {
	v := &RecordedCheck{RequestID: d.RequestID, Time: d.At.UTC().Truncate(timePrecision), Gate: d.Gate, Shadow: d.Shadow, Preflight: d.Preflight,
		Method: d.Method, Path: d.Path, PathCut: d.PathCut, MicrotenantID: optional(d.MicrotenantID), Ambiguous: d.MicrotenantAmbiguous,
		Credential: "other", KeyID: optional(d.KeyID), Decision: s.decided(policy.Decision{Reason: d.Reason, Detail: d.Detail}), Route: optional(d.route())}
	if d.Token {
		v.Credential = "token"
	}
	if d.Reason == policy.StoreUnavailable && !a.AllCustomers {
		v.Decision.Detail = "" // tells of the machine
	}
	if d.Address.IsValid() {
		v.SourceAddress = optional(d.Address.String())
	}
	if d.Resource != "" {
		v.Needed = &PolicyNeed{Resource: d.Resource, Action: d.Action.String()}
	}
	return v
}
