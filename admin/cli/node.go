package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
)

const nodesPath = "/v1/nodes"

var nodeGroup = Group{
	Name:  "node",
	Short: "Show the nodes that decide on requests",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "node", "Show the nodes that decide on requests", nodeLong, nodeExample)
		s.addNodeList(cmd)
	},
}

const nodeLong = `
Show the nodes that decide on requests, and how far each follows the key store.`

const nodeExample = `
  PROGRAM node list
  PROGRAM node list -o json | jq '.items[] | select(.state != "serving")'`

// nodeItem is a node as the admin API represents it.
type nodeItem struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Self     bool   `json:"self"`
	State    string `json:"state"`
	Position int64  `json:"position"`
	Applied  string `json:"applied_at"`
	Started  string `json:"started_at"`
	Version  string `json:"version"`
	Store    string `json:"store"`
	MaxStale int64  `json:"max_stale_seconds"`
}

var nodeList = listingOf(nodesPath, "nodes",
	[]string{"NAME", "STATE", "REVISION", "APPLIED", "MAX STALE", "STORE", "VERSION", "STARTED", "ID"},
	[]string{"id", "name", "self", "state", "position", "applied_at", "started_at", "version", "store", "max_stale_seconds"},
	func(n *nodeItem, colours bool) []string {
		state := printable(n.State)
		if colours {
			state = paint(state)
		}
		return []string{printable(n.Name), state, strconv.FormatInt(n.Position, 10), shortTime(n.Applied), strconv.FormatInt(n.MaxStale, 10) + " s",
			orDash(n.Store), orDash(n.Version), shortTime(n.Started), printable(n.ID)}
	},
	func(n *nodeItem) []string {
		return []string{n.ID, n.Name, strconv.FormatBool(n.Self), n.State, strconv.FormatInt(n.Position, 10), n.Applied, n.Started,
			n.Version, n.Store, strconv.FormatInt(n.MaxStale, 10)}
	})

func (s *console) addNodeList(parent *cobra.Command) {
	var f pageFlags
	cmd := s.add(parent, verb{
		use:   "list",
		short: "List nodes",
		long: `
List the nodes by name: the server that answers. Others that use the same SQLite
file are not registered. With --config there is none.

A node is serving; lagging, when it cannot follow the key store and serves what
it knows; or refusing, when it could not for longer than max_stale.`,
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
