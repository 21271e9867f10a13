package page

import (
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// maxNamed is how many nodes a notice names: it is read in passing, and kept in a cookie.
const maxNamed = 3

// wrote ends a write that succeeded: done, with a word on what other nodes have yet
// to hear.
func (v *visit) wrote(c lifecycle.Commit, to, message string) error {
	return v.done(to, message+propagation(c))
}

// propagation is what is still to be said of a write, "" where every node has it.
func propagation(c lifecycle.Commit) string {
	who := nodesIn(c.Propagation)
	switch {
	case who == "":
		return ""
	case !c.Unconfirmed && len(c.Pending) == 1:
		return " " + who + " has not confirmed it yet."
	case !c.Unconfirmed:
		return " " + who + " have not confirmed it yet."
	}
	said := " It is stored and need not be done again, but " + lowered(who) + " may go on as before"
	if until := c.Until(); until != nil {
		said += " until " + until.UTC().Truncate(time.Second).Add(time.Second).Format("15:04:05") + " UTC at the latest"
	}
	return said + "."
}

// nodesIn are the pending nodes in words, "" for none: by name where the actor may
// know them.
func nodesIn(p lifecycle.Propagation) string {
	n, names := len(p.Pending), p.Names()
	switch {
	case n == 0:
		return ""
	case len(names) < n && n == 1:
		return "One node"
	case len(names) < n:
		return number(n) + " nodes"
	case n == 1:
		return names[0]
	case n <= maxNamed:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names[:maxNamed], ", ") + " and " + number(n-maxNamed) + " more"
}

// lowered is words in the middle of a sentence; names stay as they are.
func lowered(s string) string {
	if s == "One node" {
		return "one node"
	}
	return s
}
