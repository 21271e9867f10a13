package page

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

const locksPath = root + "locks"

// lockParams are the filters of the locks.
var lockParams = []string{"customer_id", "microtenant_id"}

func (p *Page) addLocks() {
	p.get(locksPath, (*visit).listLocks)
	p.add("GET "+locksPath+"/live", route{handle: (*visit).liveLocks, passive: true})
}

// lockList is the data of the locks in force.
type lockList struct {
	*listed[lockRow]
	Choices lifecycle.KeyChoices
	// Rule is what locks a key, "" where that is not known.
	Rule string
	// Live asks whether anything changed.
	Live string
}

// lockRow is a lock and the key that it locks.
type lockRow struct {
	lifecycle.LockedKey
	// Handle is what ids of elements about it end in: a key may have several.
	Handle                string
	Customer, Microtenant string
}

// KeyURL is the key's page, and UnlockURL the dialog that unlocks it.
func (r lockRow) KeyURL() string    { return keyURL(r.KeyID) }
func (r lockRow) UnlockURL() string { return keyURL(r.KeyID, "unlock") }

// TrailURL is what was done to the key, its locks among it.
func (r lockRow) TrailURL() string { return auditURL("target_kind", "key", "target_id", r.KeyID) }

func (v *visit) listLocks() error {
	q := listQuery(locksPath, v.r.URL.Query(), lockParams...)
	if v.tidied(q) {
		return v.redirect(q.String())
	}
	d, err := v.readLocks(q)
	if err != nil {
		return err
	}
	return v.show(view{Status: statusOf(d.Form), Page: "locks", Block: v.blockOf("lock-list", "list", "locks"), Title: "Locks", Data: d})
}

// liveLocks answers with the list when it is not what is shown any more.
func (v *visit) liveLocks() error {
	q := listQuery(locksPath, v.r.URL.Query(), lockParams...)
	if !v.partial() {
		return v.redirect(q.String())
	}
	d, err := v.readLocks(q)
	if err != nil {
		return err
	}
	if d.Failed() || lockMark(d) == v.r.URL.Query().Get("seen") {
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return v.show(view{Page: "locks", Block: "list", Data: d})
}

func (v *visit) readLocks(q query) (*lockList, error) {
	d := new(lockList)
	var err error
	if d.Choices, err = v.choices(); err != nil {
		return nil, err
	}
	filter := lifecycle.LockFilter{CustomerID: q.Get("customer_id"), MicrotenantID: q.Get("microtenant_id")}
	d.listed, err = readList(v, NewForm(q.Values), q, "#locks", func(at lifecycle.Paging) (lifecycle.Page[lockRow], error) {
		filter.Paging = at
		page, err := v.svc().ListLocks(v.ctx(), v.actor, filter)
		return pageAs(page, err, func(l lifecycle.LockedKey) (lockRow, error) { return lockRowOf(l, d.Choices), nil })
	})
	if err != nil {
		return nil, err
	}
	if v.page.cfg.Lockout != nil {
		attempts, duration := v.page.cfg.Lockout()
		d.Rule = fmt.Sprintf("%d wrong secrets lock a key for %s", attempts, spell(duration))
	}
	values := url.Values{"seen": {lockMark(d)}}
	for name, given := range q.Values {
		values[name] = given
	}
	d.Live = locksPath + "/live?" + values.Encode()
	return d, nil
}

func lockRowOf(l lifecycle.LockedKey, choices lifecycle.KeyChoices) lockRow {
	row := lockRow{LockedKey: l, Handle: l.KeyID}
	if l.Source != nil {
		sum := sha256.Sum256([]byte(*l.Source))
		row.Handle += "-" + hex.EncodeToString(sum[:4])
	}
	row.Customer, row.Microtenant = tenantNames(choices, l.CustomerID, l.MicrotenantID)
	return row
}

// tenantNames are the names of a customer and of a microtenant of it, "" for none;
// their ids where the names are not known.
func tenantNames(choices lifecycle.KeyChoices, customerID string, microtenantID *string) (customer, microtenant string) {
	customer = nameOf(choices.Customers, customerID)
	if microtenantID == nil {
		return customer, ""
	}
	for _, m := range choices.Microtenants {
		if m.ID == *microtenantID && m.CustomerID == customerID {
			microtenant = m.Name
		}
	}
	return customer, cmp.Or(microtenant, *microtenantID)
}

// lockMark is the same as long as the list is.
func lockMark(d *lockList) string {
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%d", d.Total)
	for _, row := range d.Items {
		_, _ = fmt.Fprintf(hash, "%q", []string{row.Handle, row.KeyName, row.LockedAt.Format(time.RFC3339), row.LockedUntil.Format(time.RFC3339)})
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}
