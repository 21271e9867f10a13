package page

import (
	"cmp"
	"net/url"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// auditRow is an event of the audit trail as pages show it.
type auditRow struct {
	// Handle is what ids of elements about it end in.
	Handle string
	At     time.Time
	Icon   string
	// Did stands between who and what; Known is false where it is the bare action.
	Did   string
	Known bool
	// Outcome is what came of it beyond that it was done; Refused: it was not.
	Outcome string
	Refused bool
	Actor   auditParty
	Target  auditParty
	// Kind is how the actor came in, Address from where.
	Kind, Address string
	RequestID     string
	Request       string
	// Where is the customer and microtenant it was in, "" where that goes without saying.
	Where string
	Diff  diff
}

// auditParty is who did it, or what it was done to.
type auditParty struct {
	Name string
	// Href is its page, "" where it is gone or not for the actor to see.
	Href string
}

// auditRows are events, newest or oldest first as they come, for the parts
// `audit-events` and `audit-event`. What they name is linked to where it still is.
func (v *visit) auditRows(events []lifecycle.AuditEvent) ([]auditRow, error) {
	names, err := v.svc().AuditNames(v.ctx(), v.actor, events)
	if err != nil {
		return nil, err
	}
	rows := make([]auditRow, len(events))
	for i := range events {
		rows[i] = v.auditRow(&events[i], names)
		if rows[i].Handle = strconv.FormatInt(events[i].Number, 10); events[i].Number == 0 {
			rows[i].Handle = "early-" + strconv.Itoa(i) // from before events were numbered
		}
	}
	return rows, nil
}

func (v *visit) auditRow(e *lifecycle.AuditEvent, names lifecycle.AuditNames) auditRow {
	row := auditRow{At: e.At, Address: visible(e.Actor.Address),
		RequestID: visible(e.RequestID), Kind: actorKinds[e.Actor.Kind], Diff: diffOf(e.Before, e.After, names)}
	row.Did, row.Icon, row.Known = whatWasDone(e)
	row.Outcome, row.Refused = outcomeOf(e)
	if e.Action == "key.lock" {
		row.Address = "" // not who did it: the outcome tells
	}
	if e.RequestID != "" {
		row.Request = auditURL("request_id", e.RequestID)
	}
	row.Actor = v.actorOf(e, names)
	row.Target = targetOf(e, names, v.actor.AllCustomers)
	row.Where = v.placeOf(e, names)
	return row
}

// auditPath is the room of the audit trail.
const auditPath = root + "audit"

// auditURL lists events; filters are given as name, value pairs.
func auditURL(filters ...string) string {
	return query{url.Values{}, auditPath, auditParams}.with(filters...).String()
}

func (v *visit) actorOf(e *lifecycle.AuditEvent, names lifecycle.AuditNames) auditParty {
	p := auditParty{Name: visible(cmp.Or(e.Actor.Name, e.Actor.ID, e.Actor.Kind))}
	switch e.Actor.Kind {
	case keystore.ActorSystem:
		p.Name = "Keyreeve"
	case keystore.ActorKey, keystore.ActorSession:
		if _, there := names.Keys[e.Actor.ID]; there {
			p.Href = keyURL(e.Actor.ID)
		}
	}
	return p
}

func targetOf(e *lifecycle.AuditEvent, names lifecycle.AuditNames, allCustomers bool) auditParty {
	t := e.Target
	p := auditParty{Name: visible(cmp.Or(t.Name, t.ID))}
	customerID := ""
	if e.CustomerID != nil {
		customerID = *e.CustomerID
	}
	switch keystore.Kind(t.Kind) {
	case keystore.KindKey:
		if _, there := names.Keys[t.ID]; there {
			p.Href = keyURL(t.ID)
		}
	case keystore.KindSession:
		for _, record := range [][]byte{e.After, e.Before} {
			id, _ := member(record, "key_id").(string)
			if _, there := names.Keys[id]; there {
				p.Href = keyURL(id)
			}
		}
	case keystore.KindRole:
		if _, there := names.Roles[t.ID]; there {
			p.Href = rolePath(t.ID)
		}
	case keystore.KindSource:
		if names.Sources[customerID][t.ID] {
			p.Href = sourceURL(t.ID, customerID, allCustomers)
		}
	}
	return p
}

// placeOf is where the event belongs, as far as that differs from where the actor is.
func (v *visit) placeOf(e *lifecycle.AuditEvent, names lifecycle.AuditNames) string {
	if e.CustomerID == nil {
		return "no customer"
	}
	text := ""
	if v.actor.AllCustomers {
		text = visible(cmp.Or(names.Customers[*e.CustomerID], *e.CustomerID))
	}
	if e.MicrotenantID == nil || *e.MicrotenantID == v.actor.MicrotenantID {
		return text
	}
	if text != "" {
		text += " › "
	}
	return text + visible(cmp.Or(names.Microtenants[*e.CustomerID][*e.MicrotenantID], *e.MicrotenantID))
}

// member is one of a record, nil if it has none of that name.
func member(record []byte, name string) any {
	value, _ := decode(record)
	object, _ := value.(map[string]any)
	return object[name]
}

// stampText is a time that stands in a record as text.
func stampText(value any) string {
	text, _ := value.(string)
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return stamp(at)
	}
	return "a time that is not known"
}
