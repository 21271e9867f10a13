package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// pendingNews is that nodes have not confirmed a committed change yet, or that there are none.
type pendingNews struct {
	// nobody: no node is registered.
	nobody bool
	// pending of all nodes; all is 0 where that is not told.
	pending, all int
	// nodes are those that may still accept what the change takes away.
	nodes []pendingNode
}

// pendingNode is a node that may decide as before a change.
type pendingNode struct {
	Node         string `json:"node"`
	AcceptsUntil string `json:"accepts_until"`
}

// pendingIn is what an answer in 2xx says of pending nodes, nil for nothing.
func pendingIn(resp *http.Response, body []byte) *pendingNews {
	var confirmed, pending int
	_, err := fmt.Sscanf(resp.Header.Get("Keyreeve-Propagation"), "confirmed=%d; pending=%d", &confirmed, &pending)
	if err == nil && confirmed == 0 && pending == 0 {
		return &pendingNews{nobody: true}
	}
	known := err == nil && pending > 0
	if !known && resp.StatusCode != http.StatusAccepted {
		return nil
	}
	news := &pendingNews{}
	if known {
		news.pending, news.all = pending, confirmed+pending
	}
	var accepted struct {
		Pending []pendingNode `json:"pending"`
	}
	if resp.StatusCode == http.StatusAccepted && json.Unmarshal(body, &accepted) == nil {
		news.nodes = accepted.Pending
	}
	return news
}

// tellPending notes that nodes have not confirmed a change, or keeps that for later:
// whoever has a later change has those before it too.
func (c *client) tellPending(news *pendingNews) {
	if !c.hold {
		c.console.notePending(news)
		return
	}
	if news != nil && len(news.nodes) == 0 && c.held != nil && c.held.pending == news.pending {
		news.nodes = c.held.nodes // a change that takes nothing away names none
	}
	c.held = news
}

// notePending says that nodes have not confirmed a committed change yet, and which
// where they are named; or that there are none, as where all are still to be started.
func (s *console) notePending(news *pendingNews) {
	if news == nil {
		return
	}
	if news.nobody {
		s.note("committed; no node is registered that would have to hear of it")
		return
	}
	by := "every node"
	if news.all > 0 {
		by = fmt.Sprintf("%d of %d nodes", news.pending, news.all)
	}
	s.note("committed, but not yet confirmed by %s; do not repeat it", by)
	for _, p := range news.nodes {
		until := ""
		if p.AcceptsUntil != "" {
			until = " until " + printable(p.AcceptsUntil)
		}
		s.note("  %s may still accept%s", firstOf(printable(p.Node), "a node"), until)
	}
}
