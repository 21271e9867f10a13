package page

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Fields of the matrix: the level of a name, and where it is custom, its actions.
const (
	fieldLevel   = "permissions."
	fieldActions = "actions."
	// everyCustomer is the choice of a role for every customer.
	everyCustomer = "*"
)

// roleForm is the data of the form, and of what it would change.
type roleForm struct {
	*Form
	// Role is the one that is changed, nil for a new one.
	Role *roleRow
	// From is the one it is a copy of, nil for none; Dropped is what of it the actor
	// cannot give, in words.
	From    *roleRow
	Dropped []string

	Action, Back string
	// Fresh is a form that nothing was typed into yet.
	Fresh     bool
	Sections  []grantSection
	Customers []lifecycle.Named
	Once      string
	Version   keystore.Revision
	Commands  *commands

	// Changes is what saving changes, to be looked at before.
	Changes []roleChange
	// Kept are the fields, to be sent again.
	Kept []hiddenField
	// Words are what the role will let keys do.
	Words []string
}

// permissions reads the matrix. Names that it grants nothing on are left out.
func (f *Form) permissions() policy.Permissions {
	p := policy.Permissions{}
	for _, field := range slices.Sorted(maps.Keys(f.Values)) {
		name, is := strings.CutPrefix(field, fieldLevel)
		if !is {
			continue
		}
		switch f.Get(field) {
		case levelNone:
		case levelView:
			p[name] = policy.View
		case levelFull:
			p[name] = policy.Full
		case levelCustom:
			var mask policy.Mask
			for _, word := range f.Values[fieldActions+name] {
				action, _ := policy.ParseAction(word) // what it does not know is nothing
				mask |= action
			}
			if mask == 0 {
				f.Fail(field, "Tick what is allowed on "+name+", or choose None.")
				continue
			}
			p[name] = mask
		default:
			f.Fail(field, "Choose what is allowed on "+name+".")
		}
	}
	return p
}

// rows are the names that the matrix was sent with.
func (f *Form) rows() []string {
	var names []string
	for field := range f.Values {
		if name, is := strings.CutPrefix(field, fieldLevel); is {
			names = append(names, name)
		}
	}
	return names
}

// setPermissions fills the matrix.
func (f *Form) setPermissions(p policy.Permissions) {
	for name, mask := range p {
		level := levelOf(mask)
		f.Values.Set(fieldLevel+name, level)
		if level == levelCustom {
			f.Values[fieldActions+name] = mask.Names()
		}
	}
}

// kept lists the fields of what is typed, in order.
func (f *Form) kept() []hiddenField {
	var all []hiddenField
	for _, field := range slices.Sorted(maps.Keys(f.Values)) {
		level := strings.HasPrefix(field, fieldLevel)
		if !level && !strings.HasPrefix(field, fieldActions) && !slices.Contains([]string{"name", "description"}, field) {
			continue
		}
		for _, value := range f.Values[field] {
			if !level || value != levelNone {
				all = append(all, hiddenField{field, value})
			}
		}
	}
	return all
}

// formSections is the matrix as the form has it, with what the actor may give.
func (v *visit) formSections(f *Form, names policyNames) []grantSection {
	quiet := NewForm(f.Values) // what is wrong was said by then
	all := names.sections(quiet.permissions(), f.rows())
	var dress func(r *grantRow)
	dress = func(r *grantRow) {
		field := fieldLevel + r.Name
		r.Most, _ = names.held(v.actor.Permissions, r.Name)
		r.Unfinished = r.Own == 0 && f.Get(field) == levelCustom
		r.Faults = f.Wrong[field]
		r.Added = f.Get("added") == r.Name
		for i := range r.Members {
			dress(&r.Members[i])
		}
	}
	for i := range all {
		for j := range all[i].Rows {
			dress(&all[i].Rows[j])
		}
	}
	return all
}

// Chosen is the level that the form has for a row.
func (r grantRow) Chosen() string {
	if r.Unfinished {
		return levelCustom
	}
	return levelOf(r.Own)
}

// Levels are the choices of a row.
func (r grantRow) Levels() []Choice {
	return []Choice{
		{Value: levelNone, Label: "None"},
		{Value: levelView, Label: "View", Disabled: !r.Most.Has(policy.View)},
		{Value: levelFull, Label: "Full", Disabled: !r.Most.Has(policy.Full)},
		{Value: levelCustom, Label: "Custom", Disabled: r.Most == 0},
	}
}

// Ticks are the actions of a row that is custom.
func (r grantRow) Ticks() []tick {
	var all []tick
	for _, word := range policy.Full.Names() {
		action, _ := policy.ParseAction(word) // one of its own
		all = append(all, tick{word, r.Own.Has(action) && levelOf(r.Own) == levelCustom, !r.Most.Has(action)})
	}
	return all
}

type tick struct {
	Word              string
	Checked, Disabled bool
}

// Limit says why not all can be given, "" where it can.
func (r grantRow) Limit() string {
	switch r.Most {
	case policy.Full:
		return ""
	case 0:
		return "Your own key holds nothing here, so you cannot give it."
	}
	return "Your own key holds " + enumerate(r.Most.Names(), 4) + " here, so you cannot give more."
}

// Given reports members that have an entry of their own, or something wrong.
func (r grantRow) Given() int {
	n := 0
	for _, m := range r.Members {
		if m.Own != 0 || m.Unfinished || len(m.Faults) > 0 {
			n++
		}
	}
	return n
}

// FaultID is where the summary of faults leads.
func (r grantRow) FaultID() string { return fieldID(fieldLevel + r.Name) }

// Find is what the row is found by.
func (r grantRow) Find() string { return strings.ToLower(r.Name + " " + r.Title) }

// newRole shows the form, empty or filled from a role that is there.
func (v *visit) newRole() error {
	if s := v.noNewRoles(); s != nil {
		return v.obstruct(http.StatusForbidden, *s)
	}
	f := NewForm(nil)
	f.Values.Set("once", newOnce())
	f.Values.Set("customer_id", v.actor.CustomerID)
	id := v.r.URL.Query().Get("from")
	if id == "" {
		return v.newRolePage(http.StatusOK, f, nil, nil)
	}
	r, err := v.svc().GetRole(v.ctx(), v.actor, id)
	if err != nil {
		return err
	}
	names, err := v.policyNames()
	if err != nil {
		return err
	}
	f.Values.Set("name", cut("Copy of "+r.Name, lifecycle.MaxName))
	f.Values.Set("description", r.Description)
	f.Values.Set("from", r.ID)
	given, more := r.Permissions.Clone(), beyond(r.Permissions, v.actor.Permissions, names)
	for name, mask := range more {
		if given[name] &^= mask; given[name] == 0 {
			delete(given, name)
		}
	}
	f.setPermissions(given)
	if len(more) > 0 {
		f.Values.Del("description") // it tells of what is not there
	}
	return v.newRolePage(http.StatusOK, f, nil, more)
}

// cut is a text of at most n characters.
func cut(text string, n int) string {
	runes := []rune(text)
	return strings.TrimSpace(string(runes[:min(n, len(runes))]))
}

// noNewRoles is why the actor makes no roles; nil where it may.
func (v *visit) noNewRoles() *obstacle {
	s := &obstacle{Title: "You cannot make roles", Back: rolesPath}
	switch {
	case !v.may(lifecycle.ResourceRoles, policy.Create):
		s.Lead = "Your role does not hold " + lifecycle.ResourceRoles + ":create."
	case v.confined():
		s.Lead = "Roles belong to a whole customer, and your key to one microtenant. An administrator at customer level can make one for you."
	default:
		return nil
	}
	return s
}

func (v *visit) newRolePage(status int, f *Form, c *commands, dropped policy.Permissions) error {
	names, err := v.policyNames()
	if err != nil {
		return err
	}
	d := roleForm{Form: f, Action: rolesPath + "/new", Back: rolesPath, Once: f.Get("once"), Commands: c, Fresh: v.r.Method == http.MethodGet, Sections: v.formSections(f, names)}
	if v.actor.AllCustomers {
		if d.Customers, err = v.customerNames(); err != nil {
			return err
		}
	}
	if id := f.Get("from"); id != "" {
		r, err := v.svc().GetRole(v.ctx(), v.actor, id)
		if err != nil {
			return err
		}
		row := rowOfRole(r, nil, nil)
		d.From, d.Back = &row, row.Path()
	}
	if len(dropped) > 0 {
		d.Dropped = v.titles().roleWords(dropped)
	}
	return v.show(view{Status: status, Page: "roleform", Block: "form", Title: "New role", Data: d})
}

func (v *visit) createRole() error {
	if s := v.noNewRoles(); s != nil {
		return v.obstruct(http.StatusForbidden, *s)
	}
	f, err := v.form()
	if err != nil {
		return err
	}
	if f.Get("do") == "add" {
		f.addRow()
		return v.newRolePage(statusOf(f), f, nil, nil)
	}
	in := lifecycle.NewRole{Name: f.Get("name"), Description: unixLines(f.Get("description")), Permissions: f.permissions()}
	if v.actor.AllCustomers {
		if id := f.Get("customer_id"); id == everyCustomer {
			in.CustomerID = lifecycle.Null[string]()
		} else if id != "" {
			in.CustomerID = lifecycle.Some(id)
		}
	}
	switch {
	case f.Failed():
		return v.newRolePage(http.StatusBadRequest, f, nil, nil)
	case f.asksForCommands():
		return v.newRolePage(http.StatusOK, f, v.newRoleCommands(in), nil)
	}
	made, commit, err := v.svc().CreateRole(v.ctx(), v.once(f), in)
	if err != nil {
		status, err := f.refuse(err)
		if err != nil {
			return err
		}
		return v.newRolePage(status, f, nil, nil)
	}
	return v.wrote(commit, rolePath(made.ID), "Role “"+made.Name+"” made.")
}

// addRow gives the matrix a row for a name that no policy has yet.
func (f *Form) addRow() {
	name := strings.TrimSpace(f.Get("other"))
	if name == "" {
		f.Fail("other", "Type the name of a resource or group.")
		return
	}
	f.Values.Set("added", name)
	if field := fieldLevel + name; !f.Values.Has(field) {
		f.Values.Set(field, levelView)
	}
	f.Values.Del("other")
}

func (v *visit) newRoleCommands(in lifecycle.NewRole) *commands {
	name := orPlaceholder(in.Name, "NAME")
	body := map[string]any{"name": name, "permissions": in.Permissions}
	cli := []string{"role", "create"}
	if in.Description != "" {
		body["description"] = in.Description
		cli = append(cli, "--description", in.Description)
	}
	switch {
	case in.CustomerID.Null:
		body["customer_id"] = nil
		cli = append(cli, "--every-customer")
	case in.CustomerID.Set:
		body["customer_id"] = in.CustomerID.Value
		cli = append(cli, "--customer", in.CustomerID.Value)
	}
	for _, entry := range slices.Sorted(maps.Keys(in.Permissions)) {
		cli = append(cli, "--grant", grantFlag(entry, in.Permissions[entry]))
	}
	return v.commands(call{Method: http.MethodPost, Path: "/v1/roles", Body: body}, naming(cli, name)...)
}

// grantFlag is an entry as the command line takes it.
func grantFlag(name string, mask policy.Mask) string {
	level := levelOf(mask)
	if level == levelCustom {
		level = strings.Join(mask.Names(), ",")
	}
	return name + "=" + level
}
