package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// standing is a record that is there.
type standing struct {
	kind *stateKind
	// id names it in its path: an id, or a source's name.
	id, customer string
	// have is its record in JSON, which takes a tenth of the memory.
	have []byte
	// owner is the external source of a key; "" is Keyreeve.
	owner string
	// named: the file names it.
	named bool
}

func (s *standing) record() (record, error) {
	value, err := jsonValue(newDecoder(s.have))
	if err != nil {
		return nil, err
	}
	members := value.(map[string]any)
	out := make(record, len(members))
	for i := range s.kind.members {
		m := &s.kind.members[i]
		if v, given := members[m.name]; given {
			if out[m.name], err = m.read(v); err != nil && v != nil {
				return nil, fmt.Errorf("%s of %s %w", m.name, s.id, err)
			}
		}
	}
	return out, nil
}

func newDecoder(text []byte) *json.Decoder {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return dec
}

// ident is what two records of a kind cannot share, in the file or there.
func (k *stateKind) ident(r record) string {
	name := r.text("name")
	switch k.name {
	case customersSection:
		return r.text("id")
	case microtenantsSection:
		name = r.text("id")
	case keysSection:
		name = r.text("microtenant_id") + "\x00" + name
	}
	return r.text("customer_id") + "\x00" + name
}

// title names a record for people: acme/emea/ci-deploy.
func (k *stateKind) title(r record) string {
	parts := []string{r.text("customer_id"), r.text("microtenant_id"), r.text("name")}
	switch k.name {
	case customersSection:
		return r.text("id")
	case microtenantsSection:
		parts[2] = r.text("id")
	case rolesSection:
		parts[0] = firstOf(parts[0], "every customer")
	}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "/")
}

// stateIndex is what is there, as far as a file needs to know.
type stateIndex struct {
	c *client
	// records are those of each section, by ident; clients are the keys by client ID.
	records map[string]map[string]*standing
	clients map[string]*standing
	// roles are all there are, the predefined ones too.
	roles []role
	// loaded are the sections, and the customers whose keys are here.
	loaded map[string]bool
	// progress is told how far the reading is, for people who wait.
	progress func(done int, total string, what string)
}

func newStateIndex(c *client) *stateIndex {
	x := &stateIndex{c: c, records: map[string]map[string]*standing{}, clients: map[string]*standing{}, loaded: map[string]bool{}}
	for _, k := range stateKinds {
		x.records[k.name] = map[string]*standing{}
	}
	return x
}

// load reads the records of a section once; of keys, one customer's.
func (x *stateIndex) load(ctx context.Context, kind *stateKind, customer string) error {
	mark, q := kind.name, url.Values{"page_size": {maxPageSize}}
	if kind.name == keysSection {
		mark += "/" + customer
		q.Set("customer_id", customer)
	}
	if x.loaded[mark] {
		return nil
	}
	x.loaded[mark] = true
	done := 0
	return x.c.eachPage(ctx, kind.path, q, func(p *page) error {
		for _, raw := range p.Items {
			if err := x.add(kind, raw); err != nil {
				return fmt.Errorf("reading the %s of %s: %w", kind.name, x.c.where, err)
			}
		}
		done += len(p.Items)
		x.progress(done, p.total(), kind.name+" there")
		return nil
	})
}

// add takes in one record as the API gives it.
func (x *stateIndex) add(kind *stateKind, raw []byte) error {
	s, have, err := readStanding(kind, raw)
	if err != nil {
		return err
	}
	if kind.name == rolesSection {
		var r struct {
			role
			Predefined bool `json:"predefined"`
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		x.roles = append(x.roles, r.role)
		if r.Predefined {
			return nil
		}
	}
	x.records[kind.name][kind.ident(have)] = s
	if kind.name == keysSection {
		x.clients[have.text("client_id")] = s
	}
	return nil
}

// readStanding reads a record as the API gives it.
func readStanding(kind *stateKind, raw []byte) (*standing, record, error) {
	value, err := jsonValue(newDecoder(raw))
	if err != nil {
		return nil, nil, err
	}
	members, ok := value.(map[string]any)
	if !ok {
		return nil, nil, fmt.Errorf("one of the %s is no object", kind.name)
	}
	have := record{}
	for i := range kind.members {
		m := &kind.members[i]
		v, given := members[apiName(m.name)]
		if !given || (v == nil && !m.nullable) {
			continue
		}
		if have[m.name], err = m.read(v); err != nil {
			return nil, nil, fmt.Errorf("%s %w", m.name, err)
		}
	}
	s := &standing{kind: kind, customer: have.text("customer_id")}
	s.id, _ = members["id"].(string)
	if kind.name == sourcesSection {
		s.id = have.text("name")
	}
	s.owner, _ = members["source"].(string)
	s.have, err = json.Marshal(have)
	return s, have, err
}

// apiName is what the API calls a member.
func apiName(member string) string {
	switch member {
	case "role", "max_role":
		return member + "_id"
	}
	return member
}

// on is a call about a record that is there.
func (s *standing) on(method string) call {
	c := call{method: method, path: s.kind.path + "/" + url.PathEscape(s.id), query: url.Values{}}
	if s.kind.name == microtenantsSection || s.kind.name == sourcesSection {
		c.query.Set("customer_id", s.customer)
	}
	return c
}

// again reads the record anew, with its ETag.
func (x *stateIndex) again(ctx context.Context, s *standing) (record, string, error) {
	r, err := x.c.do(ctx, s.on(http.MethodGet))
	if err != nil {
		return nil, "", err
	}
	_, have, err := readStanding(s.kind, r.body)
	return have, r.etag, err
}

// roleFor is the id of the one role that ref names for a customer's records, by
// id or by name; a name that the customer shares with every customer is refused,
// or whoever makes its roles could put one in the place of the other. The id of a
// role that the file is about to make is "".
func (x *stateIndex) roleFor(ref, customer string) (string, error) {
	var named []role
	for _, r := range x.roles {
		if (r.CustomerID == "" || r.CustomerID == customer) && r.goesBy(ref) {
			named = append(named, r)
		}
	}
	switch len(named) {
	case 0:
		return "", fmt.Errorf("there is no role %q for customer %s", printable(ref), printable(customer))
	case 1:
		return named[0].ID, nil
	}
	lines := make([]string, len(named))
	for i, r := range named {
		m := r.match()
		m.id = firstOf(m.id, "(not made yet)")
		lines[i] = m.line()
	}
	return "", fmt.Errorf("%q is the id or name of several roles, name one by %s and its id: %s", printable(ref), idPrefix, strings.Join(lines, "; "))
}

// roleComes notes a role that the file makes, and its id once it is made.
func (x *stateIndex) roleComes(r role) {
	for i := range x.roles {
		if x.roles[i].Name == r.Name && x.roles[i].CustomerID == r.CustomerID {
			x.roles[i].ID = r.ID
			return
		}
	}
	x.roles = append(x.roles, r)
}
