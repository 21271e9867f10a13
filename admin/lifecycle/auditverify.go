package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// verifyPage is how many events are verified in one transaction.
	verifyPage = 500
	// verifyTries is how often a chain is begun anew because what was being read was
	// forgotten meanwhile.
	verifyTries = 3
)

// AuditVerification is what became of verifying the audit trail.
type AuditVerification struct {
	// OK: every chain is proved, and so is that there are no others.
	OK bool `json:"ok"`
	// Events is how many were looked at.
	Events int64        `json:"events"`
	Chains []AuditChain `json:"chains" nullable:"false"`
	// Problem is one of the trail, or of an export, as a whole.
	Problem *AuditProblem `json:"problem" doc:"What is wrong with the trail as a whole, whichever chain it is in; null if nothing."`
}

// AuditChain is what became of verifying the events of one customer.
type AuditChain struct {
	CustomerID *string       `json:"customer_id" nullable:"true" doc:"null is the chain of events of no customer."`
	OK         bool          `json:"ok"`
	Events     int64         `json:"events" doc:"How many were looked at."`
	ByHead     int64         `json:"proved_by_head" doc:"How many of them are sealed under a master key that is not held any more, so that it is their links to the head, and its seal, that prove them."`
	FirstSeq   *int64        `json:"first_seq" nullable:"true" doc:"Of the oldest event that is kept; null if there is none."`
	Head       *AuditMark    `json:"head" doc:"The newest event: note its seq and hash elsewhere to hold the trail against them later."`
	Problem    *AuditProblem `json:"problem"`
}

// AuditProblem is why a chain is not proved.
type AuditProblem struct {
	Seq    *int64 `json:"seq" nullable:"true" doc:"The event at fault."`
	Code   string `json:"code" doc:"unknown_master_key and published_head_forgotten: neither proved nor disproved. All others: not what was written."`
	Detail string `json:"detail"`
}

// AuditPin is a head that was noted elsewhere: the chain must have that event.
type AuditPin struct {
	// CustomerID is nil for the only chain that is verified.
	CustomerID *string
	Seq        int64
	Hash       [32]byte
}

// AuditScope says which chains to verify; the zero value is all that the actor sees.
type AuditScope struct {
	CustomerID string
	NoCustomer bool
	Pins       []AuditPin
}

// VerifyAudit follows chains from where they begin to their heads, while others
// go on writing. Only whole chains prove anything, so the actor must see them whole.
func (s *Service) VerifyAudit(ctx context.Context, a Actor, scope AuditScope) (AuditVerification, error) {
	out := AuditVerification{OK: true, Chains: []AuditChain{}}
	var ids []string
	err := s.view(ctx, a, func(o *op) (err error) {
		if ids, err = o.chains(scope); err == nil {
			out.Problem, err = o.wholeTrail()
		}
		return err
	})
	if err != nil {
		return out, err
	}
	if stray := strayPin(scope.Pins, ids); stray != nil {
		return out, FieldErrors{*stray}.Err()
	}
	out.OK = out.Problem == nil
	for _, id := range ids {
		chain, err := s.verifyChain(ctx, a, id, scope.Pins)
		if err != nil {
			return AuditVerification{}, err
		}
		if id == "" && chain.Head == nil && chain.OK && !scope.NoCustomer {
			continue // nothing was ever done that belongs to no customer
		}
		out.add(chain)
	}
	return out, nil
}

func (v *AuditVerification) add(c AuditChain) {
	v.Chains = append(v.Chains, c)
	v.OK, v.Events = v.OK && c.OK, v.Events+c.Events
}

// chains are the customers whose events are to be verified, "" among them.
func (o *op) chains(scope AuditScope) ([]string, error) {
	if err := o.need(ResourceAudit, policy.Read); err != nil {
		return nil, err
	}
	if o.actor.MicrotenantID != "" {
		return nil, &Error{Kind: Forbidden, Code: CodePermissionDenied,
			Detail: "a trail is verified as a whole, which an actor in a microtenant does not see"}
	}
	if scope.NoCustomer {
		if scope.CustomerID != "" {
			return nil, FieldErrors{{Field: "no_customer", Code: FieldConflict, Detail: "cannot be combined with customer_id"}}.Err()
		}
		return []string{""}, o.seesNoCustomer()
	}
	t, some := o.bound(tenant{customerID: scope.CustomerID})
	if !some {
		return nil, notFound("customer")
	}
	heads, err := o.r.AuditHeads(o.ctx, t.customerID, t.all)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, h := range heads {
		ids = append(ids, h.CustomerID)
	}
	if !t.all {
		if _, err := o.r.Customer(o.ctx, t.customerID); err != nil && len(ids) == 0 {
			return nil, refusal(err, "customer")
		}
		return []string{t.customerID}, nil
	}
	return ids, o.addUnheaded(&ids)
}

// wholeTrail is what is wrong with the trail as a whole, nil for nothing. It is
// asked for one customer too: whether that one's chain was put back shows here alone.
func (o *op) wholeTrail() (*AuditProblem, error) {
	totals, err := o.r.AuditTotals(o.ctx)
	if err != nil {
		return nil, err
	}
	p := totals.Problem(o.cfg.Keyring)
	if p == nil {
		return nil, nil
	}
	if !o.actor.AllCustomers && p.Code != keystore.AuditUnknownKey {
		p.Detail = "the events of all customers together are not what was written" // how many others have is not this one's to know
	}
	return &AuditProblem{Code: p.Code, Detail: p.Detail}, nil
}

// addUnheaded adds those whose chain has no head: there may be events, of
// customers that there never were too.
func (o *op) addUnheaded(ids *[]string) error {
	all, err := o.r.Customers(o.ctx)
	if err != nil {
		return err
	}
	found, err := o.r.AuditCustomers(o.ctx)
	if err != nil {
		return err
	}
	*ids = append(append(*ids, ""), found...)
	for _, c := range all {
		*ids = append(*ids, c.ID)
	}
	slices.Sort(*ids)
	*ids = slices.Compact(*ids)
	return nil
}

// strayPin is what is wrong with the first pin that belongs to none of the chains
// of these customers; nil if each belongs to one.
func strayPin(pins []AuditPin, ids []string) *FieldError {
	for _, p := range pins {
		switch {
		case p.CustomerID == nil && len(ids) != 1:
			return &FieldError{Field: "head", Code: FieldFormat, Detail: fmt.Sprintf("must name its customer, there are %d chains", len(ids))}
		case p.CustomerID != nil && !slices.Contains(ids, *p.CustomerID):
			return &FieldError{Field: "head", Code: FieldNotFound, Detail: fmt.Sprintf("names customer %q, who has no chain here", *p.CustomerID)}
		}
	}
	return nil
}

// pinsOf adds the pins of one chain.
func pinsOf(c *keystore.AuditCheck, customerID string, pins []AuditPin) {
	for _, p := range pins {
		if p.CustomerID == nil || *p.CustomerID == customerID {
			c.Pin(p.Seq, p.Hash)
		}
	}
}

func (s *Service) verifyChain(ctx context.Context, a Actor, customerID string, pins []AuditPin) (AuditChain, error) {
	for range verifyTries {
		w := &chainWalk{customerID: customerID, check: keystore.NewAuditCheck(customerID, s.cfg.Keyring)}
		pinsOf(w.check, customerID, pins)
		for !w.done && !w.overtaken {
			if err := s.view(ctx, a, w.step); err != nil {
				return AuditChain{}, err
			}
		}
		if !w.overtaken {
			return showChain(w.check, &w.head), nil
		}
	}
	return AuditChain{}, overtaken(fmt.Sprintf("the chain of customer %q was shortened %d times while it was verified; verify again", customerID, verifyTries))
}

// overtaken is that retention forgot what was still to be read.
func overtaken(detail string) error {
	return &Error{Kind: Conflict, Code: CodeAuditOvertaken, Detail: detail}
}

// chainWalk verifies a chain, page after page. The last page and the head are
// read in one transaction, so that what is written meanwhile is no problem.
type chainWalk struct {
	customerID string
	check      *keystore.AuditCheck
	head       keystore.AuditHead
	after      *keystore.Cursor
	begun      bool
	done       bool
	// overtaken: events that were still to be read were forgotten.
	overtaken bool
}

func (w *chainWalk) step(o *op) error {
	if err := o.need(ResourceAudit, policy.Read); err != nil {
		return err
	}
	heads, err := o.r.AuditHeads(o.ctx, w.customerID, false)
	if err != nil {
		return err
	}
	w.head = keystore.AuditHead{CustomerID: w.customerID}
	if len(heads) > 0 {
		w.head = heads[0]
	}
	if !w.begun {
		w.begun = true
		w.check.From(w.head)
	}
	if w.overtaken = w.head.TrimmedSeq > w.check.Seq(); w.overtaken {
		return nil
	}
	found, _, err := o.r.AuditEvents(o.ctx, keystore.AuditQuery{CustomerID: w.customerID, NoCustomer: w.customerID == "",
		Oldest: true, After: w.after, Limit: verifyPage, Uncounted: true})
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Seq > 0 { // else from before there was a chain
			w.check.Add(e)
		}
	}
	if w.done = len(found) < verifyPage || w.check.Broken(); !w.done {
		c := found[len(found)-1].Cursor()
		w.after = &c
		return nil
	}
	if len(heads) == 0 && w.check.Events == 0 {
		return w.absent(o)
	}
	w.check.End(w.head)
	return nil
}

// absent is a chain that has neither head nor event: nothing was ever done for
// this customer, unless it was made since events are counted.
func (w *chainWalk) absent(o *op) error {
	customer, err := o.r.Customer(o.ctx, w.customerID)
	if err != nil {
		if errors.Is(err, keystore.ErrNotFound) {
			return nil
		}
		return err
	}
	totals, err := o.r.AuditTotals(o.ctx)
	if err == nil && (totals.Root == nil || !customer.Created.Before(totals.Root.Since)) {
		w.check.Absent()
	}
	return err
}

// showChain is what a check found; head is nil where none is known.
func showChain(c *keystore.AuditCheck, head *keystore.AuditHead) AuditChain {
	v := AuditChain{CustomerID: optional(c.CustomerID()), OK: c.Problem() == nil, Events: c.Events, ByHead: c.ByHead, FirstSeq: optional(c.FirstSeq)}
	if head != nil && head.Seq > 0 {
		mark := showEnds(*head).Head
		v.Head = &mark
	}
	if p := c.Problem(); p != nil {
		v.Problem = &AuditProblem{Seq: &p.Seq, Code: p.Code, Detail: p.Detail}
	}
	return v
}

// ParseAuditPin reads seq:hash or customer:seq:hash; customer is empty for the
// chain of events of no customer.
func ParseAuditPin(text string) (AuditPin, bool) {
	parts := strings.Split(text, ":")
	var p AuditPin
	switch len(parts) {
	case 2:
	case 3:
		p.CustomerID, parts = &parts[0], parts[1:]
	default:
		return p, false
	}
	var err error
	if p.Seq, err = strconv.ParseInt(parts[0], 10, 64); err != nil || p.Seq < 1 {
		return p, false
	}
	p.Hash, err = fromHex("hash", parts[1])
	return p, err == nil
}
