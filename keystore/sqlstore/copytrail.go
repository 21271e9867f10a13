package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/keystore"
)

// How far an audit trail was proved.
const (
	// TrailSeals: every event is what was written, by the master keys.
	TrailSeals = "seals"
	// TrailLinks: the events follow on one another, as they do in a trail that somebody
	// rewrote with care: no master key was at hand.
	TrailLinks = "links"
	// TrailUnproved: something is wrong with it.
	TrailUnproved = "unproved"
)

// TrailProof is what was found of an audit trail.
type TrailProof struct {
	Proved  string `json:"proved"`
	Chains  int    `json:"chains"`
	Events  int64  `json:"events"`
	Problem string `json:"problem,omitempty"`
}

// trailPage is how many events are read at once.
const trailPage = 1000

// blind holds no master key: it can check nothing.
type blind struct{}

func (blind) Seal(string, [32]byte) (mac [32]byte, masterKeyID string) { return mac, "" }
func (blind) Check(string, [32]byte, [32]byte, string) (genuine bool, known bool) {
	return false, false
}

// proveTrail follows every chain of a snapshot to its head, and counts. sealer may be
// nil.
func proveTrail(ctx context.Context, r keystore.Reader, sealer keystore.AuditSealer, progress func(events int64)) (TrailProof, error) {
	p := TrailProof{Proved: TrailSeals}
	totals, err := r.AuditTotals(ctx)
	if err != nil {
		return p, err
	}
	var root *keystore.AuditProblem
	if sealer == nil {
		p.Proved = TrailLinks
		if root = totals.Problem(blind{}); root != nil && root.Code == keystore.AuditUnknownKey {
			root = nil
		}
	} else {
		root = totals.Problem(sealer)
	}
	p.note("all customers", root)
	ids, err := trailCustomers(ctx, r)
	if err != nil {
		return p, err
	}
	for _, id := range ids {
		if err := p.chain(ctx, r, id, totals, sealer, progress); err != nil {
			return p, err
		}
	}
	if p.Problem != "" {
		p.Proved = TrailUnproved
	}
	return p, nil
}

// note keeps the first problem.
func (p *TrailProof) note(whose string, found *keystore.AuditProblem) {
	if found != nil && p.Problem == "" {
		p.Problem = fmt.Sprintf("%s: %s (%s)", whose, found.Detail, found.Code)
	}
}

// trailCustomers are all that have events, a head, or must have an event: "" is none.
func trailCustomers(ctx context.Context, r keystore.Reader) ([]string, error) {
	heads, err := r.AuditHeads(ctx, "", true)
	if err != nil {
		return nil, err
	}
	ids, err := r.AuditCustomers(ctx)
	if err != nil {
		return nil, err
	}
	customers, err := r.Customers(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range heads {
		ids = append(ids, h.CustomerID)
	}
	for _, c := range customers {
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// chain follows one customer's chain.
func (p *TrailProof) chain(ctx context.Context, r keystore.Reader, customerID string, totals keystore.AuditTotals, sealer keystore.AuditSealer, progress func(int64)) error {
	heads, err := r.AuditHeads(ctx, customerID, false)
	if err != nil {
		return err
	}
	head := keystore.AuditHead{CustomerID: customerID}
	if len(heads) > 0 {
		head = heads[0]
	}
	check := keystore.NewAuditCheck(customerID, sealer)
	check.From(head)
	q := keystore.AuditQuery{CustomerID: customerID, NoCustomer: customerID == "", Oldest: true, Limit: trailPage, Uncounted: true}
	for !check.Broken() {
		found, _, err := r.AuditEvents(ctx, q)
		if err != nil {
			return err
		}
		for _, e := range found {
			if e.Seq > 0 { // else from before there was a chain
				check.Add(e)
			}
		}
		p.Events += int64(len(found))
		progress(p.Events)
		if len(found) < trailPage {
			break
		}
		after := found[len(found)-1].Cursor()
		q.After = &after
	}
	switch {
	case len(heads) > 0 || check.Events > 0:
		p.Chains++
		check.End(head)
	case customerID != "":
		if err := mustHaveEvents(ctx, r, customerID, totals, check); err != nil {
			return err
		}
	}
	whose := "customer " + customerID
	if customerID == "" {
		whose = "events of no customer"
	}
	p.note(whose, check.Problem())
	return nil
}

// mustHaveEvents is for a customer without any: one that was made since events are
// counted has that one at least.
func mustHaveEvents(ctx context.Context, r keystore.Reader, customerID string, totals keystore.AuditTotals, check *keystore.AuditCheck) error {
	customer, err := r.Customer(ctx, customerID)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil
	}
	if err == nil && (totals.Root == nil || !customer.Created.Before(totals.Root.Since)) {
		check.Absent()
	}
	return err
}
