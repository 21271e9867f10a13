package page

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// keyRow is a key as the table shows it.
type keyRow struct {
	lifecycle.Key
	Role, Customer, Microtenant string
	// Why says more of the state; Until is when a lock ends.
	Why   string
	Until *time.Time
	// Validity is the lifetime of its access tokens, "" for the default.
	Validity string
	Tags     []string
	// ExpiresSoon: within 30 days.
	ExpiresSoon bool
	// Swap: its cells are sent alone and find their own places.
	Swap bool
}

func (v *visit) rowsOf(keys []lifecycle.Key) ([]keyRow, error) {
	names, err := v.svc().KeyNames(v.ctx(), v.actor, keys)
	if err != nil {
		return nil, err
	}
	now := v.page.cfg.Now()
	rows := make([]keyRow, len(keys))
	for i, k := range keys {
		row := keyRow{Key: k, Role: cmp.Or(names.Roles[k.RoleID], k.RoleID), Customer: cmp.Or(names.Customers[k.CustomerID], k.CustomerID)}
		if k.MicrotenantID != nil {
			row.Microtenant = cmp.Or(names.Microtenants[k.CustomerID][*k.MicrotenantID], *k.MicrotenantID)
		}
		if k.SessionValiditySeconds != nil {
			row.Validity = spell(time.Duration(*k.SessionValiditySeconds) * time.Second)
		}
		for _, name := range slices.Sorted(maps.Keys(k.Labels)) {
			tag := name
			if value := k.Labels[name]; value != "" {
				tag += ": " + value
			}
			row.Tags = append(row.Tags, tag)
		}
		row.ExpiresSoon = k.ExpiresAt != nil && k.ExpiresAt.After(now) && k.ExpiresAt.Before(now.AddDate(0, 0, 30))
		row.Why, row.Until = why(k, now)
		rows[i] = row
	}
	return rows, nil
}

// why says what lies behind a key's state.
func why(k lifecycle.Key, now time.Time) (text string, until *time.Time) {
	switch k.State {
	case keystore.StateDisabled:
		if k.DisabledHere && k.Enabled {
			return "switched off here, not by its source", nil
		}
		return "switched off", nil
	case keystore.StateExpired:
		return span(now.Sub(*k.ExpiresAt)), nil
	case keystore.StateLocked:
		return fmt.Sprintf("%d wrong %s, opens", k.Lock.FailedAttempts, plural(k.Lock.FailedAttempts, "secret")), k.Lock.LockedUntil
	}
	switch {
	case len(k.Secrets) == 0:
		return "no secret is good any more", nil
	case k.Lock.FailedAttempts > 0:
		return fmt.Sprintf("%d wrong %s lately", k.Lock.FailedAttempts, plural(k.Lock.FailedAttempts, "secret")), nil
	}
	return "", nil
}

func plural(n int, one string) string {
	if n == 1 {
		return one
	}
	return one + "s"
}

// Filter is the query that shows keys with this label.
func (row keyRow) Filter(tag string) string {
	name, value, has := strings.Cut(tag, ": ")
	if has {
		name += ":" + strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(value)
	}
	return newQuery(nil).with("label", name).String()
}

// NewestSecret is the hint of the newest, "" where it has none.
func (row keyRow) NewestSecret() string {
	if len(row.Secrets) == 0 {
		return ""
	}
	return row.Secrets[0].Hint
}

// liveMark is the same as long as nothing changed that is kept up to date.
func liveMark(rows []keyRow) string {
	var seen []any
	for _, row := range rows {
		until, used := "", ""
		if row.Until != nil {
			until = row.Until.UTC().Format(time.RFC3339)
		}
		if row.LastUsedAt != nil {
			used = span(time.Since(*row.LastUsedAt)) // what is shown of it
		}
		seen = append(seen, row.ID, row.State, row.Why, until, used, row.Enabled, row.DisabledHere, row.Lock.Locked, row.Lock.FailedAttempts, len(row.Secrets))
	}
	return markOf(seen...)
}
