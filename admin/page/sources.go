package page

import (
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const sourcesPath = root + "sources"

func (p *Page) addSources() {
	const one = sourcesPath + "/{name}"
	p.get(sourcesPath, (*visit).listSources)
	p.get(sourcesPath+"/new", (*visit).newSource)
	p.post(sourcesPath+"/new", (*visit).createSource)
	p.get(one, (*visit).showSource)
	p.get(one+"/{$}", (*visit).showSource) // see sourceURL
	p.get(one+"/edit", (*visit).editSource)
	p.post(one+"/edit", (*visit).changeSource)
	p.get(one+"/delete", (*visit).askSourceDelete)
	p.post(one+"/delete", (*visit).deleteSource)
}

// sourceColumns are those of the list, which is by name.
var sourceColumns = []column{{ID: "name", Title: "Name"}, {ID: "customer_id", Title: "Customer", operators: true}, {ID: "owner", Title: "Owner"},
	{ID: "rule", Title: "Its keys, here"}, {ID: "max_role_id", Title: "Highest role"}, {ID: "keys", Title: "Keys"}, {ID: "last_sync_at", Title: "Last list"}}

// sourceRow is a source as the page shows it.
type sourceRow struct {
	lifecycle.Source
	// Customer and Role are names, or ids where the actor may not know more.
	Customer, Role string
	// Overdue: its last list is older than one should be.
	Overdue bool
	// named says that URLs name the customer: the actor sees several.
	named bool
}

// sourceURL is the page of a source, or the place of what is done to it. named says
// that URLs name the customer.
func sourceURL(name, customerID string, named bool, what ...string) string {
	at := sourcesPath + "/" + url.PathEscape(name)
	for _, part := range what {
		at += "/" + part
	}
	if len(what) == 0 && name == "new" {
		at += "/" // where one is made is called so too
	}
	if named {
		at += "?" + url.Values{"customer_id": {customerID}}.Encode()
	}
	return at
}

// At is the place of the source, or of what is done to it.
func (s sourceRow) At(what ...string) string {
	return sourceURL(s.Name, s.CustomerID, s.named, what...)
}

// query names the customer, where that is needed, and begins with first.
func (s sourceRow) query(first string) string {
	if s.named {
		if first != "" {
			first += "&"
		}
		first += url.Values{"customer_id": {s.CustomerID}}.Encode()
	}
	if first == "" {
		return ""
	}
	return "?" + first
}

// Handle is what ids of elements about it end in.
func (s sourceRow) Handle() string { return s.CustomerID + "-" + s.Name }

// KeysURL lists the keys that it owns.
func (s sourceRow) KeysURL() string {
	q := newQuery(nil).with("source", s.Name)
	if s.named {
		q = q.with("customer_id", s.CustomerID)
	}
	return q.String()
}

// AuditURL lists what was done to it, and its lists.
func (s sourceRow) AuditURL() string {
	return auditURL("target_kind", string(keystore.KindSource), "target_id", s.Name, "customer_id", s.CustomerID)
}

// OverdueDays is after how many days a list is overdue.
func (sourceRow) OverdueDays() int { return int(lifecycle.SyncOverdue.Hours() / 24) }

// Locked reports a source whose keys their owner wants to stay as they are, there too.
func (s sourceRow) Locked() bool { return s.Rule == keystore.SourceLocked }

func (s sourceRow) ref() lifecycle.SourceRef {
	return lifecycle.SourceRef{Name: s.Name, CustomerID: s.CustomerID}
}

// sourceList is the data of the list.
type sourceList struct {
	*listed[sourceRow]
	Columns   []header
	Customers customerPick
	// New and Change report what to offer.
	New, Change bool
}

// listSources shows the sources that the actor sees, by name.
func (v *visit) listSources() error {
	q := listQuery(sourcesPath, v.r.URL.Query(), "q", "customer_id")
	if v.tidied(q) {
		return v.redirect(q.String())
	}
	f := NewForm(q.Values)
	names := &sourceNames{customers: map[string]string{}, roles: map[string]string{}}
	page, err := readList(v, f, q, "#sources", func(at lifecycle.Paging) (lifecycle.Page[sourceRow], error) {
		found, err := v.svc().ListSources(v.ctx(), v.actor, lifecycle.SourceFilter{Text: q.Get("q"), CustomerID: q.Get("customer_id"), Paging: at})
		return pageAs(found, err, func(s lifecycle.Source) (sourceRow, error) { return v.sourceRow(s, names) })
	})
	if err != nil {
		return err
	}
	d := &sourceList{listed: page, Columns: headers(q, v.seen(sourceColumns), "name"),
		New: v.may(lifecycle.ResourceSources, policy.Create), Change: v.may(lifecycle.ResourceSources, policy.Update)}
	if d.Customers, err = v.customerPick(); err != nil {
		return err
	}
	return v.show(view{Status: statusOf(f), Page: "sources", Block: v.blockOf("source-list", "list", "sources"), Title: "Sources", Data: d})
}

// sourceNames are names that were found already, by id.
type sourceNames struct{ customers, roles map[string]string }

// sourceRow names what a source refers to. One without any list is overdue by its age.
func (v *visit) sourceRow(s lifecycle.Source, known *sourceNames) (row sourceRow, err error) {
	row = sourceRow{Source: s, named: v.actor.AllCustomers}
	since := s.CreatedAt
	if s.LastSyncAt != nil {
		since = *s.LastSyncAt
	}
	row.Overdue = v.page.cfg.Now().Sub(since) > lifecycle.SyncOverdue
	if row.Role, err = v.roleName(known.roles, s.CustomerID, s.MaxRoleID); err != nil || !row.named {
		return row, err
	}
	row.Customer, err = v.customerName(known.customers, s.CustomerID)
	return row, err
}

// roleName is that of a role, or its id where the actor may see neither roles nor
// the keys that have them. known keeps what was found.
func (v *visit) roleName(known map[string]string, customerID, id string) (string, error) {
	if name, there := known[id]; there {
		return name, nil
	}
	known[id] = id
	if v.may(lifecycle.ResourceKeys, policy.Read) {
		names, err := v.svc().KeyNames(v.ctx(), v.actor, []lifecycle.Key{{RoleID: id, CustomerID: customerID}})
		if err := unlessHidden(err); err != nil {
			return "", err
		}
		if name := names.Roles[id]; name != "" {
			known[id] = name
			return name, nil
		}
	}
	role, err := v.svc().GetRole(v.ctx(), v.actor, id)
	if err == nil {
		known[id] = role.Name
	}
	return known[id], unlessHidden(err)
}

// source is the source that the path names, for an actor that may do action on it.
func (v *visit) source(action policy.Mask) (sourceRow, error) {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsSources(action)); err != nil {
		return sourceRow{}, err
	}
	s, err := v.svc().GetSource(v.ctx(), v.actor, lifecycle.SourceRef{Name: v.r.PathValue("name"), CustomerID: v.r.URL.Query().Get("customer_id")})
	if err != nil {
		return sourceRow{}, err
	}
	return v.sourceRow(s, &sourceNames{customers: map[string]string{}, roles: map[string]string{}})
}
