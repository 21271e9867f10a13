package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Mask is a set of actions, one bit each. The values are those of the system
// Keyreeve models: 1 read, 2 write (update), 4 create, 8 delete.
type Mask uint8

// The actions a route can ask for and a role can hold.
const (
	Read   Mask = 1
	Update Mask = 2
	Create Mask = 4
	Delete Mask = 8

	// View is what `view` grants, Full what `full` grants.
	View = Read
	Full = Read | Update | Create | Delete
)

// maskNames is in the order in which a list of actions is written out.
var maskNames = []struct {
	mask Mask
	name string
}{{Read, "read"}, {Create, "create"}, {Update, "update"}, {Delete, "delete"}}

// Has reports whether every action of want is in m.
func (m Mask) Has(want Mask) bool { return m&want == want }

// Names lists the actions of m as words, in the order read, create, update, delete.
func (m Mask) Names() []string {
	names := make([]string, 0, len(maskNames))
	for _, n := range maskNames {
		if m.Has(n.mask) {
			names = append(names, n.name)
		}
	}
	return names
}

// String is `full`, `none`, or the words of the actions separated by commas.
func (m Mask) String() string {
	switch m {
	case Full:
		return "full"
	case 0:
		return "none"
	}
	return strings.Join(m.Names(), ",")
}

// ParseAction reads one action word: read, create, update or delete.
func ParseAction(word string) (Mask, error) {
	for _, n := range maskNames {
		if n.name == word {
			return n.mask, nil
		}
	}
	return 0, fmt.Errorf("unknown action %q, expected read, create, update or delete", word)
}

// MarshalJSON writes `"full"`, `"view"` or the list of action words.
func (m Mask) MarshalJSON() ([]byte, error) {
	switch m {
	case Full:
		return []byte(`"full"`), nil
	case View:
		return []byte(`"view"`), nil
	}
	return json.Marshal(m.Names())
}

// UnmarshalJSON reads what MarshalJSON writes; any other value is an error.
func (m *Mask) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	if len(data) > 0 && data[0] == '"' {
		var level string
		if err := json.Unmarshal(data, &level); err != nil {
			return err
		}
		switch level {
		case "full":
			*m = Full
		case "view":
			*m = View
		default:
			return fmt.Errorf("unknown permission level %q, expected full, view or a list of read, create, update, delete", level)
		}
		return nil
	}
	var words []string
	if err := json.Unmarshal(data, &words); err != nil {
		return fmt.Errorf("a permission is full, view or a list of read, create, update, delete")
	}
	if len(words) == 0 {
		return fmt.Errorf("a permission list is empty; leave the entry out to grant nothing")
	}
	var sum Mask
	for _, w := range words {
		a, err := ParseAction(w)
		if err != nil {
			return err
		}
		sum |= a
	}
	*m = sum
	return nil
}

// Permissions maps a resource, a group of resources, or `*` (every resource of
// the upstreams) to the actions granted on it. Resources under `keyreeve/` are
// Keyreeve's own (the admin API); `*` does not reach them, they must be named,
// singly or as `keyreeve/*`.
type Permissions map[string]Mask

// OwnPrefix starts the names of Keyreeve's own resources.
const OwnPrefix = "keyreeve/"

// On is the mask granted on resource, which belongs to group ("" for none): the
// union of every entry that covers it, so the highest of overlapping entries wins.
func (p Permissions) On(resource, group string) Mask {
	if strings.HasPrefix(resource, OwnPrefix) {
		return p[resource] | p[OwnPrefix+"*"]
	}
	m := p[resource] | p["*"]
	if group != "" {
		m |= p[group]
	}
	return m
}

// Allow reports whether On grants every action of want. A role over everything,
// the usual kind, takes one look instead of three.
func (p Permissions) Allow(resource, group string, want Mask) bool {
	if p["*"].Has(want) && !strings.HasPrefix(resource, OwnPrefix) {
		return true
	}
	return p.On(resource, group).Has(want)
}

// Within reports whether p grants nothing that holder does not, over any policy:
// the subset rule for minting keys and editing roles. groupOf names the group a
// resource belongs to in a loaded policy ("" if none or unknown). A group entry
// is within holder only where holder has that very group or `*`: group
// membership may change with the policy, so members do not add up to a group.
func (p Permissions) Within(holder Permissions, groupOf func(resource string) string) bool {
	for name, m := range p {
		if !p.entryHeld(name, m, holder, groupOf) {
			return false
		}
	}
	return true
}

func (p Permissions) entryHeld(name string, m Mask, holder Permissions, groupOf func(string) string) bool {
	switch {
	case name == "*":
		return holder["*"].Has(m)
	case strings.HasPrefix(name, OwnPrefix):
		return (holder[name] | holder[OwnPrefix+"*"]).Has(m)
	default:
		group := ""
		if groupOf != nil {
			group = groupOf(name)
		}
		return holder.On(name, group).Has(m)
	}
}

// Clone is a copy that shares nothing with p.
func (p Permissions) Clone() Permissions {
	c := make(Permissions, len(p))
	for k, v := range p {
		c[k] = v
	}
	return c
}
