package page

import (
	"cmp"
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// changeable is the role of the path, or why it cannot be changed.
func (v *visit) changeable() (lifecycle.Role, policyNames, *obstacle, error) {
	r, err := v.svc().GetRole(v.ctx(), v.actor, v.id())
	if err != nil {
		return r, policyNames{}, nil, err
	}
	names, err := v.policyNames()
	return r, names, v.unchangeable(r, names), err
}

func (v *visit) editRole() error {
	r, names, s, err := v.changeable()
	if err != nil {
		return err
	}
	if s != nil {
		return v.obstruct(http.StatusConflict, *s)
	}
	f := NewForm(url.Values{"name": {r.Name}, "description": {r.Description}})
	f.setPermissions(r.Permissions)
	return v.editRolePage(http.StatusOK, f, r, names, r.Revision)
}

// editRolePage shows the form. version is that of the role which the form was made
// from.
func (v *visit) editRolePage(status int, f *Form, r lifecycle.Role, names policyNames, version keystore.Revision) error {
	customers, err := v.customerNames()
	if err != nil {
		return err
	}
	row := rowOfRole(r, customers, names.titles)
	d := roleForm{Form: f, Role: &row, Action: row.Path() + "/edit", Back: row.Path(), Version: version, Sections: v.formSections(f, names)}
	return v.show(view{Status: status, Page: "roleform", Block: "form", Title: "Edit " + r.Name, Data: d})
}

// changeRole goes through the form's steps: it shows what would change, and then
// changes it.
func (v *visit) changeRole() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	r, names, s, err := v.changeable()
	if err != nil {
		return err
	}
	if s != nil {
		return v.obstruct(http.StatusConflict, *s)
	}
	do := f.Get("do")
	if do == "add" {
		f.addRow()
	}
	next := f.permissions()
	if do == "add" || do == "edit" || f.Failed() {
		return v.editRolePage(statusOf(f), f, r, names, cmp.Or(f.version(), r.Revision))
	}
	patch := rolePatch(f, r, next)
	if is := f.unchanged(); is != nil && !is(r.Revision) {
		f.Summary = "Somebody else changed the role since you opened it. Below is what saving would change in it as it is now."
		return v.reviewRole(http.StatusPreconditionFailed, f, r, names, patch, next)
	}
	if do != "save" {
		return v.reviewRole(http.StatusOK, f, r, names, patch, next)
	}
	_, commit, err := v.svc().UpdateRole(v.ctx(), v.actor, r.ID, patch, f.unchanged())
	if err != nil {
		status, err := f.refuse(err)
		if err != nil {
			return err
		}
		return v.editRolePage(status, f, r, names, r.Revision)
	}
	return v.wrote(commit, rolePath(r.ID), "Role “"+cmp.Or(patch.Name.Value, r.Name)+"” changed.")
}

// rolePatch is what differs between the role and the form.
func rolePatch(f *Form, r lifecycle.Role, next policy.Permissions) lifecycle.RolePatch {
	var p lifecycle.RolePatch
	if name := f.Get("name"); name != r.Name {
		p.Name = lifecycle.Some(name)
	}
	if text := unixLines(f.Get("description")); text != r.Description {
		p.Description = lifecycle.Some(text)
	}
	masks := map[string]*policy.Mask{}
	for name := range r.Permissions {
		if _, stays := next[name]; !stays {
			masks[name] = nil
		}
	}
	for name, mask := range next {
		if r.Permissions[name] != mask {
			masks[name] = &mask
		}
	}
	if len(masks) > 0 {
		p.Permissions = lifecycle.Some(masks)
	}
	return p
}
