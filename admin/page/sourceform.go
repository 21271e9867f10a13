package page

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// ruleChoices are the rules of a source in words.
var ruleChoices = []Choice{
	{Value: keystore.SourceReadOnly, Label: "Read-only", Hint: "They are changed at the source alone. Here they can be looked at, unlocked and switched off."},
	{Value: keystore.SourceLocked, Label: "Neither edited nor deleted", Hint: "Their owner wants them to stay as they are, at the source too. Here they can be looked at, unlocked and switched off."},
}

// sourceForm is the data of the dialogs that make and change a source.
type sourceForm struct {
	*Form
	// Source is what is changed, nil for a new one.
	Source    *sourceRow
	Customers customerPick
	// Roles are those to choose from; none asks for an id.
	Roles, Rules []Choice
	Once, Back   string
	Version      keystore.Revision
	// Differences is what somebody else changed meanwhile.
	Differences []difference
	Commands    *commands
}

// Action takes the form.
func (d *sourceForm) Action() string {
	if d.Source == nil {
		return sourcesPath + "/new"
	}
	return d.Source.At("edit")
}

// showSourceForm completes the dialog with what there is to choose from.
func (v *visit) showSourceForm(status int, d *sourceForm) (err error) {
	d.Rules, d.Back = ruleChoices, sourcesPath
	title, customerID := "New source", ""
	if d.Source == nil {
		if d.Customers, err = v.customerPick(); err != nil {
			return err
		}
	} else {
		title, customerID, d.Back = "Edit source "+d.Source.Name, d.Source.CustomerID, d.Source.At()
	}
	if d.Roles, err = v.roleChoices(customerID, d.Customers); err != nil {
		return err
	}
	return v.show(view{Status: status, Page: "sourceform", Block: "dialog", Dialog: true, Title: title, Data: d})
}

// roleChoices are the roles that keys of a customer may be given, those of all
// customers for "". None where the actor may not list roles, or they are too many.
func (v *visit) roleChoices(customerID string, customers customerPick) ([]Choice, error) {
	choices := []Choice{{Label: "Choose a role"}}
	add := func(id, name, owner string) {
		if customerID == "" && owner != "" && v.actor.AllCustomers {
			name += " – " + customers.Name(owner)
		}
		choices = append(choices, Choice{Value: id, Label: name})
	}
	if v.may(lifecycle.ResourceRoles, policy.Read) {
		all, err := v.svc().ListRoles(v.ctx(), v.actor, lifecycle.RoleFilter{CustomerID: customerID, Paging: lifecycle.Paging{Size: lifecycle.Some(lifecycle.MaxPageSize)}})
		if err != nil || all.Total > len(all.Items) {
			return nil, err
		}
		for _, r := range all.Items {
			owner := ""
			if r.CustomerID != nil {
				owner = *r.CustomerID
			}
			add(r.ID, r.Name, owner)
		}
		return choices, nil
	}
	all, err := v.svc().KeyChoices(v.ctx(), v.actor)
	if err != nil {
		return nil, unlessHidden(err)
	}
	for _, r := range all.Roles {
		add(r.ID, r.Name, r.CustomerID)
	}
	return choices, nil
}

// newSource begins with the rule that takes less away.
func (v *visit) newSource() error {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsSources(policy.Create)); err != nil {
		return err
	}
	customerID := v.r.URL.Query().Get("customer_id")
	if customerID == "" {
		customerID = v.actor.CustomerID
	}
	return v.showSourceForm(http.StatusOK, &sourceForm{Form: NewForm(url.Values{"rule": {keystore.SourceReadOnly}, "customer_id": {customerID}}), Once: newOnce()})
}

// createSource makes what the form says, and goes on to the source's own page: what
// comes next, pushing its first list, is told there.
func (v *visit) createSource() error {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsSources(policy.Create)); err != nil {
		return err
	}
	f, err := v.form()
	if err != nil {
		return err
	}
	d := &sourceForm{Form: f, Once: f.Get("once")}
	in := lifecycle.NewSource{Name: f.Get("name"), CustomerID: f.Get("customer_id"), Owner: f.Get("owner"), Rule: f.Get("rule"), MaxRoleID: f.Get("max_role_id")}
	if f.asksForCommands() {
		d.Commands = v.createSourceCommands(in)
		return v.showSourceForm(http.StatusOK, d)
	}
	made, commit, err := v.svc().CreateSource(v.ctx(), v.once(f), in)
	if err != nil {
		status, err := f.refuse(err)
		if err != nil {
			return err
		}
		f.keepTo("name", "customer_id", "owner", "rule", "max_role_id")
		d.Once = newOnce()
		return v.showSourceForm(status, d)
	}
	row := sourceRow{Source: made, named: v.actor.AllCustomers}
	return v.wrote(commit, row.At(), "Source “"+made.Name+"” made. It owns no keys until its first list is pushed.")
}

// createSourceCommands leave out what is empty, as the form does.
func (v *visit) createSourceCommands(in lifecycle.NewSource) *commands {
	name, role := orPlaceholder(in.Name, "NAME"), orPlaceholder(in.MaxRoleID, "ROLE_ID")
	body := map[string]any{"name": name, "rule": in.Rule, "max_role_id": role}
	cli := []string{"source", "create", "--rule", in.Rule, "--max-role", role}
	if in.Owner != "" {
		body["owner"], cli = in.Owner, append(cli, "--owner", in.Owner)
	}
	if in.CustomerID != "" {
		body["customer_id"], cli = in.CustomerID, append(cli, "--customer", in.CustomerID)
	}
	return v.commands(call{Method: http.MethodPost, Path: "/v1/sources", Body: body}, naming(cli, name)...)
}

// editSource shows what can be changed: its name is what keys know it by.
func (v *visit) editSource() error {
	s, err := v.source(policy.Update)
	if err != nil {
		return err
	}
	f := NewForm(url.Values{"owner": {s.Owner}, "rule": {s.Rule}, "max_role_id": {s.MaxRoleID}})
	return v.showSourceForm(http.StatusOK, &sourceForm{Form: f, Source: &s, Version: s.Revision})
}

// changeSource saves all three fields, of which lifecycle finds those that changed.
func (v *visit) changeSource() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	s, err := v.source(policy.Update)
	if err != nil {
		return err
	}
	d := &sourceForm{Form: f, Source: &s, Version: f.version()}
	if f.asksForCommands() {
		body := map[string]any{"owner": f.Get("owner"), "rule": f.Get("rule"), "max_role_id": f.Get("max_role_id")}
		d.Commands = v.commands(call{Method: http.MethodPatch, Path: "/v1/sources/" + s.Name + s.query(""), Body: body, Version: d.Version},
			s.cli("edit", "--owner", f.Get("owner"), "--rule", f.Get("rule"), "--max-role", f.Get("max_role_id"))...)
		return v.showSourceForm(http.StatusOK, d)
	}
	patch := lifecycle.SourcePatch{Owner: lifecycle.Some(f.Get("owner")), Rule: lifecycle.Some(f.Get("rule")), MaxRoleID: lifecycle.Some(f.Get("max_role_id"))}
	_, commit, err := v.svc().UpdateSource(v.ctx(), v.actor, s.ref(), patch, f.unchanged())
	if err == nil {
		return v.wrote(commit, v.backFrom(s), "Source “"+s.Name+"” saved.")
	}
	status, err := f.refuse(err)
	if err != nil {
		return err
	}
	f.keepTo("owner", "rule", "max_role_id")
	if status == http.StatusPreconditionFailed {
		if err := v.overtakenSource(d); err != nil {
			return err
		}
	}
	return v.showSourceForm(status, d)
}

// overtakenSource shows what the source is now beside what the form has. A list that
// was pushed meanwhile counts as a change too.
func (v *visit) overtakenSource(d *sourceForm) error {
	yours, err := v.roleName(map[string]string{d.Source.MaxRoleID: d.Source.Role}, d.Source.CustomerID, d.Get("max_role_id"))
	if err != nil {
		return err
	}
	d.Version = d.Source.Revision
	d.Differences = differences("Owner", d.Source.Owner, d.Get("owner"), "Its keys, here", ruleName(d.Source.Rule), ruleName(d.Get("rule")), "Highest role", d.Source.Role, yours)
	d.overtaken("source")
	if len(d.Differences) == 0 {
		d.Summary = "The source’s list was pushed meanwhile, so nothing was saved. What stands here did not change: save again."
	}
	return nil
}

// ruleName is a rule as the form has it; another version's stands for itself.
func ruleName(rule string) string {
	for _, c := range ruleChoices {
		if c.Value == rule {
			return c.Label
		}
	}
	return rule
}

// backFrom is where to go on after a change of s: with script the page that the
// dialog is over, without it the source's own.
func (v *visit) backFrom(s sourceRow) string {
	if v.partial() && v.herePath() == sourcesPath {
		return v.here()
	}
	return s.At()
}

// askSourceDelete asks before a source is deleted.
func (v *visit) askSourceDelete() error {
	s, err := v.source(policy.Delete)
	if err != nil {
		return err
	}
	return v.sourceDeleteDialog(http.StatusOK, NewForm(nil), s)
}

// sourceDeleteDialog asks, or says what must go first.
func (v *visit) sourceDeleteDialog(status int, f *Form, s sourceRow) error {
	title := "Delete source " + s.Name
	if n := s.KeyCount; n > 0 {
		return v.obstruct(status, obstacle{Title: title, Back: s.At(), Links: []obstacleLink{{Label: "Show the " + count(int64(n), "key"), URL: s.KeysURL()}},
			Lead: "It owns " + count(int64(n), "key") + ", so it cannot be deleted.",
			Points: []string{"Its keys do not become Keyreeve’s own: they are its list, and go only with it.",
				"Push an empty list first, as the commands below do. That deletes all of its keys at once: whoever uses one is refused from then on.",
				"To keep callers working, give each a key of Keyreeve’s own before."},
			Commands: v.emptyingCommands(s)})
	}
	return v.confirm(status, confirmation{Form: f, Title: title, Lead: "It owns no key. Whoever pushes a list to it is refused from then on.",
		Points: []string{"Which of its former keys were disabled here is forgotten: made again, and given those keys again, it has them enabled.",
			"The audit trail keeps what it did."},
		Label: "Delete source", Danger: true, Action: s.At("delete"), Back: s.At(), Type: s.Name, Version: s.Revision,
		Commands: v.commands(call{Method: http.MethodDelete, Path: "/v1/sources/" + s.Name + s.query(""), Version: s.Revision}, s.cli("delete", "--yes")...)})
}

// emptyingCommands push an empty list.
func (v *visit) emptyingCommands(s sourceRow) *commands {
	c := v.commands(call{Method: http.MethodPut, Path: "/v1/sources/" + s.Name + "/keys" + s.query(""), Body: map[string]any{"keys": []string{}, "max_removals": s.KeyCount}},
		s.cli("push", "-f", "-", "--max-removals", strconv.Itoa(s.KeyCount))...)
	c.CLI = "echo 'keys: []' | " + c.CLI
	return c
}

// deleteSource deletes it, unless a list gave it keys again since the dialog was opened.
func (v *visit) deleteSource() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	s, err := v.source(policy.Delete)
	if err != nil {
		return err
	}
	if !f.typed(s.Name) {
		return v.sourceDeleteDialog(http.StatusBadRequest, f, s)
	}
	commit, err := v.svc().DeleteSource(v.ctx(), v.actor, s.ref(), f.unchanged())
	if err != nil {
		status, err := f.refuseAsked(err, "source")
		if err != nil {
			return err
		}
		return v.sourceDeleteDialog(status, f, s)
	}
	return v.wrote(commit, sourcesPath, "Source “"+s.Name+"” deleted.")
}
