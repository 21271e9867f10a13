package lifecycle

import (
	"context"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// FilterNull selects records whose member is null: keys at customer level, or of
// no external source. Neither a microtenant nor a source can have that id.
const FilterNull = policy.AllMicrotenants

// KeyFilter selects and orders keys; zero fields do not filter, and those that
// are set must all match.
type KeyFilter struct {
	// Name, ID and ClientID are the whole of each.
	Name, ID, ClientID string
	// Text is found in name, description or client ID, whatever the case.
	Text string
	// State is active, disabled, locked or expired.
	State  string
	RoleID string
	// Source is a source's name, or FilterNull.
	Source     string
	CustomerID string
	// MicrotenantID is an id, or FilterNull.
	MicrotenantID string
	// Labels is a list separated by commas of name, which must be there, or
	// name:value, which must be so. In a value, \ stands before a comma that
	// belongs to it, and before a \.
	Labels string
	// CreatedAfter, CreatedBefore and ExpiresBefore leave out the instant itself. A
	// key without an end does not expire before anything.
	CreatedAfter, CreatedBefore, ExpiresBefore Optional[time.Time]
	// NeverUsed is whether a key was never let in.
	NeverUsed Optional[bool]
	// Locked is whether the whole client is locked, of disabled and expired keys too.
	Locked Optional[bool]
	// Sort is fields of keystore.KeySortFields, separated by commas, each with a -
	// before it for descending; "" is name.
	Sort string
	Paging
}

// ListKeys lists the keys that the actor may see. A filter for another tenant
// than the actor's finds nothing.
func (s *Service) ListKeys(ctx context.Context, a Actor, f KeyFilter) (Page[Key], error) {
	var out Page[Key]
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceKeys, policy.Read); err != nil {
			return err
		}
		var bad FieldErrors
		q := f.query(&bad)
		at, err := f.Paging.check(o, o.scope(keyCursor, f.scope()), bad)
		if err != nil {
			return err
		}
		out = Page[Key]{Items: []Key{}}
		if !f.bound(o, &q) {
			return nil
		}
		q.After, q.Offset, q.Limit = at.after, at.offset, at.limit()
		keys, total, err := o.r.Keys(ctx, q)
		if err != nil {
			return err
		}
		show, err := o.shower(keys...)
		if err != nil {
			return err
		}
		place := func(k *keystore.Key) (keystore.Cursor, error) { return o.r.KeyCursor(o.ctx, q, k.ID) }
		out, err = pageOf(o, at, keys, total, place, show)
		return err
	})
	return out, err
}

// scope is what cursors are bound to: all of the filter, whatever fields it has,
// but for the page.
func (f KeyFilter) scope() []string {
	f.Paging = Paging{}
	text, _ := json.Marshal(f) // fails for times alone that query refuses
	return []string{string(text)}
}

// bound narrows q to what the actor sees; false if that leaves nothing.
func (f KeyFilter) bound(o *op, q *keystore.KeyQuery) bool {
	asked := tenant{customerID: f.CustomerID, microtenantID: f.MicrotenantID}
	if f.MicrotenantID == FilterNull {
		asked.microtenantID, q.CustomerLevel = "", true
	}
	t, some := o.bound(asked)
	q.CustomerID, q.MicrotenantID, q.AllCustomers = t.customerID, t.microtenantID, t.all
	return some && !(q.CustomerLevel && t.microtenantID != "")
}

// query is the filter as the store takes it, not yet bounded to the actor.
func (f KeyFilter) query(bad *FieldErrors) keystore.KeyQuery {
	q := keystore.KeyQuery{Name: norm.NFC.String(f.Name), ID: f.ID, ClientID: f.ClientID, Text: norm.NFC.String(f.Text), State: f.State, RoleID: f.RoleID, Source: f.Source, Sort: sortFields(f.Sort),
		Labels: labelFilters(bad, f.Labels), CreatedAfter: instant(bad, "created_after", f.CreatedAfter),
		CreatedBefore: instant(bad, "created_before", f.CreatedBefore), ExpiresBefore: instant(bad, "expires_before", f.ExpiresBefore)}
	if f.Source == FilterNull {
		q.Source, q.OwnOnly = "", true
	}
	if f.NeverUsed.Has() {
		q.NeverUsed = &f.NeverUsed.Value
	}
	if f.Locked.Has() {
		q.Locked = &f.Locked.Value
	}
	if _, err := q.Order(); err != nil {
		bad.Add("sort", FieldFormat, "must be at most %d different ones of %s, separated by commas, each with a - before it for descending",
			keystore.MaxSortFields, strings.Join(keystore.KeySortFields(), ", "))
	}
	switch f.State {
	case "", keystore.StateActive, keystore.StateDisabled, keystore.StateLocked, keystore.StateExpired:
	default:
		bad.Add("state", FieldFormat, "must be active, disabled, locked or expired")
	}
	if !utf8.ValidString(f.Text) || utf8.RuneCountInString(f.Text) > maxText {
		bad.Add("q", FieldRange, "must be at most %d characters of UTF-8", maxText)
	}
	return q
}

// instant is a time that keys can have, zero where there is none.
func instant(bad *FieldErrors, field string, at Optional[time.Time]) time.Time {
	if at.Has() && (at.Value.Before(time.UnixMilli(0)) || at.Value.After(lastTime)) {
		bad.Add(field, FieldRange, "must be from 1970 and before the year 9999")
	}
	return at.Value
}

// sortFields reads an order such as `name,-created_at`.
func sortFields(text string) []keystore.SortField {
	if text == "" {
		return nil
	}
	var fields []keystore.SortField
	for _, field := range strings.Split(text, ",") {
		name, desc := strings.CutPrefix(field, "-")
		fields = append(fields, keystore.SortField{Field: name, Desc: desc})
	}
	return fields
}

// labelFilters reads KeyFilter.Labels.
func labelFilters(bad *FieldErrors, text string) []keystore.LabelFilter {
	const field = "label"
	if text == "" {
		return nil
	}
	parts, ok := splitEscaped(text)
	if !ok {
		bad.Add(field, FieldFormat, `ends in the middle of an escape; \, is a comma and \\ a \`)
		return nil
	}
	if len(parts) > MaxLabels {
		bad.Add(field, FieldTooMany, "names %d labels, no key has more than %d", len(parts), MaxLabels)
		return nil
	}
	filters := make([]keystore.LabelFilter, 0, len(parts))
	for _, part := range parts {
		name, value, has := strings.Cut(part, ":")
		if len(name) > MaxLabelKey || !labelKeyPattern.MatchString(name) {
			bad.Add(field, FieldFormat, "must be such as env or env:prod, several separated by commas")
			return nil
		}
		filter := keystore.LabelFilter{Name: name}
		if has {
			clean := cleanText(bad, field, value, 0, MaxLabelValue, "") // stored so
			filter.Value = &clean
		}
		filters = append(filters, filter)
	}
	return filters
}

// splitEscaped splits at commas that no \ stands before, and takes the \ away;
// false if nothing follows the last one.
func splitEscaped(text string) (parts []string, ok bool) {
	var part strings.Builder
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			part.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == ',':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteRune(r)
		}
	}
	return append(parts, part.String()), !escaped
}
