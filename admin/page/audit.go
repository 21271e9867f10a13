package page

import (
	"cmp"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// auditParams are the filters of the audit trail, as the admin API names them, but
// that customer_id=null stands for no_customer.
var auditParams = []string{"action", "actor_id", "target_kind", "target_id", "request_id", "customer_id", "microtenant_id", "since", "until"}

func (p *Page) addAudit() {
	p.get(auditPath, (*visit).listAudit)
	p.get(auditPath+"/export", (*visit).exportAudit)
	p.get(auditPath+"/verify", (*visit).askVerifyAudit)
	p.post(auditPath+"/verify", (*visit).verifyAudit)
}

// auditList is the data of the audit trail.
type auditList struct {
	*listed[auditRow]
	Chips []chip
	// Times are quick filters.
	Times                []titled
	Choices              lifecycle.KeyChoices
	Actors, Targets      []Choice
	ExportURL, VerifyURL string
}

// titled is a link in words, and the id of its element.
type titled struct{ ID, Title, URL string }

// Deeds are the actions to choose from.
func (*auditList) Deeds() any { return deedGroups }

// Kinds are the kinds of targets to choose from.
func (d *auditList) Kinds() []option {
	pairs := []string{"", "Anything"}
	for _, k := range targetKinds {
		pairs = append(pairs, k.kind, k.title)
	}
	return newOptions(d.Get("target_kind"), pairs...)
}

// OtherAction is one that is filtered for and not among Deeds.
func (d *auditList) OtherAction() string {
	action := d.Get("action")
	if _, known := deedsByAction[action]; known || actionTitle(action) != visible(action) {
		return ""
	}
	return action
}

// MoreOn reports a filter that is on among those that are folded away otherwise.
func (d *auditList) MoreOn() bool {
	return d.Failed() || len(only(d.Query.Values, []string{"since", "until", "request_id", "customer_id", "microtenant_id"})) > 0
}

// Moment is a filter's value for an input of type datetime-local.
func (d *auditList) Moment(name string) string {
	if at := moment(NewForm(nil), d.Query, name); at.Has() {
		return strings.TrimSuffix(at.Value.UTC().Format("2006-01-02T15:04:05"), ":00")
	}
	return ""
}

func (v *visit) listAudit() error {
	q, f, err := v.auditQuery()
	if err != nil {
		return err
	}
	if v.tidied(q) {
		return v.redirect(q.String())
	}
	d, err := v.readAudit(q, f)
	if err != nil {
		return err
	}
	return v.show(view{Status: statusOf(d.Form), Page: "audit", Block: v.blockOf("audit-list", "list", "audit"), Title: "Audit trail", Data: d})
}

// auditQuery is the state of the room at its URL. Keys may be named as people know
// them; the URL keeps their ids.
func (v *visit) auditQuery() (query, *Form, error) {
	given := v.r.URL.Query()
	if given.Get("no_customer") == "true" {
		given.Set("customer_id", lifecycle.FilterNull)
	}
	q := listQuery(auditPath, given, auditParams...)
	f := NewForm(q.Values)
	for _, name := range []string{"actor_id", "target_id"} {
		if name == "target_id" && q.Get("target_kind") != "" && q.Get("target_kind") != string(keystore.KindKey) {
			continue
		}
		id, err := v.keyNamed(f, name, q.Get(name))
		if err != nil {
			return q, f, err
		}
		if id != q.Get(name) {
			q.Set(name, id)
			if name == "target_id" {
				q.Set("target_kind", string(keystore.KindKey))
			}
		}
	}
	return q, f, nil
}

// keyNamed is the id of the key that goes by a name or client ID; what names no key
// stays as it is. What names several goes into the form.
func (v *visit) keyNamed(f *Form, field, text string) (string, error) {
	switch {
	case text == "", text == lifecycle.ActorLocal, text == lifecycle.ActorSystem, strings.HasPrefix(text, "key_"),
		!v.may(lifecycle.ResourceKeys, policy.Read):
		return text, nil
	}
	found, err := v.keysNamed(text)
	if err != nil || len(found) == 0 {
		return text, err
	}
	if len(found) == 1 {
		return found[0].ID, nil
	}
	f.Fail(field, number(len(found))+" keys have this name. Give the client ID of the one that you mean.")
	return text, nil
}

// keysNamed are the keys that go by a name, client ID or id; at most maxSuggested of
// one name. A client ID is before a name that is the same.
func (v *visit) keysNamed(name string) ([]lifecycle.Key, error) {
	for _, filter := range []lifecycle.KeyFilter{{ID: name}, {ClientID: name}, {Name: name}} {
		filter.Paging = lifecycle.Paging{Size: lifecycle.Some(maxSuggested)}
		page, err := v.svc().ListKeys(v.ctx(), v.actor, filter)
		if refusedAs(err, lifecycle.Invalid) {
			return nil, nil // no key can have such a name
		}
		if err != nil || len(page.Items) > 0 {
			return page.Items, err
		}
	}
	return nil, nil
}

// auditFilter is the query as lifecycle takes it. What cannot be read goes into the form.
func auditFilter(f *Form, q query) lifecycle.AuditFilter {
	out := lifecycle.AuditFilter{CustomerID: q.Get("customer_id"), MicrotenantID: q.Get("microtenant_id"), ActorID: q.Get("actor_id"),
		Action: q.Get("action"), TargetKind: q.Get("target_kind"), TargetID: q.Get("target_id"), RequestID: q.Get("request_id"),
		Since: moment(f, q, "since"), Until: moment(f, q, "until")}
	if out.CustomerID == lifecycle.FilterNull {
		out.CustomerID, out.NoCustomer = "", true
	}
	return out
}

// moment reads a time in UTC, to the minute or finer, or the beginning of a day.
func moment(f *Form, q query, name string) (out lifecycle.Optional[time.Time]) {
	text := q.Get(name)
	if text == "" {
		return out
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.DateOnly, time.RFC3339Nano} {
		if at, err := time.Parse(layout, text); err == nil {
			return lifecycle.Some(at)
		}
	}
	f.Fail(name, "Must be a time such as 2030-01-02T15:04, in UTC.")
	return out
}

func (v *visit) readAudit(q query, f *Form) (*auditList, error) {
	d := &auditList{ExportURL: auditPath + "/export" + q.filterString(), VerifyURL: auditPath + "/verify"}
	filter := auditFilter(f, q)
	var events []lifecycle.AuditEvent
	var err error
	d.listed, err = readList(v, f, q, "#audit", func(at lifecycle.Paging) (out lifecycle.Page[auditRow], err error) {
		page, err := v.svc().ListAudit(v.ctx(), v.actor, filter, q.Get(paramSort), at)
		if err != nil {
			return out, err
		}
		events = page.Items
		out.NextCursor, out.Total = page.NextCursor, page.Total
		out.Items, err = v.auditRows(events)
		return out, err
	})
	if err != nil {
		return nil, err
	}
	if d.Choices, err = v.choices(); err != nil {
		return nil, err
	}
	d.Actors, d.Targets = partiesOf(events)
	d.Chips = auditChips(q, filter, d.Choices, events)
	d.Times = v.recently(q)
	return d, nil
}

// choices are the tenants that a list can be narrowed to; none where the actor may
// not look at keys.
func (v *visit) choices() (lifecycle.KeyChoices, error) {
	if !v.may(lifecycle.ResourceKeys, policy.Read) {
		return lifecycle.KeyChoices{}, nil
	}
	return v.svc().KeyChoices(v.ctx(), v.actor)
}

// filterString is the query string of the filters alone, with its question mark.
func (q query) filterString() string {
	if kept := only(q.Values, q.filters); len(kept) > 0 {
		return "?" + kept.Encode()
	}
	return ""
}

// recently are links to the latest time. They name the moment itself, so that the
// list behind them stays what it is while one goes through it.
func (v *visit) recently(q query) []titled {
	now := v.page.cfg.Now().UTC().Truncate(time.Minute)
	var all []titled
	for _, span := range []struct {
		id, title string
		length    time.Duration
	}{{"hour", "Last hour", time.Hour}, {"day", "Last 24 hours", 24 * time.Hour}, {"week", "Last 7 days", 7 * 24 * time.Hour}, {"month", "Last 30 days", 30 * 24 * time.Hour}} {
		since := now.Add(-span.length).Format("2006-01-02T15:04")
		all = append(all, titled{"last-" + span.id, span.title, q.with("since", since, "until", "").String()})
	}
	return all
}

// partiesOf are those in a list, to choose from: by id, with their names.
func partiesOf(events []lifecycle.AuditEvent) (actors, targets []Choice) {
	actors = []Choice{{Value: lifecycle.ActorLocal, Label: "at the machine"}, {Value: lifecycle.ActorSystem, Label: "Keyreeve itself"}}
	seen := map[string]bool{lifecycle.ActorLocal: true}
	for i := range events {
		e := &events[i]
		if id := e.Actor.ID; id != "" && visible(id) == id && !seen["by "+id] && !seen[id] {
			seen["by "+id] = true
			actors = append(actors, Choice{Value: id, Label: visible(e.Actor.Name)})
		}
		if id := e.Target.ID; id != "" && visible(id) == id && !seen["to "+id] {
			seen["to "+id] = true
			targets = append(targets, Choice{Value: id, Label: e.Target.Kind + " " + visible(e.Target.Name)})
		}
	}
	return actors, targets
}

// auditTitles name the filters.
var auditTitles = map[string]string{"action": "What", "actor_id": "Who", "target_kind": "About", "target_id": "About", "request_id": "Request",
	"customer_id": "Customer", "microtenant_id": "Microtenant", "since": "From", "until": "Before"}

// auditChips are the filters that are on, in words.
func auditChips(q query, filter lifecycle.AuditFilter, choices lifecycle.KeyChoices, events []lifecycle.AuditEvent) []chip {
	var all []chip
	for _, name := range auditParams {
		value := q.Get(name)
		if value == "" {
			continue
		}
		c := chip{Name: auditTitles[name], Value: visible(value), Without: q.with(name, "").String()}
		switch name {
		case "action":
			c.Value = actionTitle(value)
		case "actor_id", "target_id":
			c.Value = visible(cmp.Or(partyName(name, value, events), value))
		case "target_kind":
			for _, k := range targetKinds {
				if k.kind == value {
					c.Value = k.title
				}
			}
		case "customer_id":
			c.Value = visible(nameOf(choices.Customers, value))
			if filter.NoCustomer {
				c.Value = "none"
			}
		case "microtenant_id":
			c.Value = visible(nameOf(choices.Microtenants, value))
		case "since":
			c.Value = momentText(filter.Since, value)
		case "until":
			c.Value = momentText(filter.Until, value)
		}
		all = append(all, c)
	}
	return all
}

func momentText(at lifecycle.Optional[time.Time], otherwise string) string {
	if !at.Has() {
		return visible(otherwise)
	}
	return stamp(at.Value)
}

// partyName is what a list calls an id, "" where it does not.
func partyName(param, id string, events []lifecycle.AuditEvent) string {
	if param == "actor_id" && id == lifecycle.ActorSystem {
		return "Keyreeve itself"
	}
	for i := range events {
		switch {
		case param == "actor_id" && events[i].Actor.ID == id:
			return events[i].Actor.Name
		case param == "target_id" && events[i].Target.ID == id:
			return events[i].Target.Name
		}
	}
	return ""
}
