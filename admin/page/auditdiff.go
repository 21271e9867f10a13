package page

// The blocks `audit-events`, `audit-event` and `audit-diff` of templates/auditparts.html
// show events of the audit trail on any page. Their data is made by
// `v.auditRows(events)`: a list of them for the first, one of the list for the
// second, and its Diff for the third.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

const (
	// maxDifferences bounds what is shown of one event; an export has all of it.
	maxDifferences = 200
	// maxDepth is how deep records are looked into; what is deeper is shown as JSON.
	maxDepth = 6
)

// memberDiff is a member in which two records differ.
type memberDiff struct {
	// Path names it in words, the outermost first.
	Path []string
	// Lines are what it was and what it is, or what came and went.
	Lines []diffLine
}

// diffLine is one value. Came tells by which sign it is shown, and Word by which word.
type diffLine struct {
	Came bool
	Word string
	Text string
	// Href leads to what the value names, "" for nowhere.
	Href string
}

// diff is what the part `audit-diff` is given.
type diff struct {
	Members []memberDiff
	// Made: there was no record before. Gone: there is none after.
	Made, Gone bool
	// More is how many are left out.
	More int
}

// Summary says what differs, or that there was one record alone.
func (d diff) Summary() string {
	switch {
	case d.Made:
		return "Details"
	case d.Gone:
		return "What it was"
	}
	var names []string
	for _, m := range d.Members {
		if name := m.Path[0]; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i, name := range names {
		if i > 0 { // the first begins the sentence
			names[i] = initial(name, unicode.ToLower)
		}
	}
	return enumerate(names, 4) + " changed"
}

// diffOf compares the records of an event. Where there is only one, all of it came
// or went.
func diffOf(before, after json.RawMessage, names lifecycle.AuditNames) diff {
	was, had := decode(before)
	is, has := decode(after)
	w := diffWalk{names: names, both: had && has}
	switch {
	case had && has:
		w.compare(nil, was, is)
	case has:
		w.only(nil, is, true)
	case had:
		w.only(nil, was, false)
	}
	d := diff{Members: w.found, Made: has && !had, Gone: had && !has}
	if d.More = len(w.found) - maxDifferences; d.More > 0 {
		d.Members = w.found[:maxDifferences]
	} else {
		d.More = 0
	}
	return d
}

// decode reads a record; false is none. Numbers stay as they are written.
func decode(raw json.RawMessage) (value any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return value, d.Decode(&value) == nil && value != nil
}

type diffWalk struct {
	names lifecycle.AuditNames
	// both: there was a record before and there is one after.
	both  bool
	found []memberDiff
}

// compare adds in what two values differ, member by member.
func (w *diffWalk) compare(path []string, was, is any) {
	if sameValue(was, is) {
		return
	}
	a, aIs := was.(map[string]any)
	b, bIs := is.(map[string]any)
	if aIs && bIs && len(path) < maxDepth {
		w.members(path, a, b)
		return
	}
	x, xIs := was.([]any)
	y, yIs := is.([]any)
	if xIs && yIs && len(path) < maxDepth {
		w.lists(path, x, y)
		return
	}
	w.add(path, w.line(path, false, "was", was), w.line(path, true, "now", is))
}

func (w *diffWalk) members(path []string, was, is map[string]any) {
	all := maps.Clone(is)
	maps.Copy(all, was)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		at := append(slices.Clip(path), name)
		before, had := was[name]
		after, has := is[name]
		switch {
		case had && has:
			w.compare(at, before, after)
		case has:
			w.only(at, after, true)
		default:
			w.only(at, before, false)
		}
	}
}

// lists compares entries that have an id with those of the same, and others by
// what they are; that they stand in another order is said where nothing else differs.
func (w *diffWalk) lists(path []string, was, is []any) {
	if a, b := byID(was), byID(is); a != nil && b != nil {
		w.members(path, a, b)
		return
	}
	var lines []diffLine
	for _, gone := range without(was, is) {
		lines = append(lines, w.line(path, false, "removed", gone))
	}
	for _, came := range without(is, was) {
		lines = append(lines, w.line(path, true, "added", came))
	}
	if len(lines) == 0 {
		lines = []diffLine{w.line(path, false, "was", was), w.line(path, true, "now", is)}
	}
	w.add(path, lines...)
}

// byID are the entries of a list by their ids; nil where one has none.
func byID(list []any) map[string]any {
	out := map[string]any{}
	for _, entry := range list {
		object, _ := entry.(map[string]any)
		id, ok := object["id"].(string)
		if _, twice := out[id]; !ok || twice {
			return nil
		}
		rest := maps.Clone(object)
		delete(rest, "id")
		out[id] = rest
	}
	return out
}

// without are the entries of a that b has not, each as often as it is missing.
func without(a, b []any) []any {
	rest := slices.Clone(b)
	var out []any
	for _, entry := range a {
		if i := slices.IndexFunc(rest, func(other any) bool { return sameValue(entry, other) }); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		} else {
			out = append(out, entry)
		}
	}
	return out
}

// only adds a value that is on one side alone, by its members if it has any.
func (w *diffWalk) only(path []string, value any, came bool) {
	if object, ok := value.(map[string]any); ok && len(object) > 0 && len(path) < maxDepth {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			w.only(append(slices.Clip(path), name), object[name], came)
		}
		return
	}
	list, isList := value.([]any)
	if !w.both && (value == nil || value == "" || isList && len(list) == 0) {
		return // of a whole record, what it does not have says nothing
	}
	if isList && len(path) < maxDepth {
		if entries := byID(list); len(entries) > 0 {
			for _, id := range slices.Sorted(maps.Keys(entries)) {
				w.only(append(slices.Clip(path), id), entries[id], came)
			}
			return
		}
		var lines []diffLine
		for _, entry := range list {
			lines = append(lines, w.line(path, came, w.word(came), entry))
		}
		if len(lines) > 0 {
			w.add(path, lines...)
			return
		}
	}
	w.add(path, w.line(path, came, w.word(came), value))
}

// word is how a value that came or went is marked.
func (w *diffWalk) word(came bool) string {
	switch {
	case w.both && came:
		return "added"
	case w.both:
		return "removed"
	case came:
		return "set"
	}
	return "was"
}

func (w *diffWalk) add(path []string, lines ...diffLine) {
	d := memberDiff{Lines: lines}
	if len(path) == 0 { // what is no object at all
		d.Path = []string{"Record"}
	}
	for i, name := range path {
		d.Path = append(d.Path, memberTitle(name, i == 0))
	}
	w.found = append(w.found, d)
}

func (w *diffWalk) line(path []string, came bool, word string, value any) diffLine {
	l := diffLine{Came: came, Word: word}
	l.Text, l.Href = w.show(path, value)
	return l
}

// show is a value in words, and where it leads.
func (w *diffWalk) show(path []string, value any) (text, href string) {
	member := ""
	if len(path) == 1 { // a label may be called role_id too
		member = path[0]
	}
	switch value := value.(type) {
	case nil:
		return "none", ""
	case bool:
		if value {
			return "yes", ""
		}
		return "no", ""
	case json.Number:
		return showNumber(member, value), ""
	case string:
		return w.showText(member, value)
	case map[string]any:
		if len(value) == 0 {
			return "nothing", ""
		}
	case []any:
		if len(value) == 0 {
			return "none", ""
		}
		if texts, plain := stringsOf(value); plain {
			return strings.Join(texts, ", "), ""
		}
	}
	return visible(compact(value)), ""
}

func showNumber(member string, n json.Number) string {
	if whole, err := strconv.ParseInt(n.String(), 10, 64); err == nil && strings.HasSuffix(member, "_seconds") && whole > 0 && whole < 1<<31 {
		return spell(time.Duration(whole) * time.Second)
	}
	return n.String()
}

func (w *diffWalk) showText(member, text string) (shown, href string) {
	switch {
	case text == "":
		return "empty", ""
	case member == "role_id", member == "max_role_id":
		if name, known := w.names.Roles[text]; known {
			return visible(name), rolePath(text)
		}
	case member == "key_id":
		if name, known := w.names.Keys[text]; known {
			return visible(name), keyURL(text)
		}
	case member == "customer_id":
		if name, known := w.names.Customers[text]; known {
			return fmt.Sprintf("%s (%s)", visible(name), visible(text)), ""
		}
	case member == "end_reason":
		return endReason(text), ""
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil && len(text) >= len("2006-01-02T15:04:05Z") {
		return stamp(at), ""
	}
	return visible(text), ""
}

// stringsOf are the entries of a list of nothing but texts.
func stringsOf(list []any) (texts []string, all bool) {
	for _, entry := range list {
		text, ok := entry.(string)
		if !ok {
			return nil, false
		}
		texts = append(texts, visible(text))
	}
	return texts, true
}

func compact(value any) string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(value) // it was decoded from JSON
	return strings.TrimSpace(out.String())
}

// sameValue compares what decode made: members in any order.
func sameValue(a, b any) bool { return compact(a) == compact(b) }
