package cli

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// keysPath and rolesPath are the lists.
const (
	keysPath  = "/v1/keys"
	rolesPath = "/v1/roles"
)

var states = []string{"active", "disabled", "locked", "expired"}

// keyList is the list of keys.
var keyList = listingOf(keysPath, "keys", keyHeader, keyColumns, (*key).row, (*key).cells)

// listFlags are the filters of `key list`.
type listFlags struct {
	text, state, role, source, sort string
	narrow                          narrow
	pageFlags
}

func (s *console) addKeyList(parent *cobra.Command) {
	var f listFlags
	cmd := s.add(parent, verb{
		use:   "list",
		short: "List keys",
		long: `
List the keys that you may see, by name. One page at a time, unless --all
follows the pages to the end. Filters add up: a key must pass each of them.`,
		example: `
  PROGRAM key list
  PROGRAM key list --state locked
  PROGRAM key list -q ci- --sort -created_at --page-size 100
  PROGRAM key list --all -o csv > keys.csv
  PROGRAM key list --all -o json | jq -r '.items[].client_id'`,
		run: func(ctx context.Context, c *client, _ []string) error { return c.listKeys(ctx, f) },
	})
	flags := cmd.Flags()
	flags.StringVarP(&f.text, "query", "q", "", "found in name, description or client ID")
	flags.StringVar(&f.state, "state", "", "one of "+strings.Join(states, ", "))
	flags.StringVar(&f.role, "role", "", "id or name of the role")
	flags.StringVar(&f.source, "source", "", "name of the external system that owns the key")
	f.narrow.registerFilter(flags)
	flags.StringVar(&f.sort, "sort", "", "field to sort by, with - in front from last to first: name, created_at,\nmodified_at, client_id (default name)")
	f.pageFlags.register(flags, "keys")
	s.complete(cmd, "state", states...)
	s.complete(cmd, "sort", "name", "-name", "created_at", "-created_at", "modified_at", "-modified_at", "client_id", "-client_id")
	s.completeRole(cmd)
}

func (c *client) listKeys(ctx context.Context, f listFlags) error {
	q, err := f.query()
	if err != nil {
		return err
	}
	if f.role != "" {
		id, err := c.findRole(ctx, f.role, f.narrow.customer)
		if err != nil {
			return err
		}
		q.Set("role_id", id)
	}
	return c.list(ctx, keyList, q, f.all)
}

func (f *listFlags) query() (url.Values, error) {
	if f.state != "" && !slices.Contains(states, f.state) {
		return nil, usagef("--state %q is no state, expected %s", printable(f.state), strings.Join(states, ", "))
	}
	q, err := f.pageFlags.query()
	if err != nil {
		return nil, err
	}
	f.narrow.apply(q)
	set(q, map[string]string{"q": f.text, "state": f.state, "source": f.source, "sort": f.sort})
	return q, nil
}
