package page

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

const nodesPath = root + "nodes"

func (p *Page) addNodes() {
	p.get(nodesPath, (*visit).listNodes)
	p.add("GET "+nodesPath+"/live", route{handle: (*visit).liveNodes, passive: true})
	p.get(nodesPath+"/{id}/forget", (*visit).askForgetNode)
	p.post(nodesPath+"/{id}/forget", (*visit).forgetNode)
	p.get(acceptRestorePath, (*visit).askAcceptRestore)
	p.post(acceptRestorePath, (*visit).acceptRestore)
}

// nodeRow is a node as the page shows it.
type nodeRow struct {
	lifecycle.Node
	// Behind is how many revisions the furthest node is ahead of it.
	Behind keystore.Revision
	// RefusesAt is when it stops to serve, if it hears nothing until then; nil where
	// it follows the store, or refuses already.
	RefusesAt *time.Time
}

// Forgettable reports a node that is sure to serve no more, so that it may be forgotten.
func (n nodeRow) Forgettable() bool { return n.Fenced && !n.Self }

// Path is where the node's own dialogs are.
func (n nodeRow) Path() string { return nodesPath + "/" + url.PathEscape(n.ID) }

// MaxStale is how long it serves without the store, in words.
func (n nodeRow) MaxStale() string {
	if n.MaxStaleSeconds == 0 {
		return ""
	}
	return spell(time.Duration(n.MaxStaleSeconds) * time.Second)
}

// nodeList is the data of the page.
type nodeList struct {
	*listed[nodeRow]
	Restored *lifecycle.StoreRestored
	// Unwell counts the nodes on this page that do not follow the store.
	Unwell int
	// Live is what they are asked for again with.
	Live string
	// seen is which nodes are shown, and in what states.
	seen string
}

// Only is the node that is the only one, nil where there are others.
func (d *nodeList) Only() *nodeRow {
	if d.Total != 1 || len(d.Items) != 1 {
		return nil
	}
	return &d.Items[0]
}

// States are those that the nodes are in, so that each can be explained.
func (d *nodeList) States() map[string]bool {
	in := map[string]bool{}
	for _, n := range d.Items {
		in[n.State] = true
	}
	return in
}

// Formers reports whether there is one whose place another has taken.
func (d *nodeList) Formers() bool {
	return slices.ContainsFunc(d.Items, func(n nodeRow) bool { return n.Former })
}

func (v *visit) listNodes() error {
	d, err := v.nodes()
	if err != nil {
		return err
	}
	return v.show(view{Page: "nodes", Block: "nodes", Title: "Nodes", Data: d})
}

// nodes reads the list.
func (v *visit) nodes() (*nodeList, error) {
	q := listQuery(nodesPath, v.r.URL.Query())
	var found lifecycle.Nodes
	page, err := readList(v, NewForm(nil), q, "#nodes", func(at lifecycle.Paging) (_ lifecycle.Page[nodeRow], err error) {
		found, err = v.svc().ListNodes(v.ctx(), v.actor, lifecycle.NodeFilter{Paging: at})
		return pageAs(found.Page, err, func(n lifecycle.Node) (nodeRow, error) { return nodeRow{Node: n}, nil })
	})
	if err != nil {
		return nil, err
	}
	d := &nodeList{listed: page, Restored: found.Restored}
	head := found.Head
	for _, n := range d.Items { // one may have followed it further since
		head = max(head, n.Position)
	}
	var seen []string
	for i := range d.Items {
		n := &d.Items[i]
		n.Behind = head - n.Position
		switch {
		case n.State != lifecycle.NodeLagging && n.State != lifecycle.NodeStopped || n.Fenced:
		case n.AcceptsUntil != nil:
			n.RefusesAt = n.AcceptsUntil
		default:
			until := n.AppliedAt.Add(time.Duration(n.MaxStaleSeconds) * time.Second)
			n.RefusesAt = &until
		}
		if n.State == lifecycle.NodeLagging || n.State == lifecycle.NodeRefusing {
			d.Unwell++
		}
		seen = append(seen, fmt.Sprint(n.ID, "=", n.State, n.Fenced))
	}
	live := query{only(q.Values, []string{paramSize, paramPage, paramCursor, paramAt}), nodesPath + "/live", nil}
	d.seen = strings.Join(seen, ",")
	live.Set("seen", d.seen)
	d.Live = live.String()
	return d, nil
}

// liveNodes answers with what changes by itself: where the nodes are the same, and
// in the same states, their numbers each in its place, and otherwise all of the page.
func (v *visit) liveNodes() error {
	if !v.partial() {
		return v.redirect(nodesPath)
	}
	d, err := v.nodes()
	if err != nil {
		return err
	}
	block := "live"
	if d.seen != v.r.URL.Query().Get("seen") {
		block = "nodes"
		v.w.Header().Set("HX-Retarget", "#nodes")
		v.w.Header().Set("HX-Reswap", "outerHTML")
	}
	return v.show(view{Page: "nodes", Block: block, Data: d})
}
