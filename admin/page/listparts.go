package page

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// tidied reports a list that was asked for with more than its state, as forms
// without script send it: it is to be asked for at q instead. With script the
// address alone is put right.
func (v *visit) tidied(q query) bool {
	given := v.r.URL.Query()
	if len(given) == 0 || q.String() == v.r.URL.Path+"?"+given.Encode() {
		return false
	}
	if v.partial() {
		v.w.Header().Set("HX-Push-Url", q.String())
		return false
	}
	return true
}

// blockOf is the block that htmx is given: inner where the element with the id
// target is swapped, and outer otherwise.
func (v *visit) blockOf(target, inner, outer string) string {
	switch {
	case !v.partial():
		return ""
	case v.r.Header.Get("HX-Target") == target:
		return inner
	}
	return outer
}

// markOf is the same as long as what a page shows is.
func markOf(shown ...any) string {
	text, err := json.Marshal(shown)
	if err != nil {
		panic("page: what is shown was not written as JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// pageAs is a page of lifecycle's with each item made into what a room shows.
func pageAs[A, B any](p lifecycle.Page[A], err error, as func(A) (B, error)) (lifecycle.Page[B], error) {
	out := lifecycle.Page[B]{NextCursor: p.NextCursor, Total: p.Total, Items: make([]B, 0, len(p.Items))}
	for _, item := range p.Items {
		if err != nil {
			break
		}
		var shown B
		shown, err = as(item)
		out.Items = append(out.Items, shown)
	}
	return out, err
}

// one is the paging of a list of which only the total matters.
func one() lifecycle.Paging { return lifecycle.Paging{Size: lifecycle.Some(1)} }

// customerName is that of the customer with this id, or the id where the actor may
// not know. known keeps what was found.
func (v *visit) customerName(known map[string]string, id string) (string, error) {
	if name, there := known[id]; there {
		return name, nil
	}
	c, err := v.svc().GetCustomer(v.ctx(), v.actor, id)
	if err := unlessHidden(err); err != nil {
		return "", err
	}
	if known[id] = c.Name; err != nil {
		known[id] = id
	}
	return known[id], nil
}

// customerPick is what the part `customer-field` offers.
type customerPick struct {
	// Choices are all customers; none for an actor who has but its own.
	Choices []Choice
	// Free asks for an id: there are too many to choose from.
	Free bool
}

// Name is that of a customer that can be chosen, or its id.
func (p customerPick) Name(id string) string {
	for _, c := range p.Choices {
		if c.Value == id {
			return c.Label
		}
	}
	return id
}

// customerPick lists the customers for an actor who can choose.
func (v *visit) customerPick() (customerPick, error) {
	if !v.actor.AllCustomers {
		return customerPick{}, nil
	}
	f := lifecycle.CustomerFilter{Paging: lifecycle.Paging{Size: lifecycle.Some(lifecycle.MaxPageSize)}}
	all, err := v.svc().ListCustomers(v.ctx(), v.actor, f)
	if err != nil {
		return customerPick{}, unlessHidden(err)
	}
	pick := customerPick{Free: all.Total > len(all.Items)}
	for _, c := range all.Items {
		pick.Choices = append(pick.Choices, Choice{Value: c.ID, Label: c.Name})
	}
	return pick, nil
}
