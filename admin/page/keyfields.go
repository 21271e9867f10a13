package page

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// The fields of a key, as the dialogs that make and change one share them:
//
//	d.Fields, err = v.keyFields(f, customerID)  {{template "key-fields" .Data.Fields}}
//	f := NewForm(keyValues(key))                what the form shows first
//	in := readKeyFields(f, now)                 what was sent; faults stand in f
//	patch := in.patch(key)                      only what differs from the key
//	status, err := in.refuse(f, err)            lifecycle's refusal, at the lines it is about

// expiryLayout is how browsers send a date with a time; it has no zone, ours is UTC.
const expiryLayout = "2006-01-02T15:04"

// Values of the field `expires` besides a number of days.
const (
	expiresNever = "never"
	expiresAt    = "at"
)

// keyFields is what the part `key-fields` is given.
type keyFields struct {
	*Form
	lifecycle.KeyOptions
	Cards []roleCard
	// Fresh: nothing was sent yet, so the focus goes to the first field.
	Fresh bool
}

// roleCard is a role to choose, with what it means.
type roleCard struct {
	lifecycle.RoleOption
	// Words are what its keys may do, Note is what to think of twice.
	Words  []string
	Note   string
	Chosen bool
}

// keyFields reads what there is to choose from for a key of this customer; "" is
// the actor's own.
func (v *visit) keyFields(f *Form, customerID string) (*keyFields, error) {
	options, err := v.svc().KeyOptions(v.ctx(), v.actor, customerID)
	if err != nil {
		return nil, err
	}
	d := &keyFields{Form: f, KeyOptions: options, Fresh: !f.Values.Has("once") && !f.Values.Has("version")}
	for _, one := range options.Roles {
		card := roleCard{RoleOption: one, Chosen: one.ID == f.Get("role_id")}
		if one.Refused == "" {
			card.Words, card.Note = v.titles().roleWords(one.Permissions), roleNote(one)
		}
		d.Cards = append(d.Cards, card)
	}
	slices.SortStableFunc(d.Cards, func(a, b roleCard) int {
		return cmp.Or(rank(a.Refused != "") - rank(b.Refused != ""))
	})
	return d, nil
}

func rank(last bool) int {
	if last {
		return 1
	}
	return 0
}

// roleNote says it where a role's keys administer Keyreeve itself, "" where not.
func roleNote(r lifecycle.RoleOption) string {
	switch own := r.Permissions[policy.OwnPrefix+"*"]; {
	case r.ID == keystore.RoleOperator:
		return "Everything, for every customer, administration included"
	case own == policy.Full && r.Permissions["*"] == policy.Full:
		return "Everything, administration of Keyreeve included"
	}
	for name, m := range r.Permissions {
		if strings.HasPrefix(name, policy.OwnPrefix) && m&^policy.Read != 0 {
			return "Administers Keyreeve"
		}
	}
	return ""
}

// ValidityHint tells the bounds and the default of a session validity.
func (d *keyFields) ValidityHint() string {
	return fmt.Sprintf("How long an access token lives: %s to %s s. Empty is the default, %s s (%s).", number(int(d.MinValidity.Seconds())),
		number(int(d.MaxValidity.Seconds())), number(int(d.DefaultValidity.Seconds())), spell(d.DefaultValidity))
}

// Validities are usual ones within the bounds, in seconds.
func (d *keyFields) Validities() []Choice {
	var all []Choice
	for _, usual := range []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour} {
		if usual >= d.MinValidity && usual <= d.MaxValidity {
			all = append(all, Choice{Value: strconv.Itoa(int(usual.Seconds())), Label: spell(usual)})
		}
	}
	return all
}

// Expiries are the choices of when the key ends.
func (d *keyFields) Expiries() []Choice {
	return []Choice{{Value: expiresNever, Label: "Never"}, {Value: "30", Label: "30 days"}, {Value: "90", Label: "90 days"},
		{Value: "365", Label: "1 year"}, {Value: expiresAt, Label: "On a date"}}
}

// NetworksHint says what may stand in the list of networks.
func (d *keyFields) NetworksHint() string {
	hint := "One network a line, such as 192.0.2.0/24 or 2001:db8::/32. None is anywhere."
	if len(d.Networks) > 0 {
		var own []string
		for _, n := range d.Networks {
			own = append(own, n.String())
		}
		hint = "One network a line, each inside those of your own key: " + strings.Join(own, ", ") + "."
	}
	return hint
}

// keyInput is what a form says of a key.
type keyInput struct {
	Name, Description, RoleID string
	Enabled                   bool
	// SessionValiditySeconds is null for the default, ExpiresAt for never.
	SessionValiditySeconds lifecycle.Optional[int64]
	ExpiresAt              lifecycle.Optional[time.Time]
	AllowedCIDRs           []string
	Labels                 map[string]string
	// lines are those that the networks stood in, counted from 1.
	lines []int
}

// readKeyFields reads what was sent; what cannot be read is marked in the form.
// now is what the presets of the end count from.
func readKeyFields(f *Form, now time.Time) keyInput {
	in := keyInput{Name: strings.TrimSpace(f.Get("name")), Description: unixLines(f.Get("description")), RoleID: f.Get("role_id"),
		Enabled: f.Get("enabled") == "true", SessionValiditySeconds: lifecycle.Null[int64](), ExpiresAt: lifecycle.Null[time.Time](),
		Labels: map[string]string{}}
	if text := strings.TrimSpace(f.Get("session_validity_seconds")); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			f.Fail("session_validity_seconds", "Must be a whole number of seconds; leave it empty for the default.")
		} else {
			in.SessionValiditySeconds = lifecycle.Some(n)
		}
	}
	in.ExpiresAt = readExpiry(f, now)
	for i, line := range strings.Split(f.Get("allowed_cidrs"), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			in.AllowedCIDRs, in.lines = append(in.AllowedCIDRs, line), append(in.lines, i+1)
		}
	}
	for i, line := range strings.Split(f.Get("labels"), "\n") {
		name, value := splitLabel(line)
		_, twice := in.Labels[name]
		switch {
		case strings.TrimSpace(line) == "":
		case name == "":
			f.Fail("labels", fmt.Sprintf("Line %d: a label begins with its name, such as env=prod.", i+1))
		case twice:
			f.Fail("labels", fmt.Sprintf("Line %d: %s stands there twice.", i+1, name))
		default:
			in.Labels[name] = value
		}
	}
	if f.Failed() {
		f.Summary = "Nothing was done yet: please mend what is marked below."
	}
	return in
}

// splitLabel reads `name=value`, `name: value` or `name` alone.
func splitLabel(line string) (name, value string) {
	if at := strings.IndexAny(line, "=:"); at >= 0 {
		line, value = line[:at], line[at+1:]
	}
	return strings.TrimSpace(line), strings.TrimSpace(value)
}

// readExpiry is when the key ends; null is never.
func readExpiry(f *Form, now time.Time) lifecycle.Optional[time.Time] {
	choice := f.Get("expires")
	switch choice {
	case "", expiresNever:
		return lifecycle.Null[time.Time]()
	case expiresAt:
		text := strings.TrimSpace(f.Get("expires_at"))
		for _, layout := range []string{expiryLayout, expiryLayout + ":05", time.RFC3339, time.DateOnly} {
			if at, err := time.Parse(layout, text); err == nil {
				return lifecycle.Some(at.UTC())
			}
		}
		f.Fail("expires_at", "Give a date and a time, in UTC.")
		return lifecycle.Null[time.Time]()
	}
	days, err := strconv.Atoi(choice)
	if err != nil || days < 1 || days > 36500 {
		f.Fail("expires_at", "Choose when the key ends.")
		return lifecycle.Null[time.Time]()
	}
	return lifecycle.Some(now.UTC().AddDate(0, 0, days).Truncate(time.Minute))
}

// keyValues is a key as the form shows it.
func keyValues(k lifecycle.Key) url.Values {
	values := url.Values{"name": {k.Name}, "description": {k.Description}, "role_id": {k.RoleID}, "expires": {expiresNever}}
	if k.Enabled {
		values.Set("enabled", "true")
	}
	if k.SessionValiditySeconds != nil {
		values.Set("session_validity_seconds", strconv.FormatInt(*k.SessionValiditySeconds, 10))
	}
	if k.ExpiresAt != nil {
		values.Set("expires", expiresAt)
		values.Set("expires_at", k.ExpiresAt.UTC().Format(expiryLayout))
	}
	var lines []string
	for _, n := range k.AllowedCIDRs {
		lines = append(lines, n.String())
	}
	values.Set("allowed_cidrs", strings.Join(lines, "\n"))
	lines = nil
	for _, name := range slices.Sorted(maps.Keys(k.Labels)) {
		lines = append(lines, name+"="+k.Labels[name])
	}
	values.Set("labels", strings.Join(lines, "\n"))
	return values
}

// patch is what differs from the key as the form shows it, so that what a form
// cannot show (the seconds of an end) is not taken for a change.
func (in keyInput) patch(k lifecycle.Key) lifecycle.KeyPatch {
	shown := readKeyFields(NewForm(keyValues(k)), time.Time{})
	var p lifecycle.KeyPatch
	if in.Name != k.Name {
		p.Name = lifecycle.Some(in.Name)
	}
	if in.Description != unixLines(k.Description) {
		p.Description = lifecycle.Some(in.Description)
	}
	if in.RoleID != k.RoleID {
		p.RoleID = lifecycle.Some(in.RoleID)
	}
	if in.Enabled != k.Enabled {
		p.Enabled = lifecycle.Some(in.Enabled)
	}
	if in.SessionValiditySeconds != shown.SessionValiditySeconds {
		p.SessionValiditySeconds = in.SessionValiditySeconds
	}
	if a, b := in.ExpiresAt, shown.ExpiresAt; a.Null != b.Null || !a.Value.Equal(b.Value) {
		p.ExpiresAt = in.ExpiresAt
	}
	if !slices.Equal(in.AllowedCIDRs, shown.AllowedCIDRs) {
		p.AllowedCIDRs = lifecycle.Some(slices.Clip(append([]string{}, in.AllowedCIDRs...)))
	}
	changed := map[string]*string{}
	for name := range shown.Labels {
		if _, stays := in.Labels[name]; !stays {
			changed[name] = nil
		}
	}
	for name, value := range in.Labels {
		if old, had := shown.Labels[name]; !had || old != value {
			changed[name] = &value
		}
	}
	if len(changed) > 0 {
		p.Labels = lifecycle.Some(changed)
	}
	return p
}

// refuse is Form.refuse, which names the lines of the form in place of the members
// of a request.
func (in keyInput) refuse(f *Form, err error) (status int, other error) {
	var refused *lifecycle.Error
	if !errors.As(err, &refused) {
		return f.refuse(err)
	}
	placed := *refused
	placed.Fields = nil
	if refused.Code == lifecycle.CodeValidation {
		placed.Detail = "Nothing was done yet: please mend what is marked below."
	}
	for _, one := range refused.Fields {
		var i int
		if _, scan := fmt.Sscanf(one.Field, "allowed_cidrs[%d]", &i); scan == nil && i >= 0 && i < len(in.lines) {
			one.Field, one.Detail = "allowed_cidrs", fmt.Sprintf("Line %d: %s %s", in.lines[i], in.AllowedCIDRs[i], one.Detail)
		}
		if name, is := strings.CutPrefix(one.Field, "labels."); is {
			one.Field, one.Detail = "labels", name+": "+one.Detail
		}
		placed.Fields = append(placed.Fields, one)
	}
	return f.refuse(&placed)
}

// unixLines is a text as it was typed: forms send two characters for the end of a line.
func unixLines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }
