package page

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// What a conflict is resolved to. What else is sent, `mine`, is the form as it was.
const (
	resolveChosen = "chosen" // field by field
	resolveTheirs = "theirs"
	resolveEdit   = "edit" // back to the form, with nothing written
	pickPrefix    = "pick_"
)

// keyConflict is the dialog that shows two changes of a key side by side.
type keyConflict struct {
	Key  lifecycle.Key
	By   who
	Rows []conflictRow
	// Hidden is the form, sent along.
	Hidden  []hiddenField
	Version keystore.Revision
	// Commands are those of keeping the actor's own.
	Commands *commands
}

// conflictRow is a field that either of the two changed.
type conflictRow struct {
	Name, Label string
	// Was is how the form found it, Now as it is stored, Yours as it was sent.
	Was, Now, Yours string
	// There was changed by somebody else, Here by the actor.
	There, Here bool
}

// Same: both changed it to the same.
func (r conflictRow) Same() bool { return r.Now == r.Yours }

// conflictField is a field as the dialog compares it.
type conflictField struct {
	name, label string
	inputs      []string
	text        func(in keyInput, roles map[string]string) string
}

var conflictFields = []conflictField{
	{"name", "Name", []string{"name"}, func(in keyInput, _ map[string]string) string { return in.Name }},
	{"description", "Description", []string{"description"}, func(in keyInput, _ map[string]string) string { return in.Description }},
	{"role_id", "Role", []string{"role_id"}, func(in keyInput, roles map[string]string) string {
		if name := roles[in.RoleID]; name != "" {
			return name
		}
		return in.RoleID
	}},
	{"enabled", "Status", []string{"enabled"}, func(in keyInput, _ map[string]string) string {
		if in.Enabled {
			return "Enabled"
		}
		return "Disabled"
	}},
	{"session_validity_seconds", "Session validity", []string{"session_validity_seconds"}, func(in keyInput, _ map[string]string) string {
		if in.SessionValiditySeconds.Has() {
			return number(int(in.SessionValiditySeconds.Value)) + " s"
		}
		return "default"
	}},
	{"expires", "Expires", []string{"expires", "expires_at"}, func(in keyInput, _ map[string]string) string {
		if in.ExpiresAt.Has() {
			return in.ExpiresAt.Value.UTC().Format("2 Jan 2006, 15:04 UTC")
		}
		return "never"
	}},
	{"allowed_cidrs", "Allowed networks", []string{"allowed_cidrs"}, func(in keyInput, _ map[string]string) string {
		if len(in.AllowedCIDRs) == 0 {
			return "anywhere"
		}
		return strings.Join(in.AllowedCIDRs, "\n")
	}},
	{"labels", "Labels", []string{"labels"}, func(in keyInput, _ map[string]string) string {
		lines := []string{}
		for _, name := range slices.Sorted(maps.Keys(in.Labels)) {
			lines = append(lines, name+"="+in.Labels[name])
		}
		if len(lines) == 0 {
			return "none"
		}
		return strings.Join(lines, "\n")
	}},
}

// conflictRows holds what was sent and what is stored now against what the form was
// made from. A form that does not say what that was counts as made from what is now.
func (v *visit) conflictRows(k lifecycle.Key, f *Form, in keyInput) ([]conflictRow, error) {
	options, err := v.svc().KeyOptions(v.ctx(), v.actor, k.CustomerID)
	if err != nil {
		return nil, err
	}
	roles := map[string]string{}
	for _, r := range options.Roles {
		roles[r.ID] = r.Name
	}
	clock := v.page.cfg.Now()
	now := readKeyFields(NewForm(keyValues(k)), clock)
	was := now
	if before := f.was(); before != nil {
		was = readKeyFields(before, clock)
	}
	var rows []conflictRow
	for _, field := range conflictFields {
		row := conflictRow{Name: field.name, Label: field.label, Was: field.text(was, roles), Now: field.text(now, roles), Yours: field.text(in, roles)}
		row.There, row.Here = row.Now != row.Was, row.Yours != row.Was
		if row.There || row.Here {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// askConflict answers where somebody else changed k, in what the form shows, since the
// form was made: with both changes, or with theirs alone where there is nothing of the
// actor's to save. Otherwise asked is false.
func (v *visit) askConflict(k lifecycle.Key, f *Form, in keyInput) (asked bool, err error) {
	rows, err := v.conflictRows(k, f, in)
	switch {
	case err != nil:
		return false, err
	case !slices.ContainsFunc(rows, func(r conflictRow) bool { return r.There }):
		return false, nil
	case !slices.ContainsFunc(rows, func(r conflictRow) bool { return r.Here && !r.Same() }):
		return true, v.done(v.after(k.ID), k.Name+" stays as it is now: there was nothing of yours to save.")
	}
	return true, v.conflictPage(k, f, rows)
}

// conflictPage shows both changes. What the actor did not touch is as it is now from
// here on, so that nothing of theirs is put back by chance.
func (v *visit) conflictPage(k lifecycle.Key, f *Form, rows []conflictRow) (err error) {
	stored := keyValues(k)
	d := keyConflict{Key: k, Rows: rows, Version: k.Revision}
	for _, row := range rows {
		if !row.Here {
			f.take(row.Name, stored)
		}
	}
	d.Commands = v.keyPatchCommands(k, readKeyFields(NewForm(f.Values), v.page.cfg.Now()).patch(k))
	f.keepWas(k)
	for _, field := range conflictFields {
		for _, input := range field.inputs {
			if f.Values.Has(input) { // a box without its tick is not sent
				d.Hidden = append(d.Hidden, hiddenField{input, f.Get(input)})
			}
		}
	}
	d.Hidden = append(d.Hidden, hiddenFields(f, wasPrefix)...)
	if d.By, err = v.whoDid(k.ModifiedBy, nil); err != nil {
		return err
	}
	return v.dialog(http.StatusPreconditionFailed, "keyconflict", "Somebody else changed "+k.Name, d)
}

// take puts a field as other values have it.
func (f *Form) take(name string, from map[string][]string) {
	for _, field := range conflictFields {
		if field.name != name {
			continue
		}
		for _, input := range field.inputs {
			delete(f.Values, input)
			if values, is := from[input]; is {
				f.Values[input] = values
			}
		}
	}
}

// resolve applies the choice of a conflict: a field of theirs is as the form found it.
func (f *Form) resolve() {
	was := f.was()
	if f.Get("resolve") != resolveChosen || was == nil {
		return
	}
	for _, field := range conflictFields {
		if f.Get(pickPrefix+field.name) == resolveTheirs {
			f.take(field.name, was.Values)
		}
	}
}

// hiddenFields are those of the form whose names begin so, in their order.
func hiddenFields(f *Form, prefix string) []hiddenField {
	var all []hiddenField
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		if strings.HasPrefix(name, prefix) {
			all = append(all, hiddenField{name, f.Get(name)})
		}
	}
	return all
}

// keyPatchCommands are the same change over the API and the command line.
func (v *visit) keyPatchCommands(k lifecycle.Key, p lifecycle.KeyPatch) *commands {
	body, cli := map[string]any{}, []string{"key", "edit", "id:" + k.ID}
	set := func(given bool, member string, value any, args ...string) {
		if given {
			body[member] = value
			cli = append(cli, args...)
		}
	}
	set(p.Name.Set, "name", p.Name, "--name", p.Name.Value)
	set(p.Description.Set, "description", p.Description, "--description", p.Description.Value)
	set(p.RoleID.Set, "role_id", p.RoleID, "--role", p.RoleID.Value)
	validity, ends := "default", "never"
	if p.SessionValiditySeconds.Has() {
		validity = strconv.FormatInt(p.SessionValiditySeconds.Value, 10)
	}
	if p.ExpiresAt.Has() {
		ends = p.ExpiresAt.Value.UTC().Format("2006-01-02T15:04:05Z")
	}
	set(p.SessionValiditySeconds.Set, "session_validity_seconds", p.SessionValiditySeconds, "--session-validity", validity)
	set(p.ExpiresAt.Set, "expires_at", p.ExpiresAt, "--expires", ends)
	networks := []string{"any"}
	if len(p.AllowedCIDRs.Value) > 0 {
		networks = p.AllowedCIDRs.Value
	}
	set(p.AllowedCIDRs.Set, "allowed_cidrs", p.AllowedCIDRs, repeated("--cidr", networks)...)
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(p.Labels.Value)) {
		if value := p.Labels.Value[name]; value != nil {
			labels = append(labels, name+"="+*value)
		} else {
			labels = append(labels, name+"-")
		}
	}
	set(p.Labels.Set, "labels", p.Labels, repeated("--label", labels)...)
	edits := len(cli) > 3
	set(p.Enabled.Set, "enabled", p.Enabled)
	c := v.commands(call{"PATCH", "/v1/keys/" + k.ID, body, k.Revision}, cli...)
	if p.Enabled.Set { // for which the command line has verbs of its own
		action, _ := batchOf(lifecycle.Key{}, p.Enabled.Value)
		verb := v.commands(call{Path: "/"}, "key", action, "id:"+k.ID).CLI
		if edits {
			verb = c.CLI + "\n" + verb
		}
		c.CLI = verb
	}
	return c
}

// repeated is a flag for each value.
func repeated(flag string, values []string) []string {
	var args []string
	for _, value := range values {
		args = append(args, flag, value)
	}
	return args
}
