package page

import (
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
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

// showTenantForm is where every way through the dialogs ends that is not done yet.
func (v *visit) showTenantForm(status int, d *tenantForm) error {
	title := "New " + d.Kind.Name
	if d.Tenant != nil {
		title = "Rename " + d.Kind.Name
	}
	return v.show(view{Status: status, Page: "tenantform", Block: "dialog", Dialog: true, Title: title, Data: d})
}

// newTenant begins with the customer that the list was filtered by, or else the
// actor's own.
func (v *visit) newTenant() error {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Create, lifecycle.ResourceTenants)); err != nil {
		return err
	}
	f := NewForm(url.Values{"enabled": {"true"}, "customer_id": {v.r.URL.Query().Get("customer_id")}})
	if f.Get("customer_id") == "" {
		f.Values.Set("customer_id", v.actor.CustomerID)
	}
	return v.newTenantForm(http.StatusOK, f, newOnce(), nil)
}

// newTenantForm shows what was typed. once stays the same until something was refused:
// what is sent after that is another request.
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

// createTenant makes what the form says. The list stays filtered as it was, so that
// the notice alone may tell of it.
func (v *visit) createTenant() error {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Create, lifecycle.ResourceTenants)); err != nil {
		return err
	}
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
		f.keepTo("name", "id", "customer_id")
		return v.newTenantForm(status, f, newOnce(), nil)
	}
	return v.wrote(commit, kind.Path, sentenceOf(kind.Name, made, "made."))
}

// createCommands are those of the form as it is filled in.
func (v *visit) createCommands(kind *tenantKind, f *Form) *commands {
	name := orPlaceholder(f.Get("name"), "NAME")
	body := map[string]any{"name": name}
	cli := []string{kind.Name, "create"}
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
	return v.commands(call{Method: http.MethodPost, Path: kind.apiPath(), Body: body}, naming(cli, name)...)
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

// tenantFor is the tenant that the path names, for an actor whose role holds an
// action on tenants. That this one is beyond it, the operation finds.
func (v *visit) tenantFor(action policy.Mask) (tenant, error) {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(action, lifecycle.ResourceTenants)); err != nil {
		return tenant{}, err
	}
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

// editTenant shows the name; whether a tenant is enabled is asked for apart, since more
// comes of it.
func (v *visit) editTenant() error {
	t, err := v.tenantFor(policy.Update)
	if err != nil {
		return err
	}
	return v.showTenantForm(http.StatusOK, &tenantForm{Form: NewForm(url.Values{"name": {t.Name}}), Kind: t.Kind, Tenant: &t, Version: t.Revision})
}

// renameTenant saves the name, unless somebody else was faster.
func (v *visit) renameTenant() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	t, err := v.tenantFor(policy.Update)
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
		f.keepTo("name")
		if status == http.StatusPreconditionFailed {
			d.Version, d.Differences = t.Revision, differences("Name", t.Name, f.Get("name"))
			f.overtaken(t.Kind.Name)
		}
		return v.showTenantForm(status, d)
	}
	return v.wrote(commit, t.Kind.Path, sentenceOf(t.Kind.Name, f.Get("name"), "saved."))
}
