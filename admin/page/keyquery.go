package page

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// Parameters of the table of keys. Those of the admin API's list mean the same
// here; a few more are the page's own.
const (
	paramSort    = "sort"
	paramSize    = "page_size"
	paramPage    = "page"
	paramCursor  = "cursor"
	paramAt      = "at"             // the page that a cursor leads to, to be shown
	paramView    = "view"           // a saved view that the rest is held against
	paramColumns = "columns"        // in place of the view's
	paramWithin  = "expires_within" // days: in place of an expires_before that grows old
	paramOpen    = "open"           // of the form of filters: it is open
	// noView is the view that is none: the table as it is without a default.
	noView = "none"
)

// filterParams narrow the list, in the order in which chips are shown.
var filterParams = []string{"q", "state", "locked", "role_id", "source", "customer_id", "microtenant_id", "label",
	"never_used", paramWithin, "expires_before", "created_after", "created_before"}

// quickParams are those whose state the search and the quick filters show.
var quickParams = []string{"q", "state", "locked", "never_used", paramWithin}

// savedParams are what a saved view holds; places are what is not worth keeping.
var (
	savedParams = append(slices.Clone(filterParams), paramSort, paramSize)
	placeParams = []string{paramPage, paramCursor, paramAt}
	keyParams   = slices.Concat(savedParams, placeParams, []string{paramView, paramColumns})
)

// pageSizes are offered; any up to lifecycle's bound is taken.
var pageSizes = []int{20, 50, 100, 500}

// query is the state of the table, which is that of its URL.
type query struct {
	url.Values
	path string
	// filters are the parameters that narrow the list.
	filters []string
}

// newQuery keeps what the table knows and drops what is empty.
func newQuery(given url.Values) query {
	q := query{url.Values{}, keysPath, filterParams}
	for _, name := range keyParams {
		if value := given.Get(name); value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// String is the URL: the same for the same state.
func (q query) String() string {
	if len(q.Values) == 0 {
		return q.path
	}
	return q.path + "?" + q.Encode()
}

// with is the URL after changes, given as name, value pairs; "" takes one away.
// Whatever changes, the list begins anew.
func (q query) with(changes ...string) query {
	next := query{url.Values{}, q.path, q.filters}
	for name, values := range q.Values {
		if !slices.Contains(placeParams, name) {
			next.Values[name] = values
		}
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "" {
			next.Del(changes[i])
		} else {
			next.Set(changes[i], changes[i+1])
		}
	}
	return next
}

// saved is the part that a view holds, as its query string.
func (q query) saved() string { return only(q.Values, savedParams).Encode() }

// filtered reports whether anything narrows the list.
func (q query) filtered() bool { return len(only(q.Values, q.filters)) > 0 }

// unfiltered is the URL without any filter.
func (q query) unfiltered() string {
	var all []string
	for _, name := range q.filters {
		all = append(all, name, "")
	}
	return q.with(all...).String()
}

func only(values url.Values, names []string) url.Values {
	kept := url.Values{}
	for _, name := range names {
		if value := values.Get(name); value != "" {
			kept.Set(name, value)
		}
	}
	return kept
}

// size is how many rows a page has, and number which page it is.
func (q query) size(otherwise int) int {
	if n, err := strconv.Atoi(q.Get(paramSize)); err == nil && n >= 1 && n <= lifecycle.MaxPageSize {
		return n
	}
	return otherwise
}

func (q query) number() int {
	for _, name := range []string{paramPage, paramAt} {
		if n, err := strconv.Atoi(q.Get(name)); err == nil && n >= 1 && n <= lifecycle.MaxPage {
			return n
		}
	}
	return 1
}

// filter is the query as lifecycle takes it. What cannot be read goes into the form.
func (q query) filter(f *Form, now time.Time) lifecycle.KeyFilter {
	out := lifecycle.KeyFilter{Text: q.Get("q"), State: q.Get("state"), RoleID: q.Get("role_id"), Source: q.Get("source"),
		CustomerID: q.Get("customer_id"), MicrotenantID: q.Get("microtenant_id"), Labels: q.Get("label"), Sort: q.Get(paramSort),
		NeverUsed: q.flag(f, "never_used"), Locked: q.flag(f, "locked"),
		CreatedAfter: q.day(f, "created_after"), CreatedBefore: q.day(f, "created_before"), ExpiresBefore: q.day(f, "expires_before"),
	}
	if within := q.Get(paramWithin); within != "" {
		days, err := strconv.Atoi(within)
		if err != nil || days < 1 || days > 3650 {
			f.Fail(paramWithin, "Must be a number of days from 1 to 3650.")
		} else if !out.ExpiresBefore.Has() {
			out.ExpiresBefore = lifecycle.Some(now.AddDate(0, 0, days))
		}
	}
	return out
}

func (q query) flag(f *Form, name string) (out lifecycle.Optional[bool]) {
	switch q.Get(name) {
	case "":
	case "true":
		out = lifecycle.Some(true)
	case "false":
		out = lifecycle.Some(false)
	default:
		f.Fail(name, "Must be true or false.")
	}
	return out
}

// day reads a day, which is its beginning in UTC, or a time.
func (q query) day(f *Form, name string) (out lifecycle.Optional[time.Time]) {
	text := q.Get(name)
	if text == "" {
		return out
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return lifecycle.Some(t)
		}
	}
	f.Fail(name, "Must be a day such as 2030-01-02.")
	return out
}

// order is the field that the list is sorted by first; where none is given, by
// otherwise, such as `name` or `-at`.
func (q query) order(otherwise string) (field string, desc bool) {
	first, _, _ := strings.Cut(q.Get(paramSort), ",")
	if first == "" {
		first = otherwise
	}
	field, desc = strings.CutPrefix(first, "-")
	return field, desc
}

// chip is a filter that is on, and the URL without it.
type chip struct{ Name, Value, Without string }

var filterTitles = map[string]string{"q": "Contains", "state": "State", "locked": "Locked", "role_id": "Role", "source": "Source",
	"customer_id": "Customer", "microtenant_id": "Microtenant", "label": "Label", "never_used": "Used", paramWithin: "Expires within",
	"expires_before": "Expires before", "created_after": "Created from", "created_before": "Created before"}

// chips are the filters that are on, in words.
func (q query) chips(choices lifecycle.KeyChoices) []chip {
	var all []chip
	for _, name := range filterParams {
		value := q.Get(name)
		if value == "" {
			continue
		}
		c := chip{Name: filterTitles[name], Value: value, Without: q.with(name, "").String()}
		switch name {
		case "role_id":
			c.Value = nameOf(choices.Roles, value)
		case "customer_id":
			c.Value = nameOf(choices.Customers, value)
		case "microtenant_id":
			c.Value = nameOf(choices.Microtenants, value)
			if value == lifecycle.FilterNull {
				c.Value = "none (customer level)"
			}
		case "source":
			if value == lifecycle.FilterNull {
				c.Value = "Keyreeve itself"
			}
		case "never_used":
			c.Value = map[string]string{"true": "never", "false": "at least once"}[value]
		case "locked":
			c.Value = map[string]string{"true": "yes", "false": "no"}[value]
		case paramWithin:
			c.Value = fmt.Sprintf("%s days", value)
		}
		all = append(all, c)
	}
	return all
}

func nameOf(list []lifecycle.Named, id string) string {
	for _, one := range list {
		if one.ID == id {
			return one.Name
		}
	}
	return id
}

// quickFilter is a set of filters by one click.
type quickFilter struct {
	Title, Icon, URL string
	On               bool
	params           []string
}

// quickFilters each stand for themselves: one takes the other's away.
func (q query) quickFilters() []quickFilter {
	all := []quickFilter{
		{Title: "Locked", Icon: "lock", params: []string{"locked", "true"}},
		{Title: "Never used", Icon: "minus", params: []string{"never_used", "true"}},
		{Title: "Expiring in 30 days", Icon: "hourglass", params: []string{"state", "active", paramWithin, "30"}},
		{Title: "Disabled", Icon: "off", params: []string{"state", "disabled"}},
	}
	clean := q.with("locked", "", "never_used", "", "state", "", paramWithin, "")
	for i := range all {
		one := &all[i]
		there := 0
		for j := 0; j < len(one.params); j += 2 {
			if q.Get(one.params[j]) == one.params[j+1] {
				there++
			}
		}
		rest := len(only(q.Values, []string{"locked", "never_used", "state", paramWithin}))
		one.On = there == len(one.params)/2 && rest == there
		one.URL = clean.with(one.params...).String()
		if one.On {
			one.URL = clean.String()
		}
	}
	return all
}
