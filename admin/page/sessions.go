package page

import (
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

const sessionsPath = root + "sessions"

// sessionParams are the filters of the sessions.
var sessionParams = []string{"state", "key_id", "customer_id", "microtenant_id"}

func (p *Page) addSessions() {
	p.get(sessionsPath, (*visit).listSessions)
	p.get(sessionsPath+"/{id}/end", (*visit).askEndSession)
	p.post(sessionsPath+"/{id}/end", (*visit).endSession)
	p.get(keysPath+"/{id}/sessions/end", (*visit).askEndSessions)
	p.post(keysPath+"/{id}/sessions/end", (*visit).endSessions)
}

// sessionList is the data of the sessions.
type sessionList struct {
	*listed[sessionRow]
	Chips   []chip
	Choices lifecycle.KeyChoices
	// KeyName is that of the key that is filtered for, where it is known.
	KeyName string
}

// EndAllURL is the dialog that ends all sessions of the key that is filtered for.
func (d *sessionList) EndAllURL() string { return keyURL(d.Get("key_id"), "sessions", "end") }

// sessionRow is a session as the list shows it.
type sessionRow struct {
	lifecycle.Session
	Customer, Microtenant string
	// Own: it is the one that the actor is signed in with.
	Own bool
	// Why is why it ended early, "" where it did not.
	Why string
}

// Open reports one that has not ended.
func (r sessionRow) Open() bool { return r.State == keystore.SessionActive }

// Handle is what ids of elements about it end in.
func (r sessionRow) Handle() string { return url.PathEscape(r.ID) }

// KeyURL is the key's page, and the others are what can be done and looked at.
func (r sessionRow) KeyURL() string    { return keyURL(r.KeyID) }
func (r sessionRow) EndURL() string    { return sessionsPath + "/" + url.PathEscape(r.ID) + "/end" }
func (r sessionRow) EndAllURL() string { return keyURL(r.KeyID, "sessions", "end") }
func (r sessionRow) OnlyURL() string {
	return listQuery(sessionsPath, nil, sessionParams...).with("key_id", r.KeyID).String()
}

// ownSession is the id of the session that the actor is signed in with.
func (v *visit) ownSession() string { return v.page.cfg.Door.SessionID(v.r, v.token) }

func (v *visit) listSessions() error {
	q := listQuery(sessionsPath, v.r.URL.Query(), sessionParams...)
	f := NewForm(q.Values)
	id, err := v.keyNamed(f, "key_id", q.Get("key_id"))
	if err != nil {
		return err
	}
	if id != "" {
		q.Set("key_id", id)
	}
	if v.tidied(q) {
		return v.redirect(q.String())
	}
	d, err := v.readSessions(q, f)
	if err != nil {
		return err
	}
	return v.show(view{Status: statusOf(d.Form), Page: "sessions", Block: v.blockOf("session-list", "list", "sessions"), Title: "Sessions", Data: d})
}

func (v *visit) readSessions(q query, f *Form) (*sessionList, error) {
	d := new(sessionList)
	var err error
	if d.Choices, err = v.choices(); err != nil {
		return nil, err
	}
	own := v.ownSession()
	filter := lifecycle.SessionFilter{State: q.Get("state"), KeyID: q.Get("key_id"), CustomerID: q.Get("customer_id"), MicrotenantID: q.Get("microtenant_id")}
	d.listed, err = readList(v, f, q, "#sessions", func(at lifecycle.Paging) (lifecycle.Page[sessionRow], error) {
		filter.Paging = at
		page, err := v.svc().ListSessions(v.ctx(), v.actor, filter)
		return pageAs(page, err, func(s lifecycle.Session) (sessionRow, error) { return sessionRowOf(s, d.Choices, own), nil })
	})
	if err != nil {
		return nil, err
	}
	if q.Get("key_id") != "" && len(d.Items) > 0 {
		d.KeyName = d.Items[0].KeyName
	}
	d.Chips = sessionChips(q, d)
	return d, nil
}

func sessionRowOf(s lifecycle.Session, choices lifecycle.KeyChoices, own string) sessionRow {
	row := sessionRow{Session: s, Own: s.ID == own}
	row.Customer, row.Microtenant = tenantNames(choices, s.CustomerID, s.MicrotenantID)
	if s.EndReason != nil {
		row.Why = endReason(*s.EndReason)
	}
	return row
}

// sessionStates are the states in words.
var sessionStates = map[string]string{keystore.SessionActive: "open", keystore.SessionEnded: "ended early", keystore.SessionExpired: "expired"}

func sessionChips(q query, d *sessionList) []chip {
	var all []chip
	for _, name := range sessionParams {
		value := q.Get(name)
		if value == "" {
			continue
		}
		c := chip{Value: visible(value), Without: q.with(name, "").String()}
		switch name {
		case "state":
			c.Name = "State"
			if text, known := sessionStates[value]; known {
				c.Value = text
			}
		case "key_id":
			c.Name = "Key"
			if d.KeyName != "" {
				c.Value = d.KeyName
			}
		case "customer_id":
			c.Name, c.Value = "Customer", nameOf(d.Choices.Customers, value)
		case "microtenant_id":
			c.Name, c.Value = "Microtenant", nameOf(d.Choices.Microtenants, value)
		}
		all = append(all, c)
	}
	return all
}
