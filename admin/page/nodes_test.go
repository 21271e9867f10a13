package page

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
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
	lacks(t, body, "former process")
	nodes[1].Former = true
	body = b.get("/keyreeve/nodes").body
	require.Regexp(t, `b\.example\.com</span> <span class="badge plain">former process</span>`, body)
	holds(t, body, "Another process has taken its place")
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

// amongNodes puts the page among nodes of which edge-2 has nothing and may accept for
// another minute.
func (w *world) amongNodes() *storetest.Nodes {
	nodes := storetest.WithNodes(w.store)
	now := w.clock.Now().Wall
	registered := func(id, name string, position keystore.Revision) keystore.Registered {
		return keystore.Registered{Registration: keystore.Registration{ID: id, Name: name, Position: position, Started: now, MaxStale: 5 * time.Minute, Lease: 305 * time.Second},
			Renewed: now, Until: now.Add(time.Minute), Left: time.Minute}
	}
	nodes.Put(registered("node_1", "edge-1", 1<<40), registered("node_2", "edge-2", 0))
	w.page.svc = lifecycle.New(lifecycle.Config{Store: nodes, Keyring: w.ring, Propagation: nodes.Propagate, Nodes: func(context.Context) ([]lifecycle.Node, error) {
		var all []lifecycle.Node
		for _, r := range nodes.List() {
			all = lifecycle.AddRegistered(all, &r, "postgres")
		}
		return all, nil
	}})
	return nodes
}

func TestANoticeNamesTheNodesThatMayGoOnAsBefore(t *testing.T) {
	w := newWorld(t)
	k := w.key(lifecycle.NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	other := w.key(lifecycle.NewKey{Name: "other", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	nodes := w.amongNodes()
	until := w.clock.Now().Wall.Add(time.Minute).UTC().Add(time.Second).Format("15:04:05")
	end := func(b *browser, id string) string {
		b.post("/keyreeve/keys/"+id+"/sessions/end", url.Values{})
		return b.get("/keyreeve/keys/" + id).body
	}
	body := end(w.as(w.operator), k.ID)
	holds(t, body, "All sessions of “k” ended. It is stored and need not be done again, but edge-2 may go on as before until "+until+" UTC at the latest.")
	third := nodes.List()[1]
	third.ID, third.Name = "node_3", "edge-3"
	nodes.Put(third)
	body = end(w.as(w.operator), other.ID)
	holds(t, body, "but edge-2 and edge-3 may go on as before until")
	require.Equal(t, " One node has not confirmed it yet.", propagation(lifecycle.Commit{Propagation: lifecycle.Propagation{Pending: make([]lifecycle.PendingNode, 1)}}))
	require.Equal(t, " It is stored and need not be done again, but 2 nodes may go on as before.",
		propagation(lifecycle.Commit{Unconfirmed: true, Propagation: lifecycle.Propagation{Pending: make([]lifecycle.PendingNode, 2)}}), "until when is not known")
	require.Empty(t, propagation(lifecycle.Commit{}))
}

func TestANodeThatServesNoMoreIsForgottenInADialog(t *testing.T) {
	w := newWorld(t)
	nodes := w.amongNodes()
	b := w.as(w.operator)
	lacks(t, b.get("/keyreeve/nodes").body, "/forget")
	a := b.post("/keyreeve/nodes/node_2/forget", url.Values{})
	require.Equal(t, http.StatusConflict, a.StatusCode)
	holds(t, a.body, "may still serve, until")
	gone := nodes.List()[1]
	gone.Left, gone.Until = 0, w.clock.Now().Wall
	nodes.Put(gone)
	body := b.get("/keyreeve/nodes").body
	holds(t, body, `href="/keyreeve/nodes/node_2/forget"`)
	holds(t, b.get("/keyreeve/nodes/node_2/forget").body, "Forget the node edge-2")
	holds(t, b.get("/keyreeve/nodes/node_2/forget").body, "keyreeve node forget node_2 --yes")
	require.Equal(t, http.StatusForbidden, w.as(w.admin).get("/keyreeve/nodes/node_2/forget").StatusCode)
	require.Equal(t, http.StatusForbidden, w.as(w.admin).post("/keyreeve/nodes/node_2/forget", url.Values{}).StatusCode)
	b.post("/keyreeve/nodes/node_2/forget", url.Values{})
	holds(t, b.get("/keyreeve/nodes").body, "The node edge-2 is forgotten.")
	require.Len(t, nodes.List(), 1)
	require.Equal(t, http.StatusNotFound, b.get("/keyreeve/nodes/node_2/forget").StatusCode)
}

func TestEveryPageSaysThatTheStoreWasRestoredUntilThatIsAccepted(t *testing.T) {
	w := newWorld(t)
	nodes := w.amongNodes()
	b := w.as(w.operator)
	lacks(t, b.get("/keyreeve/keys").body, "went back to an earlier state")
	holds(t, b.get("/keyreeve/nodes/accept-restore").body, "There is nothing to accept")
	nodes.Restore(keystore.Restore{Noticed: w.clock.Now().Wall, From: 99, To: 42, Replayed: 3})
	holds(t, b.get("/keyreeve/keys").body, "The key store went back to an earlier state.")
	holds(t, b.get("/keyreeve/keys").body, `href="/keyreeve/nodes/accept-restore"`)
	body := w.as(w.viewer).get("/keyreeve/keys").body
	holds(t, body, "An operator has to accept it.")
	lacks(t, body, "accept-restore")
	a := b.post("/keyreeve/keys/"+w.viewer.ID+"/sessions/end", url.Values{})
	require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	holds(t, a.body, "nothing can be changed until an operator accepts that")
	holds(t, b.get("/keyreeve/nodes/accept-restore").body, "revision 99")
	holds(t, b.get("/keyreeve/nodes/accept-restore").body, "it stood at 42")
	holds(t, b.get("/keyreeve/nodes/accept-restore").body, "3 things")
	require.Equal(t, http.StatusForbidden, w.as(w.admin).post("/keyreeve/nodes/accept-restore", url.Values{}).StatusCode)
	b.post("/keyreeve/nodes/accept-restore", url.Values{})
	body = b.get("/keyreeve/nodes").body
	holds(t, body, "The restored key store is accepted.")
	lacks(t, body, "went back to an earlier state")
	holds(t, b.get("/keyreeve/audit").body, "accepted the restored")
}

func TestAWriteWhoseEndIsNotKnownIsToldSo(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	w.page.svc = lifecycle.New(lifecycle.Config{Store: doubtful{w.store}, Keyring: w.ring})
	a := b.post("/keyreeve/keys/"+w.viewer.ID+"/sessions/end", url.Values{})
	require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	holds(t, a.body, "It may be done or not")
	holds(t, a.body, "store_in_doubt")
	lacks(t, a.body, "Nothing was written")
	require.Empty(t, a.Header.Get("Retry-After"))
}

// doubtful loses the store in each commit.
type doubtful struct{ lifecycle.Store }

func (doubtful) Update(context.Context, func(keystore.Tx) error) (keystore.Revision, error) {
	return 0, keystore.ErrInDoubt
}
