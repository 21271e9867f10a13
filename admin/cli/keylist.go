package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// keysPath and rolesPath are the lists.
const (
	keysPath  = "/v1/keys"
	rolesPath = "/v1/roles"
)

// maxPageSize is the largest page that the API gives.
const maxPageSize = "500"

var states = []string{"active", "disabled", "locked", "expired"}

// listFlags are the filters of `key list`.
type listFlags struct {
	text, state, role, source, sort, cursor string
	narrow                                  narrow
	pageSize, page                          int
	all                                     bool
}

func (s *console) addKeyList(parent *cobra.Command) {
	var f listFlags
	cmd := s.add(parent, verb{
		use:   "list",
		short: "List keys",
		long: `
List the keys that you may see, by name. One page at a time, unless --all
follows the pages to the end. Filters add up: a key must pass each of them.`,
		example: `
  PROGRAM key list
  PROGRAM key list --state locked
  PROGRAM key list -q ci- --sort -created_at --page-size 100
  PROGRAM key list --all -o csv > keys.csv
  PROGRAM key list --all -o json | jq -r '.items[].client_id'`,
		run: func(ctx context.Context, c *client, _ []string) error { return c.listKeys(ctx, f) },
	})
	flags := cmd.Flags()
	flags.StringVarP(&f.text, "query", "q", "", "found in name, description or client ID")
	flags.StringVar(&f.state, "state", "", "one of "+strings.Join(states, ", "))
	flags.StringVar(&f.role, "role", "", "id or name of the role")
	flags.StringVar(&f.source, "source", "", "name of the external system that owns the key")
	flags.StringVar(&f.narrow.customer, "customer", "", "id of the customer")
	flags.StringVar(&f.narrow.microtenant, "microtenant", "", "id of the microtenant")
	flags.StringVar(&f.sort, "sort", "", "field to sort by, with - in front from last to first: name, created_at,\nmodified_at, client_id (default name)")
	flags.IntVar(&f.pageSize, "page-size", 0, "keys a page, at most "+maxPageSize+" (default 20)")
	flags.IntVar(&f.page, "page", 0, "number of the page, from 1")
	flags.StringVar(&f.cursor, "cursor", "", "continue behind an earlier page, by its next_cursor")
	flags.BoolVar(&f.all, "all", false, "every page")
}

func (c *client) listKeys(ctx context.Context, f listFlags) error {
	q, err := f.query()
	if err != nil {
		return err
	}
	if f.role != "" {
		id, err := c.findRole(ctx, f.role, f.narrow.customer)
		if err != nil {
			return err
		}
		q.Set("role_id", id)
	}
	if f.all {
		return c.listAll(ctx, q)
	}
	p, err := c.page(ctx, keysPath, q)
	if err != nil {
		return err
	}
	if err := c.console.writeKeys(p); err != nil {
		return err
	}
	if p.NextCursor != "" && c.console.out.form != formJSON && c.console.out.form != formYAML {
		c.console.note("%d of %s keys; --all lists every one, --cursor %s the next page",
			len(p.Items), p.total(), printable(p.NextCursor))
	}
	return nil
}

func (f *listFlags) query() (url.Values, error) {
	switch {
	case f.state != "" && !slices.Contains(states, f.state):
		return nil, usagef("--state %q is no state, expected %s", printable(f.state), strings.Join(states, ", "))
	case f.all && (f.page != 0 || f.cursor != ""):
		return nil, usagef("--all begins at the beginning: leave out --page and --cursor")
	case f.page != 0 && f.cursor != "":
		return nil, usagef("--page and --cursor exclude each other")
	case f.page < 0 || f.pageSize < 0:
		return nil, usagef("--page and --page-size must be at least 1")
	}
	q := url.Values{}
	f.narrow.apply(q)
	for name, value := range map[string]string{
		"q": f.text, "state": f.state, "source": f.source, "sort": f.sort, "cursor": f.cursor,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.page != 0 {
		q.Set("page", strconv.Itoa(f.page))
	}
	if f.pageSize != 0 {
		q.Set("page_size", strconv.Itoa(f.pageSize))
	} else if f.all {
		q.Set("page_size", maxPageSize)
	}
	return q, nil
}

// page asks for one page of the list at path.
func (c *client) page(ctx context.Context, path string, q url.Values) (*page, error) {
	r, err := c.do(ctx, call{method: http.MethodGet, path: path, query: q})
	if err != nil {
		return nil, err
	}
	p := &page{raw: r.body}
	if err := json.Unmarshal(r.body, p); err != nil {
		return nil, fmt.Errorf("reading the list from %s: %w", c.where, err)
	}
	return p, nil
}

func (p *page) total() string {
	if p.Total == nil {
		return "more"
	}
	return strconv.FormatInt(*p.Total, 10)
}

// eachPage walks the pages from q on until the last, or until fn fails; errStop
// from fn ends it without an error.
func (c *client) eachPage(ctx context.Context, path string, q url.Values, fn func(*page) error) error {
	for {
		p, err := c.page(ctx, path, q)
		if err != nil {
			return err
		}
		if err := fn(p); err != nil {
			if errors.Is(err, errStop) {
				return nil
			}
			return err
		}
		if p.NextCursor == "" {
			return nil
		}
		if p.NextCursor == q.Get("cursor") {
			return fmt.Errorf("%s gave the same page twice", c.where)
		}
		q.Set("cursor", p.NextCursor)
	}
}

// writeKeys writes one page in the chosen form.
func (s *console) writeKeys(p *page) error {
	switch s.out.form {
	case formJSON:
		return writeJSON(s.env.Stdout, p.raw)
	case formYAML:
		return writeYAML(s.env.Stdout, p.raw)
	}
	keys, err := p.keys()
	if err != nil {
		return err
	}
	if s.out.form == formCSV {
		w := newCSV(s.env.Stdout)
		if err := w.row(keyColumns); err != nil {
			return err
		}
		return w.keys(keys)
	}
	rows := make([][]string, len(keys))
	for i := range keys {
		rows[i] = keys[i].row(s.colours(s.env.Stdout))
	}
	return writeTable(s.env.Stdout, keyHeader, rows)
}

func (w csvWriter) keys(keys []key) error {
	for i := range keys {
		if err := w.row(keys[i].cells()); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// listAll writes every page as one list. JSON and CSV go out page by page, so
// that a million keys need no more memory than one page; the other forms have
// to see all rows first.
func (c *client) listAll(ctx context.Context, q url.Values) error {
	s, done := c.console, 0
	out := bufio.NewWriter(s.env.Stdout)
	sink := s.sink(out)
	progress := isTerminal(s.env.Stderr)
	err := c.eachPage(ctx, keysPath, q, func(p *page) error {
		if err := sink.add(p); err != nil {
			return err
		}
		done += len(p.Items)
		if progress && (p.NextCursor != "" || done > len(p.Items)) {
			fmt.Fprintf(s.env.Stderr, "\r%d of %s keys ", done, p.total())
		}
		return nil
	})
	if progress {
		fmt.Fprint(s.env.Stderr, "\r\x1b[K")
	}
	if err == nil {
		err = sink.end()
	}
	return errors.Join(err, out.Flush())
}
