package page

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const rolesPath = root + "roles"

func (p *Page) addRoles() {
	p.get(rolesPath, (*visit).listRoles)
	p.get(rolesPath+"/new", (*visit).newRole)
	p.post(rolesPath+"/new", (*visit).createRole)
	p.get(rolesPath+"/{id}", (*visit).showRole)
	p.get(rolesPath+"/{id}/edit", (*visit).editRole)
	p.post(rolesPath+"/{id}/edit", (*visit).changeRole)
	p.get(rolesPath+"/{id}/delete", (*visit).askDeleteRole)
	p.post(rolesPath+"/{id}/delete", (*visit).deleteRole)
}

func rolePath(id string) string { return rolesPath + "/" + url.PathEscape(id) }

// roleRow is a role as lists and its own page show it.
type roleRow struct {
	lifecycle.Role
	// For is the customer whose keys may have it, "" for every one's.
	For string
	// Brief is what it may do, in few words.
	Brief string
}

// Path is the role's own page, and KeysURL the table of the keys that have it.
func (r roleRow) Path() string { return rolePath(r.ID) }
func (r roleRow) KeysURL() string {
	return newQuery(nil).with("role_id", r.ID, paramView, noView).String()
}

// Keys is how many keys that the actor sees have the role; -1 where it sees none.
func (r roleRow) Keys() int {
	if r.KeyCount == nil {
		return -1
	}
	return *r.KeyCount
}

// AuditURL is what was done to the role.
func (r roleRow) AuditURL() string {
	return auditURL("target_kind", string(keystore.KindRole), "target_id", r.ID)
}

// CopyURL makes a role like it.
func (r roleRow) CopyURL() string { return rolesPath + "/new?" + url.Values{"from": {r.ID}}.Encode() }

// customerNames are those that the actor can tell by name, by id.
func (v *visit) customerNames() ([]lifecycle.Named, error) {
	if v.actor.AllCustomers && v.may(lifecycle.ResourceKeys, policy.Read) {
		choices, err := v.svc().KeyChoices(v.ctx(), v.actor)
		return choices.Customers, err
	}
	me, err := v.me()
	if err != nil || me.CustomerID == nil {
		return nil, err
	}
	return []lifecycle.Named{{ID: *me.CustomerID, Name: *me.CustomerName}}, nil
}

func rowOfRole(r lifecycle.Role, customers []lifecycle.Named, names titles) roleRow {
	row := roleRow{Role: r, Brief: names.roleBrief(r.Permissions)}
	if r.CustomerID != nil {
		row.For = nameOf(customers, *r.CustomerID)
	}
	return row
}

// roleTable is the data of the list of roles.
type roleTable struct {
	*listed[lifecycle.Role]
	Columns   []header
	Rows      []roleRow
	Customers []lifecycle.Named
}

func (v *visit) listRoles() error {
	q := listQuery(rolesPath, v.r.URL.Query(), "q", "customer_id")
	if v.tidied(q) {
		return v.redirect(q.String())
	}
	list, err := readList(v, NewForm(q.Values), q, "#roles", func(at lifecycle.Paging) (lifecycle.Page[lifecycle.Role], error) {
		return v.svc().ListRoles(v.ctx(), v.actor, lifecycle.RoleFilter{Text: q.Get("q"), CustomerID: q.Get("customer_id"), Sort: q.Get(paramSort), Paging: at})
	})
	if err != nil {
		return err
	}
	d := roleTable{listed: list, Columns: headers(q, []column{{ID: "name", Title: "Name", Sort: "name"}, {ID: "for", Title: "For"},
		{ID: "may", Title: "May do"}, {ID: "keys", Title: "Keys"}}, "name")}
	if d.Customers, err = v.customerNames(); err != nil {
		return err
	}
	for _, r := range list.Items {
		d.Rows = append(d.Rows, rowOfRole(r, d.Customers, v.titles()))
	}
	return v.show(view{Status: statusOf(d.Form), Page: "roles", Block: v.blockOf("role-list", "list", "roles"), Title: "Roles", Data: d})
}

// rolePage is the data of a role's own page.
type rolePage struct {
	roleRow
	Words    []string
	Sections []grantSection
	// Stop is why it cannot be changed, nil where it can.
	Stop *obstacle
}

func (v *visit) showRole() error {
	r, err := v.svc().GetRole(v.ctx(), v.actor, v.id())
	if err != nil {
		return err
	}
	customers, err := v.customerNames()
	if err != nil {
		return err
	}
	names, err := v.policyNames()
	if err != nil {
		return err
	}
	d := rolePage{roleRow: rowOfRole(r, customers, names.titles), Words: names.titles.roleWordsAll(r.Permissions), Sections: names.shown(r.Permissions), Stop: v.unchangeable(r, names)}
	return v.show(view{Page: "role", Title: r.Name, Data: d})
}

// unchangeable foretells what lifecycle would refuse of any change to a role, so that
// nobody fills a form for nothing; nil where there is no such thing.
func (v *visit) unchangeable(r lifecycle.Role, names policyNames) *obstacle {
	s := &obstacle{Title: "“" + r.Name + "” cannot be changed", Back: rolePath(r.ID)}
	copied := false // whether a role like it is of any use
	switch {
	case r.Predefined:
		copied = true
		s.Lead = "The role comes with Keyreeve, is the same everywhere, and can be neither changed nor deleted. Make one of your own from it, and give that to the keys."
	case v.confined():
		s.Lead = "Roles belong to a whole customer, and your key to one microtenant. An administrator at customer level can change it."
	case v.actor.Key != nil && v.actor.Key.RoleID == r.ID:
		s.Lead = "It is the role of your own key, and no key changes what it may do itself. An administrator whose key has another role can."
	case r.CustomerID == nil && !v.actor.AllCustomers:
		copied = true
		s.Lead = "The role is for the keys of every customer, so only an Operator changes it. You can make one like it for your own."
	default:
		more := beyond(r.Permissions, v.actor.Permissions, names)
		if len(more) == 0 {
			return nil
		}
		s.Lead = "It lets keys do what yours may not, and nobody changes or deletes a role that is above their own. Beyond what you hold, it grants:"
		s.Points = names.titles.roleWords(more)
	}
	if copied && v.may(lifecycle.ResourceRoles, policy.Create) {
		s.Links = []obstacleLink{{Label: "Make a role like it", URL: roleRow{Role: r}.CopyURL()}}
	}
	return s
}

// askDeleteRole asks, or says why the role cannot be deleted.
func (v *visit) askDeleteRole() error {
	return v.deleteRolePage(http.StatusOK, nil)
}

func (v *visit) deleteRolePage(status int, f *Form) error {
	r, err := v.svc().GetRole(v.ctx(), v.actor, v.id())
	if err != nil {
		return err
	}
	names, err := v.policyNames()
	if err != nil {
		return err
	}
	if s := v.unchangeable(r, names); s != nil {
		s.Title = "“" + r.Name + "” cannot be deleted"
		return v.obstruct(http.StatusConflict, *s)
	}
	if r.KeyCount != nil && *r.KeyCount > 0 {
		return v.obstruct(http.StatusConflict, roleInUse(r, ""))
	}
	id := "id:" + r.ID
	return v.confirm(status, confirmation{Form: f, Title: "Delete the role “" + r.Name + "”?", Action: rolePath(r.ID) + "/delete", Back: rolePath(r.ID),
		Lead:   "No key that you can see has it. It is gone for good; the audit trail keeps what it granted.",
		Points: names.titles.roleWords(r.Permissions), Label: "Delete role", Danger: true, Version: r.Revision,
		Commands: v.commands(call{Method: http.MethodDelete, Path: "/v1/roles/" + url.PathEscape(r.ID), Version: r.Revision}, "role", "delete", id, "--yes")})
}

// roleInUse is why a role that is used stays. detail is lifecycle's, where it refused.
func roleInUse(r lifecycle.Role, detail string) obstacle {
	s := obstacle{Title: "“" + r.Name + "” is in use", Back: rolePath(r.ID)}
	if r.KeyCount != nil && *r.KeyCount > 0 {
		n := *r.KeyCount
		s.Lead = number(n) + " " + plural(n, "key") + " " + map[bool]string{true: "has", false: "have"}[n == 1] + " this role, and a key must have one. Give " +
			map[bool]string{true: "it", false: "them"}[n == 1] + " another role first."
		s.Links = []obstacleLink{{Label: "Show the " + plural(n, "key"), URL: roleRow{Role: r}.KeysURL()}}
		return s
	}
	s.Lead = cmp.Or(sentence(detail), "Something needs it still.")
	return s
}

func (v *visit) deleteRole() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	r, err := v.svc().GetRole(v.ctx(), v.actor, v.id())
	if err != nil {
		return err
	}
	commit, err := v.svc().DeleteRole(v.ctx(), v.actor, v.id(), f.unchanged())
	if err == nil {
		return v.wrote(commit, rolesPath, "Role “"+r.Name+"” deleted.")
	}
	var refused *lifecycle.Error
	if errors.As(err, &refused) && refused.Code == lifecycle.CodeInUse {
		return v.obstruct(http.StatusConflict, roleInUse(r, refused.Detail))
	}
	status, err := f.refuse(err)
	if err != nil {
		return err
	}
	return v.deleteRolePage(status, f)
}
