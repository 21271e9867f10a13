package page

import (
	"context"
	"html"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// nodes puts these nodes under the page.
func (w *world) nodes(nodes *[]lifecycle.Node) {
	w.page.svc = lifecycle.New(lifecycle.Config{Store: w.store, Keyring: w.ring, Nodes: func(context.Context) ([]lifecycle.Node, error) { return *nodes, nil }})
}

func node(id, state string, position int64) lifecycle.Node {
	return lifecycle.Node{ID: "node_" + id, Name: id + ".example.com", State: state, Position: keystore.Revision(position), AppliedAt: time.Now(), StartedAt: time.Now().Add(-time.Hour),
		Store: "postgres", MaxStaleSeconds: 300}
}

func TestTheNodesSayWhatTheirStatesMean(t *testing.T) {
	w := newWorld(t)
	nodes := []lifecycle.Node{node("a", lifecycle.NodeServing, 42)}
	nodes[0].Store, nodes[0].Self = "sqlite", true
	w.nodes(&nodes)
	b := w.as(w.operator)
	body := b.get("/keyreeve/nodes").body
	holds(t, body, "This is the only node.")
	holds(t, body, "SQLite file")
	lacks(t, body, "behind</span>")

	nodes = append(nodes, node("b", lifecycle.NodeLagging, 40), node("c", lifecycle.NodeRefusing, 2))
	body = b.get("/keyreeve/nodes").body
	lacks(t, body, "This is the only node.")
	holds(t, body, "2 of 3 nodes cannot follow the key store")
	holds(t, body, "2 behind")
	holds(t, body, "40 behind")
	holds(t, body, "data-countdown", "until the lagging one refuses")
	require.Equal(t, []string{"a.example.com", "b.example.com", "c.example.com"}, b.get("/keyreeve/nodes").names())
	require.Equal(t, http.StatusForbidden, w.as(w.admin).get("/keyreeve/nodes").StatusCode)
	require.Equal(t, http.StatusForbidden, w.as(w.admin).get("/keyreeve/nodes/live", "HX-Request", "true").StatusCode)
}

func TestNodesAreToldAnewInPlaceUntilOneChangesItsState(t *testing.T) {
	w := newWorld(t)
	nodes := []lifecycle.Node{node("a", lifecycle.NodeServing, 42), node("b", lifecycle.NodeServing, 42)}
	w.nodes(&nodes)
	b := w.as(w.operator)
	m := regexp.MustCompile(`hx-get="(/keyreeve/nodes/live[^"]*)"`).FindStringSubmatch(b.get("/keyreeve/nodes").body)
	require.NotNil(t, m)
	live := html.UnescapeString(m[1])
	nodes[0].Position = 43
	a := b.get(live, "HX-Request", "true")
	require.Regexp(t, `id="position-node_a" hx-swap-oob="true">43<`, a.body)
	require.Regexp(t, `id="position-node_b" hx-swap-oob="true">42<span class="why">1 behind`, a.body)
	require.Empty(t, a.Header.Get("HX-Retarget"))
	lacks(t, a.body, "data-say", "numbers are not read out")
	nodes[1].State = lifecycle.NodeLagging
	a = b.get(live, "HX-Request", "true")
	require.Equal(t, "#nodes", a.Header.Get("HX-Retarget"))
	holds(t, a.body, "data-say")
	require.Equal(t, "/keyreeve/nodes", b.get(live).Header.Get("Location"))
}
