package cli

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/spf13/cobra"
)

const nodesPath = "/v1/nodes"

var nodeGroup = Group{
	Name:  "node",
	Short: "Show and forget the nodes that decide on requests",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "node", "Show and forget the nodes that decide on requests", nodeLong, nodeExample)
		s.addNodeList(cmd)
		s.addNodeForget(cmd)
		s.addAcceptRestore(cmd)
	},
}

const nodeLong = `
Show the nodes that decide on requests, and how far each follows the key store;
forget those that will not come back; and accept that the key store was restored.

Exit codes: 0 done, 1 error, 2 wrong usage, 4 not authorised, 5 not found,
6 conflict (the node may still serve, or there is nothing to accept).`

const nodeExample = `
  PROGRAM node list
  PROGRAM node forget node_3kq7c2m5x9d1
  PROGRAM node list -o json | jq '.items[] | select(.state != "serving")'`

// nodeItem is a node as the admin API represents it.
type nodeItem struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Self bool   `json:"self"`
	// Former: another process has taken its place.
	Former   bool   `json:"former"`
	State    string `json:"state"`
	Position int64  `json:"position"`
	Applied  string `json:"applied_at"`
	Started  string `json:"started_at"`
	Version  string `json:"version"`
	Store    string `json:"store"`
	MaxStale int64  `json:"max_stale_seconds"`
	Renewed  string `json:"renewed_at"`
	// Lease is in seconds, as the API writes it.
	Lease json.Number `json:"lease_seconds"`
	// Fenced: it is sure to accept nothing by what it knew.
	Fenced bool   `json:"fenced"`
	Until  string `json:"accepts_until"`
}

var nodeList = listingOf(nodesPath, "nodes",
	[]string{"NAME", "STATE", "REVISION", "APPLIED", "UNTIL", "MAX STALE", "STORE", "VERSION", "STARTED", "ID"},
	[]string{"id", "name", "self", "state", "position", "applied_at", "started_at", "version", "store", "max_stale_seconds",
		"renewed_at", "lease_seconds", "fenced", "accepts_until", "former"},
	func(n *nodeItem, colours bool) []string {
		state := printable(n.State)
		if colours {
			state = paint(state)
		}
		if n.Former {
			state += " (former process)"
		}
		return []string{printable(n.Name), state, strconv.FormatInt(n.Position, 10), shortTime(n.Applied), n.ends(), strconv.FormatInt(n.MaxStale, 10) + " s",
			orDash(n.Store), orDash(n.Version), shortTime(n.Started), printable(n.ID)}
	},
	func(n *nodeItem) []string {
		return []string{n.ID, n.Name, strconv.FormatBool(n.Self), n.State, strconv.FormatInt(n.Position, 10), n.Applied, n.Started,
			n.Version, n.Store, strconv.FormatInt(n.MaxStale, 10), n.Renewed, n.Lease.String(), strconv.FormatBool(n.Fenced), n.Until, strconv.FormatBool(n.Former)}
	})

// ends is when a node stops to accept that does not follow the store.
func (n *nodeItem) ends() string {
	if n.State == "serving" {
		return "-"
	}
	return orDash(shortTime(n.Until))
}

func (s *console) addNodeList(parent *cobra.Command) {
	var f pageFlags
	cmd := s.add(parent, verb{
		use:   "list",
		short: "List nodes",
		long: `
List the nodes by name. With a SQLite store that is the server that answers:
others that use the same file are not registered, and with --config there is none.

A node is serving; lagging, when it cannot follow the key store, or is behind,
and serves what it knows; refusing, when it could not for longer than max_stale;
or stopped, when it ended in order. A former process is one whose place another
has taken, without proof that it has ended. UNTIL is when a node stops to accept
by what it knows, unless it hears of the key store again.`,
		example: `
  PROGRAM node list
  PROGRAM node list --url https://admin.example.com`,
		run: func(ctx context.Context, c *client, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			return c.list(ctx, nodeList, q, f.all)
		},
	})
	f.register(cmd.Flags(), "nodes")
}
