package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
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

// found is a key as the API gave it.
type found struct {
	key
	reply *reply
}

// findKey is the key that ref names: by id, else by client ID, else by name.
func (c *client) findKey(ctx context.Context, ref string, in narrow) (*found, error) {
	if ref == "" {
		return nil, usagef("the key is named by nothing, expected an id, client ID or name")
	}
	if recordID.MatchString(ref) {
		k, err := c.keyByID(ctx, ref)
		var answer *problem
		if err == nil || !errors.As(err, &answer) || answer.exitCode() != ExitNotFound {
			return k, err
		}
	}
	candidates, err := c.searchKeys(ctx, ref, in)
	if err != nil {
		return nil, err
	}
	switch len(candidates) {
	case 0:
		return nil, &codedError{code: ExitNotFound, text: fmt.Sprintf("no key has the id, client ID or name %q; `key list` shows the keys you may see", ref)}
	case 1:
		return c.keyByID(ctx, candidates[0].ID)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d keys have the name %q; name one by its id or client ID, or narrow it by --customer and --microtenant:", len(candidates), ref)
	for _, k := range candidates {
		fmt.Fprintf(&b, "\n  %s  %s  customer %s", k.ID, k.ClientID, firstOf(k.CustomerID, "-"))
		if k.MicrotenantID != "" {
			b.WriteString("  microtenant " + k.MicrotenantID)
		}
	}
	return nil, &codedError{code: ExitConflict, text: b.String()}
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

// searchKeys lists the one key with that client ID, else those with that name.
func (c *client) searchKeys(ctx context.Context, ref string, in narrow) ([]key, error) {
	name := norm.NFC.String(ref) // names are stored so
	q := url.Values{"q": {name}, "page_size": {maxPageSize}}
	in.apply(q)
	var named, exact []key
	pages := 0
	err := c.eachPage(ctx, keysPath, q, func(p *page) error {
		keys, err := p.keys()
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.ClientID == ref {
				exact = []key{k}
				return errStop
			}
			if k.Name == name {
				named = append(named, k)
			}
		}
		if pages++; pages >= maxSearchPages && p.NextCursor != "" {
			return fmt.Errorf("too many keys match %q; name it by its id or client ID", ref)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if exact != nil {
		return exact, nil
	}
	return named, nil
}

// role is what the CLI needs of one.
type role struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	CustomerID string `json:"customer_id"`
}

// findRole is the id of the role that ref names, by id or else by name. A
// caller who may not read roles can still name one by its id.
func (c *client) findRole(ctx context.Context, ref, customer string) (string, error) {
	name := norm.NFC.String(ref) // names are stored so
	var exact bool
	var named, usable []string
	err := c.eachPage(ctx, rolesPath, url.Values{"page_size": {maxPageSize}}, func(p *page) error {
		for _, item := range p.Items {
			var r role
			if err := json.Unmarshal(item, &r); err != nil {
				return fmt.Errorf("reading a role from %s: %w", c.where, err)
			}
			if exact = r.ID == ref; exact {
				return errStop
			}
			if customer != "" && r.CustomerID != "" && r.CustomerID != customer {
				continue
			}
			usable = append(usable, fmt.Sprintf("%s (%s)", r.ID, r.Name))
			if r.Name == name {
				named = append(named, r.ID)
			}
		}
		return nil
	})
	var refused *problem
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden && !refused.foreign && recordID.MatchString(ref) {
		return ref, nil
	}
	if err != nil {
		return "", err
	}
	switch {
	case exact:
		return ref, nil
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1:
		return "", &codedError{code: ExitConflict, text: fmt.Sprintf("several roles have the name %q, name one by its id: %s", ref, strings.Join(named, ", "))}
	}
	return "", &codedError{code: ExitNotFound, text: fmt.Sprintf("no role has the id or name %q, there are: %s", ref, strings.Join(usable[:min(len(usable), maxNamed)], ", "))}
}
