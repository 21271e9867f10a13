package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/text/unicode/norm"
)

// tenantItem is a customer or microtenant as the admin API represents it.
type tenantItem struct {
	ID         string `json:"id"`
	CustomerID string `json:"customer_id"` // of a microtenant
	Name       string `json:"name"`
	Enabled    bool   `json:"enabled"`
	KeyCount   *int   `json:"key_count"` // nil where keys may not be seen
	Created    string `json:"created_at"`
	Modified   string `json:"modified_at"`
	// Microtenants is how many a customer has.
	Microtenants *int `json:"microtenant_count"`
}

// countOf is a number that may not be known.
func countOf(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func (t *tenantItem) state() string {
	if t.Enabled {
		return "enabled"
	}
	return "disabled"
}

// details are a tenant's fields for reading; empty ones are left out.
func (t *tenantItem) details() [][]string {
	return [][]string{
		{"Name", printable(t.Name)},
		{"Customer", printable(t.CustomerID)},
		{"State", t.state()},
		{"Keys", countOf(t.KeyCount)},
		{"Microtenants", countOf(t.Microtenants)},
		{"Created", shortTime(t.Created)},
		{"Modified", shortTime(t.Modified)},
		{"ID", printable(t.ID)},
	}
}

func (t *tenantItem) label() string { return printable(t.Name) + " (" + printable(t.ID) + ")" }

// tenantKind is one of the two kinds of tenant, whose verbs are the same.
type tenantKind struct {
	noun string
	list listing
	// inCustomer: its ids and names are unique in a customer only.
	inCustomer bool
}

var customers = tenantKind{noun: "customer", list: listingOf("/v1/customers", "customers",
	[]string{"NAME", "STATE", "CREATED", "ID"},
	[]string{"id", "name", "enabled", "created_at", "modified_at", "key_count", "microtenant_count"},
	func(t *tenantItem, _ bool) []string {
		return []string{printable(t.Name), t.state(), shortTime(t.Created), printable(t.ID)}
	},
	func(t *tenantItem) []string {
		return []string{t.ID, t.Name, strconv.FormatBool(t.Enabled), t.Created, t.Modified, countOf(t.KeyCount), countOf(t.Microtenants)}
	})}

var microtenants = tenantKind{noun: "microtenant", inCustomer: true, list: listingOf("/v1/microtenants", "microtenants",
	[]string{"NAME", "CUSTOMER", "STATE", "CREATED", "ID"},
	[]string{"id", "customer_id", "name", "enabled", "created_at", "modified_at", "key_count"},
	func(t *tenantItem, _ bool) []string {
		return []string{printable(t.Name), printable(t.CustomerID), t.state(), shortTime(t.Created), printable(t.ID)}
	},
	func(t *tenantItem) []string {
		return []string{t.ID, t.CustomerID, t.Name, strconv.FormatBool(t.Enabled), t.Created, t.Modified, countOf(t.KeyCount)}
	})}

var customerGroup = customers.group("Manage customers", `
Manage customers: the owners of keys, roles and microtenants. Making and changing
them takes an Operator. A customer is named by its id or its
name; "id:" before an id says that no name is meant.`, `
  PROGRAM customer create Acme --id 216196257331281920
  PROGRAM customer list
  PROGRAM customer disable acme`)

var microtenantGroup = microtenants.group("Manage the microtenants of customers", `
Manage microtenants: parts of a customer, each with keys of its own. A microtenant
is named by its id or its name; "id:" before an id says that no name is meant, and
--customer whose it is where several have it.`, `
  PROGRAM microtenant create EMEA --customer acme --id emea
  PROGRAM microtenant list --customer acme
  PROGRAM microtenant disable emea --customer acme`)

func (k tenantKind) group(short, long, example string) Group {
	return Group{Name: k.noun, Short: short, Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, k.noun, short, long, example)
		k.addCreate(s, cmd)
		k.addList(s, cmd)
		k.addShow(s, cmd)
		k.addEdit(s, cmd)
		k.addEnabled(s, cmd, "enable", true)
		k.addEnabled(s, cmd, "disable", false)
		k.addDelete(s, cmd)
	}}
}

// words puts the noun into a help text.
func (k tenantKind) words(text string) string { return strings.ReplaceAll(text, "NOUN", k.noun) }

// ref is the argument that names one.
func (k tenantKind) ref() string { return strings.ToUpper(k.noun) }

// registerCustomer adds --customer where it makes sense.
func (k tenantKind) registerCustomer(cmd *cobra.Command, customer *string, usage string) {
	if k.inCustomer {
		cmd.Flags().StringVar(customer, "customer", "", usage)
	}
}

// on is a call about t.
func (k tenantKind) on(t *tenantItem, method string) call {
	c := call{method: method, path: k.list.path + "/" + url.PathEscape(t.ID), query: url.Values{}}
	set(c.query, map[string]string{"customer_id": t.CustomerID})
	return c
}

// foundTenant is a tenant as the API gave it.
type foundTenant struct {
	tenantItem
	reply *reply
}

// find is the one tenant that ref names, by id or by name.
func (k tenantKind) find(ctx context.Context, c *client, ref, customer string) (*foundTenant, error) {
	name := norm.NFC.String(ref) // names are stored so
	id, only := strings.CutPrefix(name, idPrefix)
	q := url.Values{"q": {id}, "page_size": {maxPageSize}}
	set(q, map[string]string{"customer_id": customer})
	var named []tenantItem
	err := c.eachPage(ctx, k.list.path, q, func(p *page) error {
		for _, raw := range p.Items {
			var t tenantItem
			if err := json.Unmarshal(raw, &t); err != nil {
				return fmt.Errorf("reading a %s from %s: %w", k.noun, c.where, err)
			}
			if t.ID == id || (!only && t.Name == name) {
				named = append(named, t)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(named) == 0:
		return nil, &codedError{code: ExitNotFound, text: fmt.Sprintf("no %s has the id or name %q; `%s list` shows those you may see", k.noun, printable(ref), k.noun)}
	case len(named) > 1:
		return nil, k.several(ref, named)
	}
	return k.get(ctx, c, &named[0])
}

// several is that a reference could mean each of these.
func (k tenantKind) several(ref string, named []tenantItem) error {
	matches := make([]match, len(named))
	for i, t := range named {
		matches[i] = match{id: t.ID, name: t.Name, customer: t.CustomerID}
	}
	narrowing := ""
	if k.inCustomer {
		narrowing = ", and say whose by --customer"
	}
	return ambiguous(k.noun+"s", ref, narrowing, matches)
}

func (k tenantKind) get(ctx context.Context, c *client, t *tenantItem) (*foundTenant, error) {
	r, err := c.do(ctx, k.on(t, http.MethodGet))
	if err != nil {
		return nil, err
	}
	f := &foundTenant{reply: r}
	if err := json.Unmarshal(r.body, &f.tenantItem); err != nil {
		return nil, fmt.Errorf("reading the %s from %s: %w", k.noun, c.where, err)
	}
	return f, nil
}

func (k tenantKind) write(s *console, body []byte) error {
	return writeRecord(s, k.list, body, (*tenantItem).details)
}
