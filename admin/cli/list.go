package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/pflag"
)

// maxPageSize is the largest page that the API gives.
const maxPageSize = "500"

// page is one page of a list.
type page struct {
	Items      []json.RawMessage `json:"items"`
	NextCursor string            `json:"next_cursor"`
	Total      *int64            `json:"total"`

	raw []byte
}

func (p *page) total() string {
	if p.Total == nil {
		return "more"
	}
	return strconv.FormatInt(*p.Total, 10)
}

// errStop ends a walk over pages early, without being an error.
var errStop = errors.New("stop")

// listing is a kind of list: where it is and how its items are shown.
type listing struct {
	path, noun string
	// header and rows are a table, columns and cells CSV; the columns stay in
	// this order for good.
	header, columns []string
	rows            func(items []json.RawMessage, colours bool) ([][]string, error)
	cells           func(items []json.RawMessage) ([][]string, error)
}

// listingOf is a list of T.
func listingOf[T any](path, noun string, header, columns []string, row func(*T, bool) []string, cells func(*T) []string) listing {
	each := func(items []json.RawMessage, show func(*T) []string) ([][]string, error) {
		out := make([][]string, len(items))
		for i, item := range items {
			var v T
			if err := json.Unmarshal(item, &v); err != nil {
				return nil, fmt.Errorf("reading an item of the list of %s: %w", noun, err)
			}
			out[i] = show(&v)
		}
		return out, nil
	}
	return listing{
		path: path, noun: noun, header: header, columns: columns,
		rows: func(items []json.RawMessage, colours bool) ([][]string, error) {
			return each(items, func(v *T) []string { return row(v, colours) })
		},
		cells: func(items []json.RawMessage) ([][]string, error) { return each(items, cells) },
	}
}

// pageFlags say which part of a list to show.
type pageFlags struct {
	pageSize, page int
	cursor         string
	all            bool
}

func (f *pageFlags) register(flags *pflag.FlagSet, noun string) {
	flags.IntVar(&f.pageSize, "page-size", 0, noun+" a page, at most "+maxPageSize+" (default 20)")
	flags.IntVar(&f.page, "page", 0, "number of the page, from 1")
	flags.StringVar(&f.cursor, "cursor", "", "continue behind an earlier page, by its next_cursor")
	flags.BoolVar(&f.all, "all", false, "every page")
}

func (f *pageFlags) query() (url.Values, error) {
	switch {
	case f.all && (f.page != 0 || f.cursor != ""):
		return nil, usagef("--all begins at the beginning: leave out --page and --cursor")
	case f.page != 0 && f.cursor != "":
		return nil, usagef("--page and --cursor exclude each other")
	case f.page < 0 || f.pageSize < 0:
		return nil, usagef("--page and --page-size must be at least 1")
	}
	q := url.Values{}
	set(q, map[string]string{"cursor": f.cursor})
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

// set adds the parameters that have a value.
func set(q url.Values, values map[string]string) {
	for name, value := range values {
		if value != "" {
			q.Set(name, value)
		}
	}
}

// list shows one page, or all.
func (c *client) list(ctx context.Context, l listing, q url.Values, all bool) error {
	if all {
		return c.listAll(ctx, l, q)
	}
	p, err := c.page(ctx, l.path, q)
	if err != nil {
		return err
	}
	if err := c.console.writePage(l, p); err != nil {
		return err
	}
	if p.NextCursor != "" && c.console.out.form != formJSON && c.console.out.form != formYAML {
		c.console.note("%d of %s %s; --all lists every one, --cursor %s the next page",
			len(p.Items), p.total(), l.noun, printable(p.NextCursor))
	}
	return nil
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

// writePage writes one page in the chosen form.
func (s *console) writePage(l listing, p *page) error {
	switch s.out.form {
	case formJSON:
		return writeJSON(s.env.Stdout, p.raw)
	case formYAML:
		return writeYAML(s.env.Stdout, p.raw)
	}
	sink := s.sink(l, s.env.Stdout)
	if err := sink.add(p); err != nil {
		return err
	}
	return sink.end()
}

// listAll writes every page as one list. JSON and CSV go out page by page, so
// that a million items need no more memory than one page; the other forms have
// to see all rows first.
func (c *client) listAll(ctx context.Context, l listing, q url.Values) error {
	s, done := c.console, 0
	out := bufio.NewWriter(s.env.Stdout)
	sink := s.sink(l, out)
	progress := isTerminal(s.env.Stderr)
	err := c.eachPage(ctx, l.path, q, func(p *page) error {
		if err := sink.add(p); err != nil {
			return err
		}
		done += len(p.Items)
		if progress && (p.NextCursor != "" || done > len(p.Items)) {
			fmt.Fprintf(s.env.Stderr, "\r%d of %s %s ", done, p.total(), l.noun)
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
