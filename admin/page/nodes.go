package page

import (
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

const nodesPath = root + "nodes"

func (p *Page) addNodes() {
	p.get(nodesPath, (*visit).listNodes)
	p.add("GET "+nodesPath+"/live", route{handle: (*visit).liveNodes, passive: true})
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

func (v *visit) listNodes() error {
	d, err := v.nodes()
	if err != nil {
		return err
	}
	return v.show(view{Page: "nodes", Block: "nodes", Title: "Nodes", Data: d})
}

// nodes reads the list. How far each is behind is told against the furthest of them:
// the store's own head is not asked for.
func (v *visit) nodes() (*nodeList, error) {
	q := listQuery(nodesPath, v.r.URL.Query())
	page, err := readList(v, NewForm(nil), q, "#nodes", func(at lifecycle.Paging) (lifecycle.Page[nodeRow], error) {
		found, err := v.svc().ListNodes(v.ctx(), v.actor, lifecycle.NodeFilter{Paging: at})
		return pageAs(found, err, func(n lifecycle.Node) (nodeRow, error) { return nodeRow{Node: n}, nil })
	})
	if err != nil {
		return nil, err
	}
	d := &nodeList{listed: page}
	var head keystore.Revision
	for _, n := range d.Items {
		head = max(head, n.Position)
	}
	var seen []string
	for i := range d.Items {
		n := &d.Items[i]
		n.Behind = head - n.Position
		if n.State == lifecycle.NodeLagging {
			until := n.AppliedAt.Add(time.Duration(n.MaxStaleSeconds) * time.Second)
			n.RefusesAt = &until
		}
		if n.State != lifecycle.NodeServing {
			d.Unwell++
		}
		seen = append(seen, n.ID+"="+n.State)
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
