package page

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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
	AllSecrets        lifecycle.KeySecrets
	Sessions          *keySessions
	Trail             *lifecycle.Page[lifecycle.AuditEvent]
	Check             *checkForm
}

// keySessions are the newest sessions of a key, and how many of all are active.
type keySessions struct {
	lifecycle.KeySessions
	Active int
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
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %v", liveMark([]keyRow{d.keyRow}), d.Usage.Hours))
	return hex.EncodeToString(sum[:8])
}

// AuditURL and SessionsURL lead to all that the page shows some of.
func (d *keyPage) AuditURL() string {
	return root + "audit?" + url.Values{"target_kind": {string(keystore.KindKey)}, "target_id": {d.ID}}.Encode()
}
func (d *keyPage) SessionsURL() string {
	return root + "sessions?" + url.Values{"key_id": {d.ID}}.Encode()
}

// showKey shows one key. A query is a request that the policy is asked about.
func (v *visit) showKey() error {
	d, err := v.readKeyPage()
	if err != nil {
		return err
	}
	status, err := v.answerCheck(d.Check)
	if err != nil {
		return err
	}
	if v.partial() && v.r.Header.Get("HX-Target") == "key-check" {
		v.w.Header().Set("HX-Push-Url", d.Place())
		return v.show(view{Status: status, Page: "keypage", Block: "check", Data: d})
	}
	return v.show(view{Status: status, Page: "keypage", Block: "key", Title: d.Name, Data: d})
}

func (v *visit) readKeyPage() (*keyPage, error) {
	d, err := v.readLiveKey()
	if err != nil {
		return nil, err
	}
	if d.AllSecrets, err = v.svc().ListSecrets(v.ctx(), v.actor, d.ID); err != nil {
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
	d.Modified, err = v.whoDid(d.ModifiedBy, d.Trail)
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
		size := func(n int) lifecycle.Paging { return lifecycle.Paging{Size: lifecycle.Some(n)} }
		all, err := v.svc().ListKeySessions(v.ctx(), v.actor, d.ID, lifecycle.SessionFilter{Paging: size(shownSessions)})
		if err != nil {
			return err
		}
		active, err := v.svc().ListKeySessions(v.ctx(), v.actor, d.ID, lifecycle.SessionFilter{State: keystore.SessionActive, Paging: size(1)})
		if err != nil {
			return err
		}
		d.Sessions = &keySessions{all, active.Total}
	}
	if v.may(lifecycle.ResourceAudit, policy.Read) {
		trail, err := v.svc().ListAudit(v.ctx(), v.actor, lifecycle.AuditFilter{TargetKind: string(keystore.KindKey), TargetID: d.ID}, "",
			lifecycle.Paging{Size: lifecycle.Some(shownEvents)})
		if err != nil {
			return err
		}
		d.Trail = &trail
	}
	return nil
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
	facts.URL = root + "sources/" + url.PathEscape(source.Name)
	if v.actor.AllCustomers {
		facts.URL += "?" + url.Values{"customer_id": {source.CustomerID}}.Encode()
	}
	if source.LastSyncBy != nil {
		facts.SyncedBy, err = v.whoDid(*source.LastSyncBy, nil)
	}
	return facts, err
}

// whoDid names who did something, as far as the actor may know: by the key that it
// was, or by what the audit trail has kept of one that is gone.
func (v *visit) whoDid(id string, trail *lifecycle.Page[lifecycle.AuditEvent]) (who, error) {
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
		for _, e := range trail.Items {
			if e.Actor.ID == id && e.Actor.Name != "" {
				return who{Name: e.Actor.Name}, nil
			}
		}
	}
	return who{Name: id}, nil
}

// unseen reports a refusal of what is not there or not for the actor to see.
func unseen(err error) bool {
	var refused *lifecycle.Error
	return errors.As(err, &refused) && (refused.Kind == lifecycle.NotFound || refused.Kind == lifecycle.Forbidden)
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
