package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What is to become of a record.
const (
	planCreate    = "create"
	planUpdate    = "update"
	planDelete    = "delete"
	planUnchanged = "unchanged"
)

// maxFaults bounds how many faults of a file are told at once.
const maxFaults = 20

// planItem is what is to become of one record.
type planItem struct {
	Action   string   `json:"action"`
	Kind     string   `json:"kind"`
	Name     string   `json:"name"`
	ClientID string   `json:"client_id,omitempty"`
	Changes  []string `json:"changes,omitempty"`
}

func (i *planItem) line() string {
	sign := map[string]string{planCreate: "+", planUpdate: "~", planDelete: "-"}[i.Action]
	text := sign + " " + i.Kind + " " + printable(i.Name)
	if i.ClientID != "" {
		text += " (" + printable(i.ClientID) + ")"
	}
	if len(i.Changes) > 0 {
		text += ": " + strings.Join(i.Changes, ", ")
	}
	return text
}

var planList = listingOf("", "records",
	[]string{"ACTION", "KIND", "NAME", "CLIENT ID", "CHANGES"}, []string{"action", "kind", "name", "client_id", "changes"},
	func(i *planItem, _ bool) []string {
		return []string{i.Action, i.Kind, printable(i.Name), orDash(i.ClientID), strings.Join(i.Changes, ", ")}
	},
	func(i *planItem) []string {
		return []string{i.Action, i.Kind, i.Name, i.ClientID, strings.Join(i.Changes, " ")}
	})

// counts says how many records became what.
type counts struct{ create, update, delete, unchanged int }

func (c *counts) add(action string) {
	switch action {
	case planCreate:
		c.create++
	case planUpdate:
		c.update++
	case planDelete:
		c.delete++
	default:
		c.unchanged++
	}
}

func (c *counts) changes() int { return c.create + c.update + c.delete }

// plan is what a run is to do.
type plan struct {
	counts
	// lines are the first of it.
	lines []string
	// secrets: keys are made whose secrets will be shown.
	secrets bool
	// gone are the records to delete, in order.
	gone []*standing
}

func (p *plan) idle() bool { return p.changes() == 0 }

// step is a record of the file and what is to become of it.
type step struct {
	stateItem
	planItem
	// there is the record, nil for one to make.
	there *standing
}

// walk goes through the file and decides on each record; it may be done again
// and finds the same.
func (a *applier) walk(ctx context.Context, visit func(*step) error) error {
	a.seen = map[string]string{}
	a.sections, a.customers = map[string]bool{}, map[string]bool{}
	var faults []error
	err := a.file.walk(stateVisitor{
		section: func(k *stateKind) { a.sections[k.name] = true },
		item: func(item stateItem, found []error) error {
			if err := ctx.Err(); err != nil {
				return errors.New("interrupted")
			}
			var s *step
			if len(found) == 0 {
				var err error
				if s, found, err = a.decide(ctx, item); err != nil {
					return err
				}
			}
			if faults = append(faults, found...); len(faults) >= maxFaults {
				return errTooMany
			}
			if len(faults) > 0 {
				return nil
			}
			return visit(s)
		},
	})
	if err != nil && !errors.Is(err, errTooMany) {
		return err
	}
	if len(faults) == 0 {
		return nil
	}
	if len(faults) >= maxFaults {
		faults = append(faults[:maxFaults], errors.New("and perhaps more"))
	}
	return fmt.Errorf("%s cannot be applied; nothing was changed:\n%w", a.file.name, errors.Join(faults...))
}

var errTooMany = errors.New("too many faults")

// makePlan decides on everything before anything is done.
func (a *applier) makePlan(ctx context.Context) error {
	err := a.walk(ctx, func(s *step) error {
		a.plan.add(s.Action)
		if s.Action != planUnchanged && len(a.plan.lines) < maxPlanLines {
			a.plan.lines = append(a.plan.lines, s.line())
		}
		if s.Action == planCreate && s.kind.name == keysSection && s.want.text("secret_sha256") == "" {
			a.plan.secrets = true
		}
		return nil
	})
	a.console.progress(0, "", "")
	if err != nil || !a.flags.prune {
		return err
	}
	if !a.file.complete {
		return fmt.Errorf("%s does not end with \"%s: true\" as export writes it: it may have been cut off, and --prune would delete what it lacks; nothing was changed. "+
			"Export it again, or where it is your own and whole, make that its last member", a.file.name, completeMember)
	}
	if err := a.planPrune(ctx); err != nil {
		return err
	}
	for _, s := range a.plan.gone {
		a.plan.add(planDelete)
		if len(a.plan.lines) < maxPlanLines {
			item, err := s.deletion()
			if err != nil {
				return err
			}
			a.plan.lines = append(a.plan.lines, item.line())
		}
	}
	return nil
}

// planPrune finds what the file does not name, the dependent records first.
func (a *applier) planPrune(ctx context.Context) error {
	for _, kind := range slices.Backward(stateKinds) {
		if !a.sections[kind.name] || kind.name == customersSection {
			continue
		}
		k := kindOf(kind.name)
		for _, customer := range sortedNames(a.customers) {
			if customer == "" && kind.name == keysSection {
				continue // which stands for roles of every customer
			}
			if err := a.there.load(ctx, k, customer); err != nil {
				return err
			}
		}
		records := a.there.records[kind.name]
		for _, ident := range sortedNames(records) {
			s := records[ident]
			if s.named || s.owner != "" || !a.customers[s.customer] {
				continue
			}
			if s.id == a.me.KeyID {
				return errors.New("--prune would delete the key that you are signed in with, which the file does not name; nothing was changed")
			}
			a.plan.gone = append(a.plan.gone, s)
		}
	}
	return nil
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s *standing) deletion() (*planItem, error) {
	have, err := s.record()
	return &planItem{Action: planDelete, Kind: s.kind.one, Name: s.kind.title(have), ClientID: have.text("client_id")}, err
}

// notePlan says what will be done.
func (a *applier) notePlan() {
	s := a.console
	for _, line := range a.plan.lines {
		s.note("%s", line)
	}
	if more := a.plan.changes() - len(a.plan.lines); more > 0 {
		s.note("and %d more; --dry-run shows all", more)
	}
	s.note("plan: %s", a.plan.String())
}

func (c *counts) String() string {
	return fmt.Sprintf("%d to create, %d to update, %d to delete, %d unchanged", c.create, c.update, c.delete, c.unchanged)
}

// showPlan writes the plan as data.
func (a *applier) showPlan(ctx context.Context) error {
	out := bufio.NewWriter(a.console.env.Stdout)
	sink := a.console.sink(planList, out)
	add := func(item *planItem) error {
		raw, err := json.Marshal(item)
		if err != nil {
			return err
		}
		return sink.add(&page{Items: []json.RawMessage{raw}})
	}
	err := a.walk(ctx, func(s *step) error {
		if s.Action == planUnchanged {
			return nil
		}
		return add(&s.planItem)
	})
	for _, s := range a.plan.gone {
		if err != nil {
			break
		}
		var item *planItem
		if item, err = s.deletion(); err == nil {
			err = add(item)
		}
	}
	if err == nil && (a.console.out.form != formTable || !a.plan.idle()) {
		err = sink.end()
	}
	a.console.note("plan: %s", a.plan.String())
	return errors.Join(err, out.Flush())
}
