package cli

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/keystore"
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
	text, state, role, source, sort            string
	createdAfter, createdBefore, expiresBefore string
	labels                                     []string
	// neverUsed and locked are sent only if given, as what they say.
	neverUsed, locked bool
	given             func(flag string) bool
	narrow            narrow
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
  PROGRAM key list -q ci- --sort -created_at,name --page-size 100
  PROGRAM key list --label stage=prod --expires-before 2027-01-01
  PROGRAM key list --never-used --created-before 2026-01-01
  PROGRAM key list --all -o csv > keys.csv
  PROGRAM key list --all -o json | jq -r '.items[].client_id'`,
		run: func(ctx context.Context, c *client, _ []string) error { return c.listKeys(ctx, &f) },
	})
	flags := cmd.Flags()
	flags.StringVarP(&f.text, "query", "q", "", "found in name, description or client ID")
	flags.StringVar(&f.state, "state", "", "one of "+strings.Join(states, ", "))
	flags.StringVar(&f.role, "role", "", "id or name of the role")
	flags.StringVar(&f.source, "source", "", "name of the external system that owns the key; null for keys of none")
	f.narrow.registerFilter(flags)
	flags.Lookup("microtenant").Usage += "; null for keys at customer level"
	flags.StringArrayVar(&f.labels, "label", nil, "key=value it must have, or key with any value; may be repeated")
	flags.StringVar(&f.createdAfter, "created-after", "", "a time such as 2026-01-01T00:00:00Z, or a day")
	flags.StringVar(&f.createdBefore, "created-before", "", "likewise")
	flags.StringVar(&f.expiresBefore, "expires-before", "", "likewise; keys that never end are left out")
	flags.BoolVar(&f.neverUsed, "never-used", false, "keys that were never used; =false for those that were")
	flags.BoolVar(&f.locked, "locked", false, "keys with a lock in force, disabled and expired ones too; =false for the others")
	flags.StringVar(&f.sort, "sort", "", "fields to sort by, separated by commas, with - in front from last to first:\n"+sortFieldsHelp()+" (default name)")
	f.pageFlags.register(flags, "keys")
	s.complete(cmd, "state", states...)
	s.complete(cmd, "sort", sortValues()...)
	for _, plain := range []string{"label", "created-after", "created-before", "expires-before"} {
		s.complete(cmd, plain) // never a file
	}
	f.given = flags.Changed
	s.completeRole(cmd)
}

func (c *client) listKeys(ctx context.Context, f *listFlags) error {
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
	set(q, map[string]string{"q": f.text, "state": f.state, "source": f.source, "sort": f.sort, "label": f.label(),
		"created_after": f.createdAfter, "created_before": f.createdBefore, "expires_before": f.expiresBefore})
	for flag, value := range map[string]bool{"never-used": f.neverUsed, "locked": f.locked} {
		if f.given(flag) {
			q.Set(strings.ReplaceAll(flag, "-", "_"), strconv.FormatBool(value))
		}
	}
	return q, nil
}

// label is the labels in the API's form: name:value, separated by commas.
func (f *listFlags) label() string {
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	parts := make([]string, len(f.labels))
	for i, l := range f.labels {
		name, value, has := strings.Cut(l, "=")
		parts[i] = escape.Replace(name)
		if has {
			parts[i] += ":" + escape.Replace(value)
		}
	}
	return strings.Join(parts, ",")
}

// sortFieldsHelp lists what keys are sorted by, broken for a help text.
func sortFieldsHelp() string {
	fields := keystore.KeySortFields()
	var lines []string
	for part := range slices.Chunk(fields, 6) {
		lines = append(lines, strings.Join(part, ", "))
	}
	return strings.Join(lines, ",\n")
}

// sortValues is each field, both ways.
func sortValues() []string {
	var values []string
	for _, field := range keystore.KeySortFields() {
		values = append(values, field, "-"+field)
	}
	return values
}
