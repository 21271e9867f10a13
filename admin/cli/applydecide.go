package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// neededToMake are the members without which a record cannot be made.
var neededToMake = map[string][]string{
	customersSection:    {"name"},
	microtenantsSection: {"name"},
	sourcesSection:      {"rule", "max_role"},
	keysSection:         {"role"},
}

// decide says what is to become of one record of the file; faults are why
// nothing can.
func (a *applier) decide(ctx context.Context, item stateItem) (*step, []error, error) {
	fault := func(format string, args ...any) (*step, []error, error) {
		return nil, []error{fmt.Errorf(item.at+format, args...)}, nil
	}
	kind, want := item.kind, item.want
	if err := a.complete(&item); err != nil {
		return nil, []error{err}, nil
	}
	if err := a.know(ctx, kind, want.text("customer_id")); err != nil {
		return nil, nil, err
	}
	for _, member := range []string{"role", "max_role"} {
		if ref, given := want[member]; given {
			id, err := a.there.roleFor(ref.(string), want.text("customer_id"))
			if err != nil {
				return fault(".%s: %w", member, err)
			}
			want[member] = id
		}
	}
	if first := a.twice(&item); first != "" {
		return fault(" is the same %s as %s", kind.one, first)
	}
	there, err := a.find(item)
	if err != nil {
		return nil, []error{err}, nil
	}
	if there == nil {
		return a.decideNew(item)
	}
	there.named = true
	if there.owner != "" {
		return fault(" is owned by the external source %s; change it there", there.owner)
	}
	have, err := there.record()
	if err != nil {
		return nil, nil, err
	}
	changes := want.differs(kind, have)
	for _, name := range changes {
		if kind.member(name).fixed {
			return fault(".%s cannot change once the %s is made", name, kind.one)
		}
	}
	s := &step{stateItem: item, there: there,
		planItem: planItem{Action: planUnchanged, Kind: kind.one, Name: kind.title(want), ClientID: have.text("client_id"), Changes: changes}}
	if len(changes) > 0 {
		s.Action = planUpdate
	}
	return s, nil, nil
}

func (a *applier) decideNew(item stateItem) (*step, []error, error) {
	for _, name := range neededToMake[item.kind.name] {
		if item.want[name] == nil {
			return nil, []error{fmt.Errorf("%s.%s is missing, and there is no such %s yet", item.at, name, item.kind.one)}, nil
		}
	}
	if item.want.text("secret_sha256") != "" && item.want.text("client_id") == "" {
		return nil, []error{fmt.Errorf("%s.client_id is missing: a secret that exists belongs to one", item.at)}, nil
	}
	if item.kind.name == rolesSection {
		a.there.roleComes(role{Name: item.want.text("name"), CustomerID: item.want.text("customer_id")})
	}
	return &step{stateItem: item, planItem: planItem{Action: planCreate, Kind: item.kind.one, Name: item.kind.title(item.want),
		ClientID: item.want.text("client_id")}}, nil, nil
}

// complete says which customer a record belongs to, where the file does not.
func (a *applier) complete(item *stateItem) error {
	want := item.want
	if item.kind.name == customersSection {
		id := want.text("id")
		if a.customers[id] = true; len(a.customers) == 1 {
			a.only = id
		} else {
			a.only = ""
		}
		return nil
	}
	if _, given := want["customer_id"]; !given {
		customer := firstOf(a.flags.customer, a.only)
		if customer == "" && !a.me.AllCustomers {
			customer = a.me.CustomerID
		}
		if customer == "" {
			return fmt.Errorf("%s.customer_id is missing; --customer says it for all", item.at)
		}
		want["customer_id"] = customer
	}
	a.customers[want.text("customer_id")] = true // "": roles for every customer
	if _, given := want["microtenant_id"]; !given && item.kind.name == keysSection && want.text("client_id") == "" {
		want["microtenant_id"] = nil
		if a.me.MicrotenantID != "" && !a.me.AllCustomers {
			want["microtenant_id"] = a.me.MicrotenantID
		}
	}
	return nil
}

// know reads what is there of a kind, and the roles that it may name.
func (a *applier) know(ctx context.Context, kind *stateKind, customer string) error {
	if kind.name == keysSection || kind.name == sourcesSection {
		err := a.there.load(ctx, kindOf(rolesSection), "")
		var refused *problem
		if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
			return fmt.Errorf("the roles must be read to know what the %s name: %w", kind.name, err)
		}
		if err != nil {
			return err
		}
	}
	return a.there.load(ctx, kind, customer)
}

// twice is the place of an earlier record of the file that is the same, "" if
// there is none.
func (a *applier) twice(item *stateItem) string {
	marks := []string{item.kind.name + "\x00" + item.kind.ident(item.want)}
	if id := item.want.text("client_id"); id != "" {
		marks = append(marks, "client\x00"+id)
	}
	first := ""
	for _, m := range marks {
		first = firstOf(first, a.seen[m])
		a.seen[m] = item.at
	}
	return first
}

// find is the record that an item of the file is about, nil if it is not there.
func (a *applier) find(item stateItem) (*standing, error) {
	named := a.there.records[item.kind.name][item.kind.ident(item.want)]
	clientID := item.want.text("client_id")
	if item.kind.name != keysSection || clientID == "" {
		return named, nil
	}
	if there := a.there.clients[clientID]; there != nil {
		return there, nil
	}
	if named != nil {
		return nil, fmt.Errorf("%s.name: another key has this name; give that key's client_id, or another name", item.at)
	}
	return nil, nil
}
