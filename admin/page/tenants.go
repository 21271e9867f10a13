package page

import (
	"net/url"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	customersPath    = root + "customers"
	microtenantsPath = root + "microtenants"
)

// tenantKind is what the rooms of customers and of microtenants differ in.
type tenantKind struct {
	// Name is one of them, for people, for the CLI and in the admin API; Title is
	// all of them.
	Name, Title string
	// Path is the room's.
	Path string
	// Lead says what they are.
	Lead    string
	columns []column
}

var (
	customerKind = &tenantKind{Name: "customer", Title: "Customers", Path: customersPath,
		Lead: "Each customer has its own keys, roles and sources, and sees nobody else’s.",
		columns: []column{{ID: "name", Title: "Name", Sort: "name"}, {ID: "id", Title: "Customer ID"}, {ID: "status", Title: "Status"},
			{ID: "keys", Title: "Keys"}, {ID: "microtenants", Title: "Microtenants"}, {ID: "created_at", Title: "Created", Sort: "created_at"}}}
	microtenantKind = &tenantKind{Name: "microtenant", Title: "Microtenants", Path: microtenantsPath,
		Lead: "A part of a customer. A key inside one sees and changes that part alone.",
		columns: []column{{ID: "name", Title: "Name", Sort: "name"}, {ID: "id", Title: "Microtenant ID"}, {ID: "customer_id", Title: "Customer", operators: true},
			{ID: "status", Title: "Status"}, {ID: "keys", Title: "Keys"}, {ID: "created_at", Title: "Created", Sort: "created_at"}}}
)

// IDLabel is what their ids are called, as the table has it.
func (k *tenantKind) IDLabel() string { return k.columns[1].Title }

func (p *Page) addTenants() {
	p.get(customersPath, (*visit).listTenants)
	p.get(microtenantsPath, (*visit).listTenants)
	for _, room := range []string{customersPath, microtenantsPath} {
		p.get(room+"/new", (*visit).newTenant)
		p.post(room+"/new", (*visit).createTenant)
	}
	// A microtenant's id is unique in its customer only.
	for _, at := range []string{customersPath + "/{id}", microtenantsPath + "/{customer}/{id}"} {
		p.get(at+"/edit", (*visit).editTenant)
		p.post(at+"/edit", (*visit).renameTenant)
		p.get(at+"/status", (*visit).askTenantStatus)
		p.post(at+"/status", (*visit).setTenantStatus)
		p.get(at+"/delete", (*visit).askTenantDelete)
		p.post(at+"/delete", (*visit).deleteTenant)
	}
}

// tenantKind is the room that the visit is in.
func (v *visit) tenantKind() *tenantKind {
	if v.r.URL.Path == customersPath || strings.HasPrefix(v.r.URL.Path, customersPath+"/") {
		return customerKind
	}
	return microtenantKind
}

// tenant is a customer, or a microtenant: then CustomerID is set.
type tenant struct {
	Kind                 *tenantKind
	ID, CustomerID, Name string
	Enabled              bool
	CreatedAt            time.Time
	Revision             keystore.Revision
	// Customer is the name of a microtenant's.
	Customer string
	// Keys and Microtenants count what is in it; nil is not known to the actor, or has none.
	Keys, Microtenants *int
}

func ofCustomer(c lifecycle.Customer) tenant {
	return tenant{Kind: customerKind, ID: c.ID, Name: c.Name, Enabled: c.Enabled, CreatedAt: c.CreatedAt, Revision: c.Revision,
		Keys: c.KeyCount, Microtenants: &c.MicrotenantCount}
}

func ofMicrotenant(m lifecycle.Microtenant) tenant {
	return tenant{Kind: microtenantKind, ID: m.ID, CustomerID: m.CustomerID, Name: m.Name, Enabled: m.Enabled, CreatedAt: m.CreatedAt, Revision: m.Revision,
		Keys: m.KeyCount}
}

// At is the place of what is done to it, such as edit.
func (t tenant) At(what string) string {
	at := t.Kind.Path
	if t.CustomerID != "" {
		at += "/" + url.PathEscape(t.CustomerID)
	}
	return at + "/" + url.PathEscape(t.ID) + "/" + what
}

// Handle is what ids of elements about it end in.
func (t tenant) Handle() string { return strings.TrimPrefix(t.CustomerID+"-"+t.ID, "-") }

func (t tenant) microtenant() (customerID, microtenantID string) {
	if t.Kind == customerKind {
		return t.ID, ""
	}
	return t.CustomerID, t.ID
}

// KeysURL lists the keys that are in it.
func (t tenant) KeysURL() string {
	customerID, microtenantID := t.microtenant()
	return newQuery(nil).with("customer_id", customerID, "microtenant_id", microtenantID).String()
}

// MicrotenantsURL lists a customer's, and SourcesURL its sources.
func (t tenant) MicrotenantsURL() string {
	return microtenantsPath + "?" + url.Values{"customer_id": {t.ID}}.Encode()
}
func (t tenant) SourcesURL() string {
	return sourcesPath + "?" + url.Values{"customer_id": {t.ID}}.Encode()
}

// AuditURL lists what was done to it.
func (t tenant) AuditURL() string {
	customerID, _ := t.microtenant()
	return auditURL("target_kind", t.Kind.Name, "target_id", t.ID, "customer_id", customerID)
}

// tenantList is the data of a room of tenants.
type tenantList struct {
	*listed[tenant]
	Kind      *tenantKind
	Columns   []header
	Customers customerPick
	// New reports whether to offer making one, and Change changing one.
	New, Change bool
}

// listTenants shows the customers, or the microtenants, that the actor sees.
func (v *visit) listTenants() error {
	kind := v.tenantKind()
	filters := []string{"q"}
	if kind == microtenantKind {
		filters = append(filters, "customer_id")
	}
	q := listQuery(kind.Path, v.r.URL.Query(), filters...)
	if v.tidied(q) {
		return v.redirect(q.String())
	}
	f := NewForm(q.Values)
	page, err := readList(v, f, q, "#tenants", func(at lifecycle.Paging) (lifecycle.Page[tenant], error) {
		return v.tenants(kind, q, at)
	})
	if err != nil {
		return err
	}
	d := &tenantList{listed: page, Kind: kind, New: v.mayChange(kind, policy.Create), Change: v.mayChange(kind, policy.Update) || v.mayChange(kind, policy.Delete)}
	d.Columns = headers(q, v.seen(kind.columns), "name")
	if kind == microtenantKind {
		if d.Customers, err = v.customerPick(); err != nil {
			return err
		}
	}
	return v.show(view{Status: statusOf(f), Page: "tenants", Block: v.blockOf("tenant-list", "list", "tenants"), Title: kind.Title, Data: d})
}

// mayChange reports whether to offer a change of tenants of a kind.
func (v *visit) mayChange(kind *tenantKind, action policy.Mask) bool {
	level := v.actor.AllCustomers || kind == microtenantKind && !v.confined()
	return level && v.may(lifecycle.ResourceTenants, action)
}

// seen are the columns that the actor has use for.
func (v *visit) seen(columns []column) []column {
	var all []column
	for _, c := range columns {
		if !c.operators || v.actor.AllCustomers {
			all = append(all, c)
		}
	}
	return all
}

// tenants is a page of a room at q.
func (v *visit) tenants(kind *tenantKind, q query, at lifecycle.Paging) (lifecycle.Page[tenant], error) {
	f := lifecycle.CustomerFilter{Text: q.Get("q"), Sort: q.Get(paramSort), Paging: at}
	if kind == customerKind {
		page, err := v.svc().ListCustomers(v.ctx(), v.actor, f)
		return pageAs(page, err, func(c lifecycle.Customer) (tenant, error) { return ofCustomer(c), nil })
	}
	names := map[string]string{}
	page, err := v.svc().ListMicrotenants(v.ctx(), v.actor, lifecycle.MicrotenantFilter{CustomerFilter: f, CustomerID: q.Get("customer_id")})
	return pageAs(page, err, func(m lifecycle.Microtenant) (t tenant, err error) {
		t = ofMicrotenant(m)
		if v.actor.AllCustomers {
			t.Customer, err = v.customerName(names, t.CustomerID)
		}
		return t, err
	})
}
