package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
)

// nodesSeen is what a list of nodes comes to.
type nodesSeen struct {
	count, refusing, stopped int
	// unwell are those that do not follow the store, each in words.
	unwell []string
	// versions counts those that are not stopped by their version.
	versions map[string]int
	restored *restoredItem
}

// examineNodes tells of nodes that cannot follow the store, and of versions that differ.
// A second finding is there only where the store went back.
func (c *client) examineNodes(ctx context.Context) []Finding {
	f := Finding{Check: "nodes", Status: StatusOK}
	seen := nodesSeen{versions: map[string]int{}}
	err := c.eachPage(ctx, nodesPath, url.Values{"page_size": {maxPageSize}}, seen.add)
	switch {
	case f.unasked(err, "keyreeve/nodes"):
		return []Finding{f}
	case err != nil:
		f.Status, f.Detail, f.Advice = StatusFail, err.Error(), "look into the server's log"
		return []Finding{f}
	case len(seen.unwell) > 0:
		f.Status, f.Detail = StatusWarn, named(seen.unwell)
		f.Advice = "make the key store reachable from there; the node's log says what is wrong"
		if seen.refusing > 0 {
			f.Status = StatusFail
			f.Advice += "; one that will not come back is taken out by `node forget`"
		}
	case seen.count == 0:
		f.Detail = "none is registered"
	default:
		f.Detail = fmt.Sprintf("%d, all serving", seen.count-seen.stopped)
		if seen.stopped > 0 {
			f.Detail = fmt.Sprintf("%d serving, %d stopped", seen.count-seen.stopped, seen.stopped)
		}
	}
	if len(seen.versions) > 1 {
		if f.Status == StatusOK {
			f.Status, f.Advice = StatusWarn, "bring all to one version once the new one has proven itself"
		}
		f.Detail += "; versions differ: " + seen.differ()
	}
	all := []Finding{f}
	if seen.restored != nil {
		all = append(all, Finding{"store history", StatusFail, seen.restored.String() + "; nothing can be changed until that is accepted",
			"if this is the database to go on with, accept it by `node accept-restore`; else put the right one in its place"})
	}
	return all
}

// add takes in a page of the list.
func (s *nodesSeen) add(p *page) (err error) {
	if s.restored, err = restoredIn(p); err != nil {
		return err
	}
	for _, item := range p.Items {
		var n nodeItem
		if err := json.Unmarshal(item, &n); err != nil {
			return fmt.Errorf("reading a node: %w", err)
		}
		s.count++
		switch n.State {
		case "stopped":
			s.stopped++
			continue
		case "serving":
		case "refusing":
			s.refusing++
			s.unwell = append(s.unwell, n.Name+" is refusing since "+shortTime(n.Applied))
		default:
			words := n.Name + " is " + n.State + " since " + shortTime(n.Applied) + ", at revision " + fmt.Sprint(n.Position)
			if n.Until != "" {
				words += ", and serves until " + shortTime(n.Until)
			}
			s.unwell = append(s.unwell, words)
		}
		s.versions[firstOf(n.Version, "none told")]++
	}
	return nil
}

// differ lists the versions, and how many nodes have each.
func (s *nodesSeen) differ() string {
	var all []string
	for _, v := range slices.Sorted(maps.Keys(s.versions)) {
		all = append(all, fmt.Sprintf("%s (%d)", v, s.versions[v]))
	}
	return named(all)
}
