package page

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// tenantForm is the data of the dialogs that make and rename a tenant.
type tenantForm struct {
	*Form
	Kind *tenantKind
	// Tenant is what is renamed, nil for a new one.
	Tenant    *tenant
	Customers customerPick
	Once      string
	Version   keystore.Revision
	// Differences is what somebody else changed meanwhile.
	Differences []difference
	Commands    *commands
}

// Action takes the form.
func (d *tenantForm) Action() string {
	if d.Tenant == nil {
		return d.Kind.Path + "/new"
	}
	return d.Tenant.At("edit")
}

func (v *visit) showTenantForm(status int, d *tenantForm) error {
	title := "New " + d.Kind.Name
	if d.Tenant != nil {
		title = "Rename " + d.Kind.Name
	}
	return v.show(view{Status: status, Page: "tenantform", Block: "dialog", Dialog: true, Title: title, Data: d})
}

func (v *visit) newTenant() error {
	f := NewForm(url.Values{"enabled": {"true"}, "customer_id": {v.r.URL.Query().Get("customer_id")}})
	if f.Get("customer_id") == "" {
		f.Values.Set("customer_id", v.actor.CustomerID)
	}
	return v.newTenantForm(http.StatusOK, f, newOnce(), nil)
}

func (v *visit) newTenantForm(status int, f *Form, once string, c *commands) error {
	d := &tenantForm{Form: f, Kind: v.tenantKind(), Once: once, Commands: c}
	if d.Kind == microtenantKind {
		var err error
		if d.Customers, err = v.customerPick(); err != nil {
			return err
		}
	}
	return v.showTenantForm(status, d)
}

func (v *visit) createTenant() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	kind := v.tenantKind()
	if f.asksForCommands() {
		return v.newTenantForm(http.StatusOK, f, f.Get("once"), v.createCommands(kind, f))
	}
	enabled := lifecycle.Some(f.Get("enabled") == "true")
	var commit lifecycle.Commit
	var made string
	if kind == customerKind {
		var c lifecycle.Customer
		c, commit, err = v.svc().CreateCustomer(v.ctx(), v.once(f), lifecycle.NewCustomer{ID: f.Get("id"), Name: f.Get("name"), Enabled: enabled})
		made = c.Name
	} else {
		var m lifecycle.Microtenant
		m, commit, err = v.svc().CreateMicrotenant(v.ctx(), v.once(f), lifecycle.NewMicrotenant{ID: f.Get("id"), CustomerID: f.Get("customer_id"), Name: f.Get("name"), Enabled: enabled})
		made = m.Name
	}
	if err != nil {
		status, err := f.refuse(err)
		if err != nil {
			return err
		}
		return v.newTenantForm(status, f, newOnce(), nil)
	}
	return v.wrote(commit, kind.Path, sentenceOf(kind.Name, made, "made."))
}

// createCommands are those of the form as it is filled in.
func (v *visit) createCommands(kind *tenantKind, f *Form) *commands {
	body := map[string]any{"name": f.Get("name")}
	cli := []string{kind.Name, "create", f.Get("name")}
	add := func(field, flag, value string) {
		if value != "" {
			body[field], cli = value, append(cli, flag, value)
		}
	}
	add("id", "--id", f.Get("id"))
	if kind == microtenantKind {
		add("customer_id", "--customer", f.Get("customer_id"))
	}
	if f.Get("enabled") != "true" {
		body["enabled"], cli = false, append(cli, "--disabled")
	}
	return v.commands(call{Method: http.MethodPost, Path: kind.apiPath(), Body: body}, cli...)
}

func (k *tenantKind) apiPath() string { return "/v1/" + k.Name + "s" }

// commandsFor are those of a change of t: its verb and flags for the CLI, and the
// call, whose path is filled in.
func (v *visit) commandsFor(t tenant, c call, verb string, flags ...string) *commands {
	c.Path = t.Kind.apiPath() + "/" + t.ID
	cli := append([]string{t.Kind.Name, verb, "id:" + t.ID}, flags...)
	if t.CustomerID != "" && v.actor.AllCustomers {
		c.Path += "?" + url.Values{"customer_id": {t.CustomerID}}.Encode()
		cli = append(cli, "--customer", t.CustomerID)
	}
	return v.commands(c, cli...)
}

// tenant is the one that the path names.
func (v *visit) tenant() (tenant, error) {
	if v.tenantKind() == customerKind {
		c, err := v.svc().GetCustomer(v.ctx(), v.actor, v.id())
		return ofCustomer(c), err
	}
	m, err := v.svc().GetMicrotenant(v.ctx(), v.actor, lifecycle.MicrotenantRef{ID: v.id(), CustomerID: v.r.PathValue("customer")})
	return ofMicrotenant(m), err
}

// changeTenant applies a patch to the tenant of the path.
func (v *visit) changeTenant(p lifecycle.TenantPatch, cond lifecycle.Condition) (lifecycle.Commit, error) {
	var commit lifecycle.Commit
	var err error
	if v.tenantKind() == customerKind {
		_, commit, err = v.svc().UpdateCustomer(v.ctx(), v.actor, v.id(), p, cond)
	} else {
		_, commit, err = v.svc().UpdateMicrotenant(v.ctx(), v.actor, lifecycle.MicrotenantRef{ID: v.id(), CustomerID: v.r.PathValue("customer")}, p, cond)
	}
	return commit, err
}

func (v *visit) editTenant() error {
	t, err := v.tenant()
	if err != nil {
		return err
	}
	return v.showTenantForm(http.StatusOK, &tenantForm{Form: NewForm(url.Values{"name": {t.Name}}), Kind: t.Kind, Tenant: &t, Version: t.Revision})
}

func (v *visit) renameTenant() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	t, err := v.tenant()
	if err != nil {
		return err
	}
	d := &tenantForm{Form: f, Kind: t.Kind, Tenant: &t, Version: f.version()}
	if f.asksForCommands() {
		d.Commands = v.commandsFor(t, call{Method: http.MethodPatch, Body: map[string]any{"name": f.Get("name")}, Version: d.Version},
			"edit", "--name", f.Get("name"))
		return v.showTenantForm(http.StatusOK, d)
	}
	commit, err := v.changeTenant(lifecycle.TenantPatch{Name: lifecycle.Some(f.Get("name"))}, f.unchanged())
	if err != nil {
		status, err := f.refuse(err)
		if err != nil {
			return err
		}
		if status == http.StatusPreconditionFailed {
			d.Version, d.Differences = t.Revision, differences("Name", t.Name, f.Get("name"))
			f.overtaken(t.Kind.Name)
		}
		return v.showTenantForm(status, d)
	}
	return v.wrote(commit, t.Kind.Path, sentenceOf(t.Kind.Name, f.Get("name"), "saved."))
}

// askTenantStatus asks before a tenant is disabled, or enabled again.
func (v *visit) askTenantStatus() error {
	t, err := v.tenant()
	if err != nil {
		return err
	}
	return v.tenantStatusDialog(http.StatusOK, NewForm(nil), t, !t.Enabled)
}

func (v *visit) tenantStatusDialog(status int, f *Form, t tenant, enable bool) error {
	t, err := v.counted(t)
	if err != nil {
		return err
	}
	c := confirmation{Form: f, Title: "Disable " + t.Kind.Name, Lead: "“" + t.Name + "” stays, with all that is in it, but none of its keys gets in any more.",
		Label: "Disable", Danger: true, Action: t.At("status"), Back: t.Kind.Path, Version: t.Revision, Hidden: map[string]string{"enabled": "false"}}
	c.Points = []string{inside(t, "is refused", "are refused") + " from then on, at every gate and on this page.",
		"All their sessions end at once, and for good: also once it is enabled again.",
		"Nothing is deleted. Enabling it lets the keys sign in anew."}
	verb := "disable"
	if enable {
		verb = "enable"
		c.Title, c.Lead, c.Label, c.Danger = "Enable "+t.Kind.Name, "The keys of “"+t.Name+"” can be used again.", "Enable", false
		c.Points = []string{inside(t, "gets in", "get in") + " as far as each is enabled itself, unlocked and unexpired.",
			"Sessions from before do not come back; whoever calls signs in anew."}
		c.Hidden["enabled"] = "true"
	} else if t.Kind == customerKind {
		c.Type = t.Name
	}
	c.Commands = v.commandsFor(t, call{Method: http.MethodPatch, Body: map[string]any{"enabled": enable}, Version: t.Revision}, verb)
	return v.confirm(status, c)
}

// inside begins a sentence about the keys of a tenant.
func inside(t tenant, one, many string) string {
	switch {
	case t.Keys == nil:
		return "Every key in it " + one
	case *t.Keys == 0:
		return "There is no key in it now; one made later " + one
	case *t.Keys == 1:
		return "The 1 key in it " + one
	}
	return "The " + number(*t.Keys) + " keys in it " + many
}

func (v *visit) setTenantStatus() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	t, err := v.tenant()
	if err != nil {
		return err
	}
	enable := f.Get("enabled") == "true"
	if !enable && t.Kind == customerKind && !f.typed(t.Name) {
		return v.tenantStatusDialog(http.StatusBadRequest, f, t, enable)
	}
	commit, err := v.changeTenant(lifecycle.TenantPatch{Enabled: lifecycle.Some(enable)}, f.unchanged())
	if err != nil {
		status, err := f.refuse(err)
		if err != nil {
			return err
		}
		return v.tenantStatusDialog(status, f, t, enable)
	}
	did := "disabled; its sessions are over."
	if enable {
		did = "enabled."
	}
	return v.wrote(commit, t.Kind.Path, sentenceOf(t.Kind.Name, t.Name, did))
}

func (v *visit) askTenantDelete() error {
	t, err := v.tenant()
	if err != nil {
		return err
	}
	return v.tenantDeleteDialog(http.StatusOK, NewForm(nil), t)
}

// tenantDeleteDialog asks, or says what must go first.
func (v *visit) tenantDeleteDialog(status int, f *Form, t tenant) error {
	t, err := v.counted(t)
	if err != nil {
		return err
	}
	title := "Delete " + t.Kind.Name
	links, err := v.contents(t)
	if err != nil {
		return err
	}
	if len(links) > 0 {
		return v.obstruct(status, obstacle{Title: title, Back: t.Kind.Path, Links: links,
			Lead:   "“" + t.Name + "” cannot be deleted while there is something in it.",
			Points: []string{"Delete what is listed here first. A key does not move to another tenant.", "To refuse its keys and keep everything, disable the " + t.Kind.Name + " instead."}})
	}
	c := confirmation{Form: f, Title: title, Lead: "“" + t.Name + "” is gone for good. There is no way back.",
		Points: []string{"Views that are shared in it go with it.", "The audit trail keeps what was done in it, and that it was deleted."},
		Label:  "Delete " + t.Kind.Name, Danger: true, Action: t.At("delete"), Back: t.Kind.Path, Type: t.Name, Version: t.Revision}
	if t.Keys == nil {
		c.Points = append(c.Points, "If there are keys in it, it is not deleted.")
	}
	c.Commands = v.commandsFor(t, call{Method: http.MethodDelete, Version: t.Revision}, "delete", "--yes")
	return v.confirm(status, c)
}

// contents is what is in a tenant, as far as the actor may know: with it, the tenant
// cannot be deleted.
func (v *visit) contents(t tenant) ([]obstacleLink, error) {
	var links []obstacleLink
	add := func(n *int, what, to string) {
		if n != nil && *n > 0 {
			links = append(links, obstacleLink{"Show the " + count(int64(*n), what), to})
		}
	}
	add(t.Keys, "key", t.KeysURL())
	if t.Kind == microtenantKind {
		return links, nil
	}
	add(t.Microtenants, "microtenant", t.MicrotenantsURL())
	sources, err := v.svc().ListSources(v.ctx(), v.actor, lifecycle.SourceFilter{CustomerID: t.ID, Paging: one()})
	if err == nil {
		add(&sources.Total, "source", t.SourcesURL())
	}
	return links, unlessHidden(err)
}

func (v *visit) deleteTenant() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	t, err := v.tenant()
	if err != nil {
		return err
	}
	if !f.typed(t.Name) {
		return v.tenantDeleteDialog(http.StatusBadRequest, f, t)
	}
	var commit lifecycle.Commit
	if t.Kind == customerKind {
		commit, err = v.svc().DeleteCustomer(v.ctx(), v.actor, t.ID, f.unchanged())
	} else {
		commit, err = v.svc().DeleteMicrotenant(v.ctx(), v.actor, lifecycle.MicrotenantRef{ID: t.ID, CustomerID: t.CustomerID}, f.unchanged())
	}
	if err != nil {
		return v.refusedDelete(f, err, func(status int) error { return v.tenantDeleteDialog(status, f, t) })
	}
	return v.wrote(commit, t.Kind.Path, sentenceOf(t.Kind.Name, t.Name, "deleted."))
}

// refusedDelete shows the dialog again with what was refused.
func (*visit) refusedDelete(f *Form, err error, again func(status int) error) error {
	var refused *lifecycle.Error
	if errors.As(err, &refused) && refused.Kind == lifecycle.Forbidden && len(refused.Fields) == 0 {
		return err
	}
	status, err := f.refuse(err)
	if err != nil {
		return err
	}
	return again(status)
}
