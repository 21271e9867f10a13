package cli

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

var roleGroup = Group{
	Name:  "role",
	Short: "Manage the roles that keys may be given",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "role", "Manage the roles that keys may be given", roleLong, roleExample)
		s.addRoleCreate(cmd)
		s.addRoleList(cmd)
		s.addRoleShow(cmd)
		s.addRoleEdit(cmd)
		s.addRoleDelete(cmd)
	},
}

const roleLong = `
Manage the roles that keys may be given: what each may do on the resources of the
upstreams, and on Keyreeve's own (keyreeve/keys, keyreeve/locks, ...).

A role is named by its id or its name; what names several is refused (exit code 6),
and "id:" before an id names that role alone. The predefined ones (Operator, API Full
Access, API Read Only) cannot be changed. Nobody makes or changes a role that
grants more than they hold, nor the role of their own key.`

const roleExample = `
  PROGRAM role create Deployers --customer acme --grant segments=full --grant servers=view
  PROGRAM role edit Deployers --grant servers=read,update
  PROGRAM role list -o json | jq '.items[] | select(.name == "Operator").permissions'`

// roleItem is a role as the admin API represents it.
type roleItem struct {
	role
	Description string                     `json:"description"`
	Predefined  bool                       `json:"predefined"`
	KeyCount    *int                       `json:"key_count"` // nil where keys may not be seen
	Permissions map[string]json.RawMessage `json:"permissions"`
	Created     string                     `json:"created_at"`
	Modified    string                     `json:"modified_at"`
}

var roleList = listingOf(rolesPath, "roles",
	[]string{"NAME", "CUSTOMER", "KEYS", "PERMISSIONS", "DESCRIPTION", "ID"},
	[]string{"id", "name", "description", "customer_id", "predefined", "permissions", "created_at", "modified_at", "key_count"},
	func(r *roleItem, _ bool) []string {
		return []string{printable(r.Name), firstOf(printable(r.CustomerID), "every"), firstOf(r.keys(), "-"), printable(r.permissions(" ")), orDash(r.Description), printable(r.ID)}
	},
	func(r *roleItem) []string {
		return []string{r.ID, r.Name, r.Description, r.CustomerID, strconv.FormatBool(r.Predefined), r.permissions(" "), r.Created, r.Modified, r.keys()}
	})

// details are a role's fields for reading.
func (r *roleItem) details() [][]string {
	return [][]string{
		{"Name", printable(r.Name)},
		{"Description", printable(r.Description)},
		{"Customer", firstOf(printable(r.CustomerID), "every")},
		{"Permissions", firstOf(printableLines(r.permissions("\n")), "none")},
		{"Keys", r.keys()},
		{"Created", shortTime(r.Created)},
		{"Modified", shortTime(r.Modified)},
		{"ID", printable(r.ID)},
	}
}

func (r *roleItem) keys() string { return countOf(r.KeyCount) }

// permissions is such as `keyreeve/keys=view segments=full servers=read,update`.
func (r *roleItem) permissions(separator string) string {
	words := make([]string, 0, len(r.Permissions))
	for resource, raw := range r.Permissions {
		var level string
		var actions []string
		if json.Unmarshal(raw, &level) != nil && json.Unmarshal(raw, &actions) == nil {
			level = strings.Join(actions, ",")
		}
		words = append(words, resource+"="+level)
	}
	slices.Sort(words)
	return strings.Join(words, separator)
}

func (s *console) addRoleList(parent *cobra.Command) {
	var text, customer, sort string
	var f pageFlags
	cmd := s.add(parent, verb{
		use:   "list",
		short: "List roles",
		long: `
List the roles that the keys you may see can be given, by name: the predefined
ones, those for every customer and the customer's own.`,
		example: `
  PROGRAM role list
  PROGRAM role list -q audit --customer acme`,
		run: func(ctx context.Context, c *client, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			set(q, map[string]string{"q": text, "customer_id": customer, "sort": sort})
			return c.list(ctx, roleList, q, f.all)
		},
	})
	flags := cmd.Flags()
	flags.StringVarP(&text, "query", "q", "", "found in name, description or id")
	flags.StringVar(&customer, "customer", "", "id of the customer: its roles and those for every customer")
	flags.StringVar(&sort, "sort", "", "name, or -name from last to first (default name)")
	f.register(flags, "roles")
	s.complete(cmd, "sort", "name", "-name")
}
