package page

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

const newKeyPath = keysPath + "/new"

func (p *Page) addKeyMaking() {
	p.get(newKeyPath, (*visit).showNewKey)
	p.post(newKeyPath, (*visit).createKey)
}

// newKey is the data of the dialog that makes a key.
type newKey struct {
	Fields   *keyFields
	Once     string
	Commands *commands
}

func (v *visit) mayMakeKeys() error {
	return v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Create, lifecycle.ResourceKeys))
}

// showNewKey opens the dialog. Whoever links to it may name a role and a place.
func (v *visit) showNewKey() error {
	if err := v.mayMakeKeys(); err != nil {
		return err
	}
	values := url.Values{"enabled": {"true"}, "expires": {expiresNever}, "microtenant_id": {v.actor.MicrotenantID}}
	for _, name := range []string{"role_id", "customer_id", "microtenant_id"} {
		if given := v.r.URL.Query().Get(name); given != "" {
			values.Set(name, given)
		}
	}
	return v.newKeyPage(http.StatusOK, NewForm(values), nil)
}

func (v *visit) newKeyPage(status int, f *Form, c *commands) error {
	fields, err := v.keyFields(f, f.Get("customer_id"))
	if err != nil {
		return err
	}
	d := newKey{Fields: fields, Once: f.Get("once"), Commands: c}
	// What was refused is another request once it is mended, and needs another name.
	if d.Once == "" || f.Failed() {
		d.Once = newOnce()
	}
	return v.dialog(status, "keynew", "New key", d)
}

// createKey makes the key and shows its secret, or shows the form again: with what
// is wrong, with the roles of another customer, or with the commands.
func (v *visit) createKey() error {
	if err := v.mayMakeKeys(); err != nil {
		return err
	}
	f, err := v.form()
	if err != nil {
		return err
	}
	if f.Get("as") == "customer" { // not to be made yet
		return v.newKeyPage(http.StatusOK, f, nil)
	}
	if f.asksForCommands() { // as far as the form is filled in
		in := readKeyFields(NewForm(f.Values), v.page.cfg.Now()).newKey(f)
		return v.newKeyPage(http.StatusOK, f, v.newKeyCommands(in))
	}
	fields := readKeyFields(f, v.page.cfg.Now())
	if fields.RoleID == "" {
		f.Fail("role_id", "Choose what the key may do.")
	}
	if f.Failed() {
		return v.newKeyPage(http.StatusBadRequest, f, nil)
	}
	in := fields.newKey(f)
	made, commit, err := v.svc().CreateKey(v.ctx(), v.once(f), in)
	if err != nil {
		status, err := fields.refuse(f, err)
		if err != nil {
			return err
		}
		return v.newKeyPage(status, f, nil)
	}
	secretID := "" // of a retry, whose key may have lost it since
	if len(made.Secrets) > 0 {
		secretID = made.Secrets[0].ID
	}
	return v.showSecret(shownSecret{Key: made.Key, Secret: made.ClientSecret, New: true, Told: propagation(commit)}, secretID)
}

// newKey is the fields with the place that the form names. Where it names none, the
// key is made where its maker is.
func (in keyInput) newKey(f *Form) lifecycle.NewKey {
	k := lifecycle.NewKey{Name: in.Name, Description: in.Description, RoleID: in.RoleID, CustomerID: f.Get("customer_id"),
		Enabled: lifecycle.Some(in.Enabled), SessionValiditySeconds: in.SessionValiditySeconds, ExpiresAt: in.ExpiresAt,
		AllowedCIDRs: in.AllowedCIDRs, Labels: in.Labels}
	switch id := f.Get("microtenant_id"); {
	case id != "":
		k.MicrotenantID = lifecycle.Some(id)
	case f.Values.Has("microtenant_id"): // the customer level was chosen, not just nothing
		k.MicrotenantID = lifecycle.Null[string]()
	}
	return k
}

// newKeyCommands tell what is not as it is by itself.
func (v *visit) newKeyCommands(in lifecycle.NewKey) *commands {
	name, role := orPlaceholder(in.Name, "NAME"), orPlaceholder(in.RoleID, "ROLE_ID")
	body := map[string]any{"name": name, "role_id": role}
	cli := []string{"key", "create", "--role", role}
	add := func(member string, value any, args ...string) {
		body[member] = value
		cli = append(cli, args...)
	}
	if in.CustomerID != "" {
		add("customer_id", in.CustomerID, "--customer", in.CustomerID)
	}
	switch {
	case in.MicrotenantID.Null && v.actor.MicrotenantID != "":
		body["microtenant_id"] = nil // left out, it would be the actor's own
	case in.MicrotenantID.Has():
		add("microtenant_id", in.MicrotenantID.Value, "--microtenant", in.MicrotenantID.Value)
	}
	if in.Description != "" {
		add("description", in.Description, "--description", in.Description)
	}
	if !in.Enabled.Value {
		add("enabled", false, "--disabled")
	}
	if n := in.SessionValiditySeconds; n.Has() {
		add("session_validity_seconds", n.Value, "--session-validity", strconv.FormatInt(n.Value, 10))
	}
	if at := in.ExpiresAt; at.Has() {
		text := at.Value.Format(time.RFC3339)
		add("expires_at", text, "--expires", text)
	}
	if len(in.AllowedCIDRs) > 0 {
		body["allowed_cidrs"] = in.AllowedCIDRs
		for _, n := range in.AllowedCIDRs {
			cli = append(cli, "--cidr", n)
		}
	}
	if len(in.Labels) > 0 {
		body["labels"] = in.Labels
		for _, label := range slices.Sorted(maps.Keys(in.Labels)) {
			cli = append(cli, "--label", label+"="+in.Labels[label])
		}
	}
	return v.commands(call{Method: "POST", Path: "/v1/keys", Body: body}, naming(cli, name)...)
}
