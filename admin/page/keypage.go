package page

import (
	"cmp"
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// shownSessions and shownEvents bound what a key's page shows of each; the rooms
	// have the rest.
	shownSessions = 10
	shownEvents   = 20
)

func (p *Page) addKeyPage() {
	p.get(keysPath+"/{id}", (*visit).showKey)
	p.get(keysPath+"/{id}/check", (*visit).checkKey)
	p.add("GET "+keysPath+"/{id}/live", route{handle: (*visit).liveKey, passive: true})
}

// keyPage is the data of one key's page. What is nil the actor may not read.
type keyPage struct {
	keyRow
	Created, Modified who
	Owner             *sourceFacts
	Usage             usageView
	Tries             *lifecycle.KeyLock
	SecretsList       *secretsList
	Sessions          *keySessions
	Trail             *keyTrail
	Check             *checkForm
}

// keySessions are the newest sessions of a key, and how many there are.
type keySessions struct {
	Rows          []keySession
	Active, Total int
}

// keySession is a session of the key that the page is about.
type keySession struct{ lifecycle.Session }

// EndURL asks to end it.
func (s keySession) EndURL() string { return sessionsPath + "/" + url.PathEscape(s.ID) + "/end" }

// Why is what ended it early, "" where nothing did.
func (s keySession) Why() string {
	if s.EndReason == nil {
		return ""
	}
	return endReason(*s.EndReason)
}

// keyTrail is the newest of what was done to a key.
type keyTrail struct {
	events []lifecycle.AuditEvent
	Rows   []auditRow
	Total  int
}

// sourceFacts are what is known of the source of a key; Source is nil where its name
// is all that the actor may know.
type sourceFacts struct {
	Name, URL string
	*lifecycle.Source
	SyncedBy who
}

// who is somebody who did something; URL is "" where there is nothing to see.
type who struct{ Name, URL string }

// Place is the page's URL, which holds what is asked of the policy.
func (d *keyPage) Place() string {
	if len(d.Check.Values) == 0 {
		return keyURL(d.ID)
	}
	return keyURL(d.ID) + "?" + d.Check.Values.Encode()
}

// Live asks for what changes by itself, and tells what of it is shown.
func (d *keyPage) Live() string {
	return keyURL(d.ID, "live") + "?seen=" + d.mark()
}

// mark is the same as long as what is kept up to date is.
func (d *keyPage) mark() string {
	return markOf(liveMark([]keyRow{d.keyRow}), d.Usage.Hours)
}

// AuditURL and SessionsURL lead to all that the page shows some of.
func (d *keyPage) AuditURL() string {
	return auditURL("target_kind", string(keystore.KindKey), "target_id", d.ID)
}
func (d *keyPage) SessionsURL() string {
	return sessionsPath + "?" + url.Values{"key_id": {d.ID}}.Encode()
}

// EndSessionsURL asks to end them all, and RoleURL is the role's page.
func (d *keyPage) EndSessionsURL() string { return keyURL(d.ID, "sessions", "end") }
func (d *keyPage) RoleURL() string        { return rolePath(d.RoleID) }

// showKey shows one key. A query is a request that the policy is asked about.
func (v *visit) showKey() error {
	read := v.readKeyPage
	if v.checksAlone() {
		read = v.readKeyCheck
	}
	d, err := read()
	if err != nil {
		return err
	}
	if v.untidy() {
		return v.redirect(d.Place())
	}
	status, err := v.answerCheck(d.Check)
	if err != nil {
		return err
	}
	block := cmp.Or(v.checkBlock(d.Check, d.Place()), "key")
	return v.show(view{Status: status, Page: "keypage", Block: block, Title: d.Name, Data: d})
}

// readKeyCheck reads what asking the policy takes.
func (v *visit) readKeyCheck() (*keyPage, error) {
	k, err := v.svc().GetKey(v.ctx(), v.actor, v.id())
	if err != nil {
		return nil, err
	}
	d := &keyPage{keyRow: keyRow{Key: k}}
	d.Check, err = v.keyCheck(k)
	return d, err
}

func (v *visit) readKeyPage() (*keyPage, error) {
	d, err := v.readLiveKey()
	if err != nil {
		return nil, err
	}
	if d.SecretsList, err = v.secretsList(d.Key); err != nil {
		return nil, err
	}
	if d.Check, err = v.keyCheck(d.Key); err != nil {
		return nil, err
	}
	if err := v.readRelated(d); err != nil {
		return nil, err
	}
	if d.Owner, err = v.sourceOf(d.Key); err != nil {
		return nil, err
	}
	if d.Created, err = v.whoDid(d.CreatedBy, d.Trail); err != nil {
		return nil, err
	}
	if d.Modified = d.Created; d.ModifiedBy != d.CreatedBy {
		d.Modified, err = v.whoDid(d.ModifiedBy, d.Trail)
	}
	return d, err
}

// readLiveKey reads the parts that change by themselves.
func (v *visit) readLiveKey() (*keyPage, error) {
	k, err := v.svc().GetKey(v.ctx(), v.actor, v.id())
	if err != nil {
		return nil, err
	}
	rows, err := v.rowsOf([]lifecycle.Key{k})
	if err != nil {
		return nil, err
	}
	usage, err := v.svc().KeyUsage(v.ctx(), v.actor, k.ID)
	return &keyPage{keyRow: rows[0], Usage: usageView{usage}}, err
}

// readRelated reads what takes rights beyond those on keys.
func (v *visit) readRelated(d *keyPage) error {
	if v.may(lifecycle.ResourceLocks, policy.Read) {
		lock, err := v.svc().GetLock(v.ctx(), v.actor, d.ID)
		if err != nil {
			return err
		}
		d.Tries = &lock
	}
	if v.may(lifecycle.ResourceSessions, policy.Read) {
		newest := lifecycle.Paging{Size: lifecycle.Some(shownSessions)}
		all, err := v.svc().ListKeySessions(v.ctx(), v.actor, d.ID, lifecycle.SessionFilter{Paging: newest})
		if err != nil {
			return err
		}
		active, err := v.svc().ListKeySessions(v.ctx(), v.actor, d.ID, lifecycle.SessionFilter{State: keystore.SessionActive, Paging: one()})
		if err != nil {
			return err
		}
		d.Sessions = &keySessions{Active: active.Total, Total: all.Total}
		for _, s := range all.Items {
			d.Sessions.Rows = append(d.Sessions.Rows, keySession{s})
		}
	}
	if v.may(lifecycle.ResourceAudit, policy.Read) {
		return v.readTrail(d)
	}
	return nil
}

func (v *visit) readTrail(d *keyPage) error {
	found, err := v.svc().ListAudit(v.ctx(), v.actor, lifecycle.AuditFilter{TargetKind: string(keystore.KindKey), TargetID: d.ID}, "",
		lifecycle.Paging{Size: lifecycle.Some(shownEvents)})
	if err != nil {
		return err
	}
	d.Trail = &keyTrail{events: found.Items, Total: found.Total}
	d.Trail.Rows, err = v.auditRows(found.Items)
	return err
}

// sourceOf is the source of a key, nil for one of Keyreeve itself.
func (v *visit) sourceOf(k lifecycle.Key) (*sourceFacts, error) {
	if k.Source == nil {
		return nil, nil
	}
	facts := &sourceFacts{Name: *k.Source}
	source, err := v.svc().GetSource(v.ctx(), v.actor, lifecycle.SourceRef{Name: *k.Source, CustomerID: k.CustomerID})
	if unseen(err) {
		return facts, nil
	}
	if err != nil {
		return nil, err
	}
	facts.Source = &source
	facts.URL = sourceURL(source.Name, source.CustomerID, v.actor.AllCustomers)
	if source.LastSyncBy != nil {
		facts.SyncedBy, err = v.whoDid(*source.LastSyncBy, nil)
	}
	return facts, err
}

// whoDid names who did something, as far as the actor may know: by the key that it
// was, or by what the audit trail has kept of one that is gone.
func (v *visit) whoDid(id string, trail *keyTrail) (who, error) {
	switch id {
	case "":
		return who{Name: "nobody known"}, nil
	case lifecycle.ActorLocal:
		return who{Name: "somebody at the machine itself"}, nil
	case lifecycle.ActorSystem:
		return who{Name: "Keyreeve itself"}, nil
	}
	k, err := v.svc().GetKey(v.ctx(), v.actor, id)
	if err == nil {
		return who{Name: k.Name, URL: keyURL(k.ID)}, nil
	}
	if !unseen(err) {
		return who{}, err
	}
	if trail != nil {
		for _, e := range trail.events {
			if e.Actor.ID == id && e.Actor.Name != "" {
				return who{Name: e.Actor.Name}, nil
			}
		}
	}
	return who{Name: id}, nil
}

// liveKey answers with the parts of a key's page that change by themselves, each in
// its place, and with nothing where none did.
func (v *visit) liveKey() error {
	if !v.partial() {
		return v.redirect(keyURL(v.id()))
	}
	d, err := v.readLiveKey()
	if unseen(err) {
		v.w.Header().Set("HX-Reswap", "none")
		text := "This key is not there any more. What stands here is no longer kept up to date."
		return v.render(stopPolling, "parts", "notice", document{Notice: &notice{Text: text, Bad: true}, Swap: true})
	}
	if err != nil {
		return err
	}
	if d.mark() == v.r.URL.Query().Get("seen") {
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return v.show(view{Page: "keypage", Block: "live", Data: d})
}

// LiveMain and LiveMore are what may change by itself of Main and More.
func (m keyMenu) LiveMain() []keyAction {
	return alone(m.only(func(a keyAction) bool { return a.live && a.main }))
}
func (m keyMenu) LiveMore() []keyAction {
	return alone(m.only(func(a keyAction) bool { return a.live && !a.main }))
}
