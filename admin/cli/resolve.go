package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// maxSearchPages bounds the search for a key by name: this many pages of the
// largest size. Whoever has more matches names the key by its id.
const maxSearchPages = 20

// maxNamed is the most names that a message lists.
const maxNamed = 20

// recordID is the form of an id; anything else is not asked for as one.
var recordID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// idPrefix before an id says that nothing else is meant. Whoever makes a record
// chooses its name, and of an imported key the client ID, so that either may be
// what another record goes by.
const idPrefix = "id:"

// match is a record that a reference could mean.
type match struct{ id, clientID, name, customer, microtenant string }

func (m *match) line() string {
	parts := []string{idPrefix + m.id, strconv.Quote(m.name)}
	for _, p := range [][2]string{{"client ID", m.clientID}, {"customer", m.customer}, {"microtenant", m.microtenant}} {
		if p[1] != "" {
			parts = append(parts, p[0]+" "+p[1])
		}
	}
	return printable(strings.Join(parts, "  "))
}

// ambiguous refuses a reference that could mean several records: to take one of
// them would let whoever made the other decide which.
func ambiguous(nouns, ref, narrowing string, found []match) error {
	has := "name"
	if slices.ContainsFunc(found, func(m match) bool { return m.name != norm.NFC.String(ref) }) {
		has = "id, client ID or name"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s have the %s %q; name one by %s and its id%s:", len(found), nouns, has, printable(ref), idPrefix, narrowing)
	for _, m := range found[:min(len(found), maxNamed)] {
		b.WriteString("\n  " + m.line())
	}
	if more := len(found) - maxNamed; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return &codedError{code: ExitConflict, text: b.String()}
}

// narrow limits where a name is looked for.
type narrow struct{ customer, microtenant string }

func (n narrow) apply(q url.Values) {
	if n.customer != "" {
		q.Set("customer_id", n.customer)
	}
	if n.microtenant != "" {
		q.Set("microtenant_id", n.microtenant)
	}
}

// holds says whether k is where a name is looked for.
func (n narrow) holds(k *key) bool {
	microtenant := n.microtenant
	if microtenant == "null" {
		microtenant = "" // customer level, as the API's filter has it
	}
	return (n.customer == "" || n.customer == k.CustomerID) && (n.microtenant == "" || microtenant == k.MicrotenantID)
}

// found is a key as the API gave it.
type found struct {
	key
	reply *reply
}

// findKey is the one key that ref names: whose id, client ID or name it is.
func (c *client) findKey(ctx context.Context, ref string, in narrow) (*found, error) {
	if ref == "" {
		return nil, usagef("the key is named by nothing, expected an id, client ID or name")
	}
	id, only := strings.CutPrefix(ref, idPrefix)
	var candidates []key
	var known *found
	if recordID.MatchString(id) {
		k, err := c.keyByID(ctx, id)
		var answer *problem
		switch {
		case err == nil && in.holds(&k.key):
			known, candidates = k, []key{k.key}
		case err != nil && (!errors.As(err, &answer) || answer.exitCode() != ExitNotFound):
			return nil, err
		}
	}
	if !only {
		named, err := c.searchKeys(ctx, ref, in)
		if err != nil {
			return nil, err
		}
		for _, k := range named {
			if known == nil || k.ID != known.ID {
				candidates = append(candidates, k)
			}
		}
	}
	switch {
	case len(candidates) == 0:
		return nil, &codedError{code: ExitNotFound, text: fmt.Sprintf("no key has the id, client ID or name %q; `key list` shows the keys you may see", printable(ref))}
	case len(candidates) > 1:
		matches := make([]match, len(candidates))
		for i, k := range candidates {
			matches[i] = match{id: k.ID, clientID: k.ClientID, name: k.Name, customer: k.CustomerID, microtenant: k.MicrotenantID}
		}
		return nil, ambiguous("keys", ref, ", or narrow it by --customer and --microtenant", matches)
	case known != nil:
		return known, nil
	}
	return c.keyByID(ctx, candidates[0].ID)
}

func keyPath(id string) string { return keysPath + "/" + url.PathEscape(id) }

func (c *client) keyByID(ctx context.Context, id string) (*found, error) {
	r, err := c.do(ctx, call{method: http.MethodGet, path: keyPath(id)})
	if err != nil {
		return nil, err
	}
	f := &found{reply: r}
	if err := json.Unmarshal(r.body, &f.key); err != nil {
		return nil, fmt.Errorf("reading the key from %s: %w", c.where, err)
	}
	return f, nil
}

// searchKeys lists the keys that have ref as their client ID or name.
func (c *client) searchKeys(ctx context.Context, ref string, in narrow) ([]key, error) {
	name := norm.NFC.String(ref) // names are stored so
	q := url.Values{"q": {name}, "page_size": {maxPageSize}}
	in.apply(q)
	var named []key
	pages := 0
	err := c.eachPage(ctx, keysPath, q, func(p *page) error {
		keys, err := p.keys()
		if err != nil {
			return err
		}
		named = append(named, slices.DeleteFunc(keys, func(k key) bool { return k.ClientID != ref && k.Name != name })...)
		if pages++; pages >= maxSearchPages && p.NextCursor != "" {
			return fmt.Errorf("too many keys match %q; name it by %s and its id, or narrow it by --customer and --microtenant", printable(ref), idPrefix)
		}
		return nil
	})
	return named, err
}

// role is what the CLI needs of one.
type role struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	CustomerID string `json:"customer_id"`
}

func (r *role) match() match {
	return match{id: r.ID, name: r.Name, customer: firstOf(r.CustomerID, "every customer")}
}

// goesBy says whether ref, in the form that names are stored in, names the role.
func (r *role) goesBy(ref string) bool {
	id, only := strings.CutPrefix(ref, idPrefix)
	return id != "" && (r.ID == id || (!only && r.Name == ref))
}

// findRole is the id of the one role that ref names, by id or by name: of any, or
// of those that the keys of a customer may be given. A caller who may not read
// roles can still name one by its id.
func (c *client) findRole(ctx context.Context, ref, customer string) (string, error) {
	name := norm.NFC.String(ref)
	var named []match
	var usable []string
	err := c.eachPage(ctx, rolesPath, url.Values{"page_size": {maxPageSize}}, func(p *page) error {
		for _, item := range p.Items {
			var r role
			if err := json.Unmarshal(item, &r); err != nil {
				return fmt.Errorf("reading a role from %s: %w", c.where, err)
			}
			if customer != "" && r.CustomerID != "" && r.CustomerID != customer {
				continue
			}
			if len(usable) < maxNamed {
				usable = append(usable, printable(fmt.Sprintf("%s (%s)", r.ID, r.Name)))
			}
			if r.goesBy(name) {
				named = append(named, r.match())
			}
		}
		return nil
	})
	var refused *problem
	id := strings.TrimPrefix(ref, idPrefix)
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden && !refused.foreign && recordID.MatchString(id) {
		return id, nil
	}
	switch {
	case err != nil:
		return "", err
	case len(named) == 1:
		return named[0].id, nil
	case len(named) > 1:
		return "", ambiguous("roles", ref, "", named)
	}
	return "", &codedError{code: ExitNotFound, text: fmt.Sprintf("no role has the id or name %q, there are: %s", printable(ref), strings.Join(usable, ", "))}
}
