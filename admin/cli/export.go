package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

var exportGroup = Group{
	Name:  "export",
	Short: "Write customers, roles and keys as a file that apply reads",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "export", "Write customers, roles and keys as a file that apply reads", exportLong, exportExample)
		customer, only := "", []string(nil)
		cmd.Flags().StringVar(&customer, "customer", "", "id of the only customer to write")
		cmd.Flags().StringSliceVar(&only, "only", nil, "sections to write: "+strings.Join(sectionNames(), ", ")+" (default all)")
		s.complete(cmd, "customer")
		s.complete(cmd, "only", sectionNames()...)
		cmd.Args = func(c *cobra.Command, args []string) error { return s.finish(c, verb{}.checkArgs(args)) }
		cmd.ValidArgsFunction = cobra.NoFileCompletions
		cmd.RunE = func(c *cobra.Command, args []string) error {
			if !c.Flags().Changed("output") {
				s.out.form = formYAML
			}
			return s.finish(c, s.run(c, verb{run: func(ctx context.Context, api *client, _ []string) error {
				return s.export(ctx, api, customer, only)
			}}, args))
		}
	},
}

const exportLong = `
Write customers, microtenants, custom roles, external sources and keys as one
document that apply reads: YAML, or JSON with -o json. Roles are named by name,
so that the file means the same in another installation; predefined ones by id.

Secrets are stored nowhere and cannot be exported. Keys keep their client IDs:
where they are made anew from the file they get new secrets, unless it is given
their secret_sha256. Keys of external sources are left out, they come from there.

It is read page by page: what changes meanwhile may be in it or not. Its last
member is "complete: true"; a document without it was cut off.`

const exportExample = `
  PROGRAM export > state.yaml
  PROGRAM export --customer acme --only roles,keys -o json | jq '.keys | length'`

func sectionNames() []string {
	names := make([]string, len(stateKinds))
	for i, k := range stateKinds {
		names[i] = k.name
	}
	return names
}

func (s *console) export(ctx context.Context, c *client, customer string, only []string) (err error) {
	if s.out.form != formYAML && s.out.form != formJSON {
		return usagef("-o %s cannot hold what is exported, expected yaml or json", s.out.form)
	}
	for _, name := range only {
		if kindOf(name) == nil {
			return usagef("--only %q is no section, expected %s", printable(name), strings.Join(sectionNames(), ", "))
		}
	}
	out := bufio.NewWriter(s.env.Stdout)
	e := &exporter{client: c, customer: customer, doc: s.newStateWriter(out)}
	defer s.progress(0, "", "")
	if err := e.doc.begin(); err != nil {
		return err
	}
	for i := range stateKinds {
		if kind := &stateKinds[i]; len(only) == 0 || slices.Contains(only, kind.name) {
			if err := e.section(ctx, kind); err != nil {
				return errors.Join(err, e.doc.abandon(), out.Flush())
			}
		}
	}
	if err := errors.Join(e.doc.end(), out.Flush()); err != nil {
		return err
	}
	if e.foreign > 0 {
		s.note("left out %d keys of external sources", e.foreign)
	}
	return nil
}

// exporter writes one document.
type exporter struct {
	*client
	customer string
	doc      stateWriter
	// names are what roles are called in the file, by id: their names, but where a
	// name could mean another role. Others are called by their ids.
	names map[string]string
	// foreign counts keys that external sources own.
	foreign int
}

// section writes the records of one kind, in an order that is the same in every
// installation that holds them.
func (e *exporter) section(ctx context.Context, kind *stateKind) error {
	if kind.name == sourcesSection || kind.name == keysSection {
		if err := e.nameRoles(ctx); err != nil {
			return err
		}
	}
	if err := e.doc.section(kind.name); err != nil {
		return err
	}
	done := 0
	err := e.eachRecord(ctx, kind, func(p *page) error {
		for _, raw := range p.Items {
			if err := e.record(kind, raw); err != nil {
				return err
			}
		}
		done += len(p.Items)
		e.console.progress(done, p.total(), kind.name)
		return nil
	})
	var refused *problem
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		return fmt.Errorf("the %s may not be read, the document ends here; --only names the sections to write: %w", kind.name, err)
	}
	if err != nil {
		return fmt.Errorf("the document ends here, unfinished: %w", err)
	}
	return e.doc.endSection()
}

func (e *exporter) eachRecord(ctx context.Context, kind *stateKind, fn func(*page) error) error {
	if kind.name == customersSection && e.customer != "" {
		r, err := e.do(ctx, call{method: http.MethodGet, path: kind.path + "/" + url.PathEscape(e.customer)})
		if err != nil {
			return err
		}
		return fn(&page{Items: []json.RawMessage{r.body}})
	}
	if kind.name == rolesSection {
		return e.eachRole(ctx, fn)
	}
	if kind.name != keysSection {
		q := url.Values{"page_size": {maxPageSize}}
		if kind.name != customersSection {
			set(q, map[string]string{"customer_id": e.customer})
		}
		return e.eachPage(ctx, kind.path, q, fn)
	}
	// By customer and client ID: names repeat, and ids are not the same elsewhere.
	customers, err := e.customers(ctx)
	for _, id := range customers {
		q := url.Values{"page_size": {maxPageSize}, "sort": {"client_id"}}
		set(q, map[string]string{"customer_id": id})
		if err := e.eachPage(ctx, kind.path, q, fn); err != nil {
			return err
		}
	}
	return err
}

// eachRole is all roles as one page, by customer and name: there are few, and of
// one name the API lists them by id.
func (e *exporter) eachRole(ctx context.Context, fn func(*page) error) error {
	type placed struct {
		role
		raw json.RawMessage
	}
	var all []placed
	q := url.Values{"page_size": {maxPageSize}}
	set(q, map[string]string{"customer_id": e.customer})
	err := e.eachPage(ctx, rolesPath, q, func(p *page) error {
		for _, raw := range p.Items {
			r := placed{raw: raw}
			if err := json.Unmarshal(raw, &r.role); err != nil {
				return fmt.Errorf("reading a role from %s: %w", e.where, err)
			}
			all = append(all, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(strings.Compare(a.CustomerID, b.CustomerID), strings.Compare(a.Name, b.Name))
	})
	one := &page{}
	for _, r := range all {
		one.Items = append(one.Items, r.raw)
	}
	return fn(one)
}

// customers are those whose keys are written. "" stands for whatever may be seen,
// where customers may not: that is one's own.
func (e *exporter) customers(ctx context.Context) ([]string, error) {
	if e.customer != "" {
		return []string{e.customer}, nil
	}
	var ids []string
	err := e.eachPage(ctx, kindOf(customersSection).path, url.Values{"page_size": {maxPageSize}}, func(p *page) error {
		for _, raw := range p.Items {
			var c struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal(raw, &c); err != nil {
				return fmt.Errorf("reading a customer from %s: %w", e.where, err)
			}
			ids = append(ids, c.ID)
		}
		return nil
	})
	var refused *problem
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		return []string{""}, nil
	}
	return ids, err
}

// record writes one record, every member of it but those that are never given back.
func (e *exporter) record(kind *stateKind, raw []byte) error {
	value, err := jsonValue(newDecoder(raw))
	if err != nil {
		return fmt.Errorf("reading one of the %s from %s: %w", kind.name, e.where, err)
	}
	members, _ := value.(map[string]any)
	switch {
	case members["predefined"] == true:
		return nil
	case kind.name == keysSection && members["source"] != nil:
		e.foreign++
		return nil
	}
	fields := make([]stateField, 0, len(kind.members))
	for i := range kind.members {
		m := &kind.members[i]
		v, given := members[apiName(m.name)]
		if !given {
			continue
		}
		if apiName(m.name) != m.name {
			id, _ := v.(string)
			v = firstOf(e.names[id], id)
		}
		fields = append(fields, stateField{m.name, v})
	}
	return e.doc.item(fields)
}

// nameRoles reads what roles are called.
func (e *exporter) nameRoles(ctx context.Context) error {
	if e.names != nil {
		return nil
	}
	e.names = map[string]string{}
	var all, predefined []role
	err := e.eachPage(ctx, rolesPath, url.Values{"page_size": {maxPageSize}}, func(p *page) error {
		for _, raw := range p.Items {
			var r struct {
				role
				Predefined bool `json:"predefined"`
			}
			if err := json.Unmarshal(raw, &r); err != nil {
				return fmt.Errorf("reading a role from %s: %w", e.where, err)
			}
			if r.Predefined {
				predefined = append(predefined, r.role)
			} else {
				all = append(all, r.role)
			}
		}
		return nil
	})
	e.callRoles(all, predefined)
	var refused *problem
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		e.console.note("the roles may not be read: they are written by id, which means nothing in another installation")
		return nil
	}
	return err
}

// callRoles chooses what each role is called, such that it can mean no other: of a
// store from before such names were refused, a role for every customer may have
// the name of a customer's own, and any role a name that is another's id.
func (e *exporter) callRoles(custom, predefined []role) {
	everyone := slices.Concat(custom, predefined)
	goBy := map[string][]*role{}
	for i := range everyone {
		r := &everyone[i]
		goBy[r.ID] = append(goBy[r.ID], r)
		goBy[r.Name] = append(goBy[r.Name], r)
	}
	alone := func(r *role, ref string) bool {
		return !slices.ContainsFunc(goBy[ref], func(o *role) bool {
			return o.ID != r.ID && (o.CustomerID == "" || r.CustomerID == "" || o.CustomerID == r.CustomerID)
		})
	}
	for i := range everyone {
		switch r := &everyone[i]; {
		case i < len(custom) && alone(r, r.Name) && !strings.HasPrefix(r.Name, idPrefix):
			e.names[r.ID] = r.Name
		case !alone(r, r.ID):
			e.names[r.ID] = idPrefix + r.ID
		}
	}
}

// stateField is one member of a record that is written.
type stateField struct {
	name  string
	value any
}

// stateWriter writes a state file piece by piece.
type stateWriter interface {
	begin() error
	section(name string) error
	item(fields []stateField) error
	endSection() error
	end() error
	// abandon leaves behind what apply refuses. A process that is killed leaves a file
	// that lacks its end, which apply --prune asks for.
	abandon() error
}

func (s *console) newStateWriter(w io.Writer) stateWriter {
	if s.out.form == formJSON {
		return &jsonState{w: w}
	}
	return &yamlState{w: w}
}
