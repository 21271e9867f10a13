package page

import (
	"net/http"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// askTenantStatus asks before a tenant is disabled, or enabled again.
func (v *visit) askTenantStatus() error {
	t, err := v.tenantFor(policy.Update)
	if err != nil {
		return err
	}
	return v.tenantStatusDialog(http.StatusOK, NewForm(nil), t, !t.Enabled)
}

// tenantStatusDialog says what comes of it. Only a customer's name must be typed: its
// sessions are many and do not come back, while a microtenant is small.
func (v *visit) tenantStatusDialog(status int, f *Form, t tenant, enable bool) error {
	c := confirmation{Form: f, Title: "Disable " + t.Kind.Name, Lead: "“" + t.Name + "” stays, with all that is in it, but none of its keys gets in any more.",
		Label: "Disable", Danger: true, Action: t.At("status"), Back: t.Kind.Path, Version: t.Revision, Hidden: map[string]string{"enabled": "false"}}
	c.Points = []string{inside(t, "is refused", "are refused") + " from then on, at every gate and on this page.",
		"Sessions of its keys end at once, and for good: also once it is enabled again.",
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

// setTenantStatus does what was confirmed, whatever the tenant is by now: the form says
// which of the two, and not only that it is to change.
func (v *visit) setTenantStatus() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	t, err := v.tenantFor(policy.Update)
	if err != nil {
		return err
	}
	enable := f.Get("enabled") == "true"
	if !enable && t.Kind == customerKind && !f.typed(t.Name) {
		return v.tenantStatusDialog(http.StatusBadRequest, f, t, enable)
	}
	commit, err := v.changeTenant(lifecycle.TenantPatch{Enabled: lifecycle.Some(enable)}, f.unchanged())
	if err != nil {
		status, err := f.refuseAsked(err, t.Kind.Name)
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

// askTenantDelete asks before a tenant is deleted.
func (v *visit) askTenantDelete() error {
	t, err := v.tenantFor(policy.Delete)
	if err != nil {
		return err
	}
	return v.tenantDeleteDialog(http.StatusOK, NewForm(nil), t)
}

// tenantDeleteDialog asks, or says what must go first.
func (v *visit) tenantDeleteDialog(status int, f *Form, t tenant) error {
	title := "Delete " + t.Kind.Name
	links, err := v.contents(t)
	if err != nil {
		return err
	}
	if len(links) > 0 {
		o := obstacle{Title: title, Back: t.Kind.Path, Links: links, Lead: "“" + t.Name + "” cannot be deleted while there is something in it.",
			Points: []string{"Delete what is in it first. A key does not move to another tenant."}}
		if t.Enabled {
			o.Points = append(o.Points, "To refuse its keys and keep everything, disable it instead.")
			o.Links = append(o.Links, obstacleLink{Label: "Disable instead", URL: t.At("status"), Dialog: true})
		}
		return v.obstruct(status, o)
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
			links = append(links, obstacleLink{Label: "Show the " + count(int64(*n), what), URL: to})
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

// deleteTenant deletes it. What came into it since the dialog was opened, the dialog
// then shows.
func (v *visit) deleteTenant() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	t, err := v.tenantFor(policy.Delete)
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
		status, err := f.refuseAsked(err, t.Kind.Name)
		if err != nil {
			return err
		}
		return v.tenantDeleteDialog(status, f, t)
	}
	return v.wrote(commit, t.Kind.Path, sentenceOf(t.Kind.Name, t.Name, "deleted."))
}
