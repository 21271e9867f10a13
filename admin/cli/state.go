package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// stateVersion is that of the files that `export` writes and `apply` reads.
const stateVersion = 1

// A member's value is read into one form whichever way it was written, in the
// file or by the API, so that the two can be compared.
type memberForm func(value any) (any, error)

// stateMember is one member of a record in a state file.
type stateMember struct {
	name string
	form memberForm
	// fixed members are given when the record is made and never change.
	fixed bool
	// nullable members take null.
	nullable bool
	// required members cannot be left out.
	required bool
}

// stateKind is one kind of record: a section of the file.
type stateKind struct {
	// name is the section's, one is a single record in messages.
	name, one string
	path      string
	members   []stateMember
}

const (
	customersSection    = "customers"
	microtenantsSection = "microtenants"
	rolesSection        = "roles"
	sourcesSection      = "sources"
	keysSection         = "keys"
)

// stateKinds are in the order in which records depend on each other. The names
// are the API's, but for `role` and `max_role`: the id of a role, or its name,
// which is the same in another installation.
var stateKinds = []stateKind{
	{customersSection, "customer", "/v1/customers", []stateMember{
		{name: "id", form: textForm, fixed: true, required: true},
		{name: "name", form: textForm},
		{name: "enabled", form: truthForm},
	}},
	{microtenantsSection, "microtenant", "/v1/microtenants", []stateMember{
		{name: "id", form: textForm, fixed: true, required: true},
		{name: "customer_id", form: textForm, fixed: true},
		{name: "name", form: textForm},
		{name: "enabled", form: truthForm},
	}},
	{rolesSection, "role", rolesPath, []stateMember{
		{name: "name", form: textForm, fixed: true, required: true},
		{name: "customer_id", form: textForm, fixed: true, nullable: true},
		{name: "description", form: textForm, nullable: true},
		{name: "permissions", form: grantsForm, nullable: true},
	}},
	{sourcesSection, "source", sourcesPath, []stateMember{
		{name: "name", form: textForm, fixed: true, required: true},
		{name: "customer_id", form: textForm, fixed: true},
		{name: "owner", form: textForm, nullable: true},
		{name: "rule", form: textForm},
		{name: "max_role", form: textForm},
	}},
	{keysSection, "key", keysPath, []stateMember{
		{name: "client_id", form: textForm, fixed: true},
		{name: "name", form: textForm, required: true},
		{name: "description", form: textForm, nullable: true},
		{name: "customer_id", form: textForm, fixed: true},
		{name: "microtenant_id", form: textForm, fixed: true, nullable: true},
		{name: "role", form: textForm},
		{name: "enabled", form: truthForm},
		{name: "session_validity_seconds", form: numberForm, nullable: true},
		{name: "expires_at", form: timeForm, nullable: true},
		{name: "allowed_cidrs", form: networksForm, nullable: true},
		{name: "labels", form: labelsForm, nullable: true},
		{name: "secret_sha256", form: textForm, fixed: true},
	}},
}

// kindOf is the kind of that section, nil if there is none.
func kindOf(section string) *stateKind {
	for i := range stateKinds {
		if stateKinds[i].name == section {
			return &stateKinds[i]
		}
	}
	return nil
}

func (k *stateKind) member(name string) *stateMember {
	for i := range k.members {
		if k.members[i].name == name {
			return &k.members[i]
		}
	}
	return nil
}

func (k *stateKind) names() string {
	names := make([]string, len(k.members))
	for i, m := range k.members {
		names[i] = m.name
	}
	return strings.Join(names, ", ")
}

// record is the members of a record that are given, each in its form. A null is
// nil, which empty lists, maps and texts that may be null are too.
type record map[string]any

// text is a member that is text; "" for one that is null or left out.
func (r record) text(member string) string {
	text, _ := r[member].(string)
	return text
}

// differs lists the members of r that are something else in there.
func (r record) differs(kind *stateKind, there record) []string {
	var names []string
	for _, m := range kind.members {
		want, given := r[m.name]
		if given && m.name != "secret_sha256" && !sameValue(want, there[m.name]) {
			names = append(names, m.name)
		}
	}
	return names
}

func sameValue(a, b any) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(x) == string(y)
}

// read puts a member's value into its form.
func (m *stateMember) read(value any) (any, error) {
	if value == nil {
		if !m.nullable {
			return nil, errors.New("cannot be null; leave it out to keep what is there")
		}
		return nil, nil
	}
	form, err := m.form(value)
	if err != nil || !m.nullable {
		return form, err
	}
	switch v := form.(type) {
	case string:
		if v == "" {
			return nil, nil
		}
	case []string:
		if len(v) == 0 {
			return nil, nil
		}
	case map[string]any:
		if len(v) == 0 {
			return nil, nil
		}
	}
	return form, nil
}

func textForm(value any) (any, error) {
	text, ok := value.(string)
	if !ok {
		return nil, errors.New("must be text; put it in quotes")
	}
	return norm.NFC.String(text), nil // as the API stores it
}

func truthForm(value any) (any, error) {
	truth, ok := value.(bool)
	if !ok {
		return nil, errors.New("must be true or false")
	}
	return truth, nil
}

func numberForm(value any) (any, error) {
	number, ok := value.(json.Number)
	if !ok {
		return nil, errors.New("must be a whole number")
	}
	n, err := number.Int64()
	if err != nil {
		return nil, errors.New("must be a whole number")
	}
	return n, nil
}

// timeForm is in UTC and milliseconds, the precision of stores.
func timeForm(value any) (any, error) {
	at, ok := value.(time.Time) // YAML knows times
	if !ok {
		text, _ := value.(string)
		var err error
		if at, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, errors.New("must be a time such as 2030-01-02T15:04:05Z")
		}
	}
	return at.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano), nil
}

// networksForm is sorted: the order of networks means nothing.
func networksForm(value any) (any, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, errors.New("must be a list of networks")
	}
	networks := make([]string, 0, len(list))
	for _, v := range list {
		text, _ := v.(string)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("holds %q, expected networks such as 192.0.2.0/24", printable(fmt.Sprint(v)))
		}
		networks = append(networks, p.String())
	}
	slices.Sort(networks)
	return slices.Compact(networks), nil
}

func labelsForm(value any) (any, error) {
	labels, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("must be a map of names to texts")
	}
	out := make(map[string]any, len(labels))
	for name, v := range labels {
		text, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("holds the label %q whose value is not text; put it in quotes", printable(name))
		}
		out[name] = norm.NFC.String(text)
	}
	return out, nil
}

// actionOrder is the API's.
var actionOrder = []string{"read", "create", "update", "delete"}

// grantsForm is a role's permissions as the API writes them: full, view, or the
// other sets of actions in their order.
func grantsForm(value any) (any, error) {
	grants, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("must be a map of resources to full, view or a list of actions")
	}
	out := make(map[string]any, len(grants))
	for resource, v := range grants {
		if level, ok := v.(string); ok && (level == "full" || level == "view") {
			out[resource] = level
			continue
		}
		list, ok := v.([]any)
		held := map[string]bool{}
		for _, one := range list {
			action, _ := one.(string)
			ok = ok && slices.Contains(actionOrder, action)
			held[action] = true
		}
		if !ok || len(held) == 0 {
			return nil, fmt.Errorf("grants on %q neither full nor view nor a list of %s", printable(resource), strings.Join(actionOrder, ", "))
		}
		out[resource] = grantOf(held)
	}
	return out, nil
}

func grantOf(held map[string]bool) any {
	switch {
	case len(held) == len(actionOrder):
		return "full"
	case len(held) == 1 && held["read"]:
		return "view"
	}
	return slices.DeleteFunc(slices.Clone(actionOrder), func(a string) bool { return !held[a] })
}
