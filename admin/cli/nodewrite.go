package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

func (s *console) addNodeForget(parent *cobra.Command) {
	yes := false
	cmd := s.add(parent, verb{
		use:   "forget NODE",
		short: "Forget a node that will not come back",
		long: `
Forget a node that will not come back, by its id, or by its name where no other
has it: no change waits for it any more. One that may still serve is refused,
with the time when it no longer may: stop it first. One that comes back after all
catches up before it serves, and is listed again. Asks first on a terminal;
elsewhere --yes is needed.`,
		example: `
  PROGRAM node forget node_3kq7c2m5x9d1
  PROGRAM node forget gate-2.example.com --yes`,
		args: []string{"NODE"},
		run: func(ctx context.Context, c *client, args []string) error {
			if err := s.askable(yes); err != nil {
				return err
			}
			n, err := c.findNode(ctx, args[0])
			if err != nil {
				return err
			}
			if !yes && !s.confirm(ctx, fmt.Sprintf("Forget the node %s (%s)?", n.Name, n.ID)) {
				return errors.New("not forgotten")
			}
			if _, err := c.do(ctx, call{method: http.MethodDelete, path: nodesPath + "/" + url.PathEscape(n.ID)}); err != nil {
				return err
			}
			s.note("forgot %s (%s)", printable(n.Name), printable(n.ID))
			return nil
		},
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
}

// findNode is the node of an id, or of a name that one alone has.
func (c *client) findNode(ctx context.Context, ref string) (*nodeItem, error) {
	var named []nodeItem
	var found *nodeItem
	err := c.eachPage(ctx, nodesPath, url.Values{"page_size": {maxPageSize}}, func(p *page) error {
		for _, item := range p.Items {
			var n nodeItem
			if err := json.Unmarshal(item, &n); err != nil {
				return fmt.Errorf("reading a node: %w", err)
			}
			if n.ID == ref {
				found = &n
				return errStop
			}
			if n.Name == ref {
				named = append(named, n)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case found != nil:
		return found, nil
	case len(named) == 0:
		return nil, &codedError{ExitNotFound, "there is no node " + printable(ref) + "; `node list` shows those that there are"}
	case len(named) > 1:
		return nil, &codedError{ExitConflict, strconv.Itoa(len(named)) + " nodes are called " + printable(ref) + "; name one by its id, which `node list` shows"}
	}
	return &named[0], nil
}

// restoredItem is that the key store went back, as the admin API tells of it.
type restoredItem struct {
	Noticed  string `json:"noticed_at"`
	From     int64  `json:"from"`
	To       int64  `json:"to"`
	Replayed int    `json:"replayed"`
}

func (r *restoredItem) String() string {
	return fmt.Sprintf("the key store went back from revision %d to an earlier state, found at revision %d at %s; %s that had been revoked %s revoked again",
		r.From, r.To, shortTime(r.Noticed), plural(r.Replayed, "thing"), map[bool]string{true: "was", false: "were"}[r.Replayed == 1])
}

func (s *console) addAcceptRestore(parent *cobra.Command) {
	yes := false
	cmd := s.add(parent, verb{
		use:   "accept-restore",
		short: "Accept that the key store was restored",
		long: `
Accept that the key store went back to an earlier state, as it does when a backup
is restored. Until then nothing can be changed, while callers are served. Look
first what is lost: keys made since are unknown, and what was changed since is as
it was, but for what was revoked, which stays revoked. Asks first on a terminal;
elsewhere --yes is needed.`,
		example: `
  PROGRAM node accept-restore`,
		run: func(ctx context.Context, c *client, _ []string) error {
			if err := s.askable(yes); err != nil {
				return err
			}
			if !yes {
				r, err := c.restored(ctx)
				if err != nil {
					return err
				}
				if r == nil {
					return &codedError{ExitConflict, "the key store did not go back, or that was accepted already: there is nothing to accept"}
				}
				if !s.confirm(ctx, printable(r.String())+". Accept that?") {
					return errors.New("not accepted")
				}
			}
			if _, err := c.do(ctx, call{method: http.MethodPost, path: nodesPath + "/accept-restore"}); err != nil {
				return err
			}
			s.note("accepted; changes are possible again")
			return nil
		},
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
}

// restored is that the key store went back and nobody has accepted it, nil for not.
func (c *client) restored(ctx context.Context) (*restoredItem, error) {
	p, err := c.page(ctx, nodesPath, url.Values{"page_size": {"1"}})
	if err != nil {
		return nil, err
	}
	return restoredIn(p)
}

// restoredIn is what a page of nodes says of that.
func restoredIn(p *page) (*restoredItem, error) {
	var body struct {
		Restored *restoredItem `json:"restored"`
	}
	if err := json.Unmarshal(p.raw, &body); err != nil {
		return nil, fmt.Errorf("reading the list of nodes: %w", err)
	}
	return body.Restored, nil
}
