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
	Short: "Show the roles that keys may be given",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "role", "Show the roles that keys may be given", roleLong, roleExample)
		s.addRoleList(cmd)
	},
}

const roleLong = `
Show the roles that keys may be given: what each may do on the resources of the
upstreams, and on Keyreeve's own (keyreeve/keys, keyreeve/locks, ...).`

const roleExample = `
  PROGRAM role list
  PROGRAM role list -o json | jq '.items[] | select(.name == "Operator").permissions'`

// roleItem is a role as the admin API represents it.
type roleItem struct {
	role
	Description string                     `json:"description"`
	Predefined  bool                       `json:"predefined"`
	Permissions map[string]json.RawMessage `json:"permissions"`
	Created     string                     `json:"created_at"`
	Modified    string                     `json:"modified_at"`
}

var roleList = listingOf(rolesPath, "roles",
	[]string{"NAME", "CUSTOMER", "PERMISSIONS", "DESCRIPTION", "ID"},
	[]string{"id", "name", "description", "customer_id", "predefined", "permissions", "created_at", "modified_at"},
	func(r *roleItem, _ bool) []string {
		return []string{printable(r.Name), firstOf(printable(r.CustomerID), "every"), printable(r.permissions()), orDash(r.Description), printable(r.ID)}
	},
	func(r *roleItem) []string {
		return []string{r.ID, r.Name, r.Description, r.CustomerID, strconv.FormatBool(r.Predefined), r.permissions(), r.Created, r.Modified}
	})

// permissions is such as `keyreeve/keys=view segments=full servers=read,update`.
func (r *roleItem) permissions() string {
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
	return strings.Join(words, " ")
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
