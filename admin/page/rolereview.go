package page

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// roleChange is a line of what saving changes.
type roleChange struct {
	// Gain and Loss say which way it goes; neither is a change of no right.
	Gain, Loss bool
	Text       string
	// Note says more, such as that a wider entry grants the same.
	Note string
}

// reviewRole shows what saving changes, and for how many keys, before it is done.
func (v *visit) reviewRole(status int, f *Form, r lifecycle.Role, names policyNames, patch lifecycle.RolePatch, next policy.Permissions) error {
	customers, err := v.customerNames()
	if err != nil {
		return err
	}
	row := rowOfRole(r, customers, names.titles)
	d := roleForm{Form: f, Role: &row, Action: row.Path() + "/edit", Back: row.Path(), Version: r.Revision, Kept: f.kept(),
		Changes: changesOf(r, patch, next, names), Words: names.titles.roleWordsAll(next), Commands: v.editRoleCommands(r, patch)}
	return v.show(view{Status: status, Page: "rolereview", Block: "form", Title: "Save changes to " + r.Name + "?", Data: d})
}

// changesOf puts a patch into words: what is gained first.
func changesOf(r lifecycle.Role, patch lifecycle.RolePatch, next policy.Permissions, names policyNames) []roleChange {
	var plain, gains, losses []roleChange
	if patch.Name.Set {
		plain = append(plain, roleChange{Text: "Its name becomes “" + patch.Name.Value + "”"})
	}
	if patch.Description.Set {
		text := "Its description becomes “" + patch.Description.Value + "”"
		if patch.Description.Value == "" {
			text = "It has no description any more"
		}
		plain = append(plain, roleChange{Text: text})
	}
	for _, name := range slices.Sorted(maps.Keys(patch.Permissions.Value)) {
		before, after := r.Permissions[name], next[name]
		was, _ := names.held(r.Permissions, name)
		will, by := names.held(next, name)
		wider := ""
		if len(by) > 0 {
			wider = "the entry for " + strings.Join(by, " and ") + " grants it"
		}
		if more := after &^ before; more != 0 {
			one := roleChange{Gain: true, Text: rightsOf(more) + " " + called(name)}
			if will&^was&more == 0 {
				one.Note = "makes no difference: " + widerBefore(r.Permissions, name, names) + " already"
			}
			gains = append(gains, one)
		}
		if less := before &^ after; less != 0 {
			one := roleChange{Loss: true, Text: rightsOf(less) + " " + called(name)}
			if was&^will&less == 0 {
				one.Note = "makes no difference: " + wider + " still"
			}
			losses = append(losses, one)
		}
	}
	return slices.Concat(gains, losses, plain)
}

// widerBefore says which entry of p grants the same.
func widerBefore(p policy.Permissions, name string, names policyNames) string {
	_, by := names.held(p, name)
	return "the entry for " + strings.Join(by, " and ") + " grants it"
}

// called is a name of a role's entry as sentences have it.
func called(name string) string {
	switch name {
	case "*":
		return "everything of the upstreams"
	case allOwn:
		return "everything in Keyreeve itself"
	}
	for _, one := range ownNames {
		if one.resource == name {
			return one.name + " in Keyreeve"
		}
	}
	return name
}

// Gains and Losses count the lines that change rights.
func (d roleForm) Gains() int {
	return len(slices.DeleteFunc(slices.Clone(d.Changes), func(c roleChange) bool { return !c.Gain }))
}
func (d roleForm) Losses() int {
	return len(slices.DeleteFunc(slices.Clone(d.Changes), func(c roleChange) bool { return !c.Loss }))
}

// editRoleCommands are the lines for a patch.
func (v *visit) editRoleCommands(r lifecycle.Role, patch lifecycle.RolePatch) *commands {
	body := map[string]any{}
	cli := []string{"role", "edit", "id:" + r.ID}
	if patch.Name.Set {
		body["name"] = patch.Name.Value
		cli = append(cli, "--name", patch.Name.Value)
	}
	if patch.Description.Set {
		body["description"] = patch.Description.Value
		cli = append(cli, "--description", patch.Description.Value)
	}
	for _, name := range slices.Sorted(maps.Keys(patch.Permissions.Value)) {
		grant := name + "-"
		if mask := patch.Permissions.Value[name]; mask != nil {
			grant = grantFlag(name, *mask)
		}
		cli = append(cli, "--grant", grant)
	}
	if patch.Permissions.Set {
		body["permissions"] = patch.Permissions.Value
	}
	if len(body) == 0 {
		return nil
	}
	return v.commands(call{Method: http.MethodPatch, Path: "/v1/roles/" + url.PathEscape(r.ID), Body: body, Version: r.Revision}, cli...)
}
