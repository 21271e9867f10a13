package page

import (
	"fmt"
	"html/template"
	"net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// functions are what templates may call.
var functions = template.FuncMap{
	"asset": assetURL,
	"icon":  icon,
	"ago":   ago,
	"stamp": stamp,
	"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"num":   number,
	"field": newField,
	"join":  strings.Join,
	"plural": func(n int, one, many string) string {
		if n == 1 {
			return one
		}
		return many
	},
	"copyable": func(text, label string) copyable { return copyable{text, label} },
	"ownerURL": ownerURL,
	"num64":    func(n *int64) string { return number(int(*n)) },
	"options":  newOptions,
	"list":     func(items ...any) []any { return items },
	"heads":    func(columns []header, target string) heads { return heads{columns, target} },
	// Elements that markup writes; what they are called here is what the parts are called.
	"state":     func(state string) template.HTML { return written(func(m *markup) { m.state(state) }) },
	"time":      func(t time.Time) template.HTML { return written(func(m *markup) { m.ago(t) }) },
	"date":      func(t time.Time) template.HTML { return written(func(m *markup) { m.day(t) }) },
	"countdown": func(t time.Time) template.HTML { return written(func(m *markup) { m.countdown(t) }) },
	"choices":   choices,
}

// ownerURL is where an owner is found who is written as a link (https) or has a mail
// address in it, "" for who is told in words alone.
func ownerURL(owner string) string {
	owner = strings.TrimSpace(owner)
	if u, err := url.Parse(owner); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil {
		return u.String()
	}
	if at, err := mail.ParseAddress(strings.TrimPrefix(owner, "mailto:")); err == nil {
		return "mailto:" + url.PathEscape(at.Address)
	}
	return ""
}

// newOptions are those of a select: the value that is chosen, then values and labels.
func newOptions(chosen string, pairs ...string) []option {
	var all []option
	known := false
	for i := 0; i+1 < len(pairs); i += 2 {
		all = append(all, option{pairs[i], pairs[i+1], pairs[i] == chosen})
		known = known || pairs[i] == chosen
	}
	if !known { // it came by the URL
		all = append(all, option{chosen, chosen, true})
	}
	return all
}

// choices are records to choose from in a select.
func choices(records []lifecycle.Named, chosen string) template.HTML {
	m := new(markup)
	for _, one := range records {
		m.option(one.ID, one.Name, one.ID == chosen)
	}
	return m.html()
}

type option struct {
	Value, Label string
	Chosen       bool
}

// copyable is what the part `copy` is given: the text, and what it is.
type copyable struct{ Text, Label string }

// dayLayout and stampLayout are how times are shown, in UTC.
const (
	dayLayout   = "2 Jan 2006"
	stampLayout = "2 Jan 2006, 15:04:05 UTC"
)

func stamp(t time.Time) string { return t.UTC().Format(stampLayout) }

// number is with thousands apart.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// units are what spans are told in, the largest first.
var units = []struct {
	length time.Duration
	name   string
}{{365 * 24 * time.Hour, "year"}, {30 * 24 * time.Hour, "month"}, {24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}}

// spell is a duration in the largest unit that it is a whole number of.
func spell(d time.Duration) string {
	for _, u := range units[2:] {
		if d >= u.length && d%u.length == 0 {
			return count(int64(d/u.length), u.name)
		}
	}
	return count(int64(d/time.Second), "second")
}

// ago is a time as people tell it, seen from now: `5 minutes ago`, `in 3 days`.
func ago(t time.Time) string { return span(time.Since(t)) }

func span(d time.Duration) string {
	form := "%s ago"
	if d < 0 {
		d, form = -d, "in %s"
	}
	for _, u := range units[:5] {
		if d >= u.length {
			return fmt.Sprintf(form, count(int64(d/u.length), u.name))
		}
	}
	if form == "in %s" {
		return "in less than a minute"
	}
	return "just now"
}

func count(n int64, unit string) string {
	if n != 1 {
		unit += "s"
	}
	return number(int(n)) + " " + unit
}

// field is what the part `field` is given.
type field struct {
	Form                     *Form
	Name, Label, Hint, Type  string
	Value, Placeholder, Auto string
	Required, Focus, Mono    bool
	Max                      int
	Choices                  []Choice
}

// Choice is an entry of a select or a radio group.
type Choice struct {
	Value, Label, Hint string
	Disabled           bool
}

// newField makes a field of a form: `field .Data.Form "name" "Name" "hint" "…" "max" 50`.
// The names of what may follow are those of the switch.
func newField(f *Form, name, label string, options ...any) (field, error) {
	out := field{Form: f, Name: name, Label: label, Type: "text", Value: f.Get(name)}
	if len(options)%2 != 0 {
		return out, fmt.Errorf("field %s: an option without a value", name)
	}
	for i := 0; i < len(options); i += 2 {
		ok := true
		switch options[i] {
		case "hint":
			out.Hint, ok = options[i+1].(string)
		case "type":
			out.Type, ok = options[i+1].(string)
		case "placeholder":
			out.Placeholder, ok = options[i+1].(string)
		case "autocomplete":
			out.Auto, ok = options[i+1].(string)
		case "value":
			out.Value, ok = options[i+1].(string)
		case "required":
			out.Required, ok = options[i+1].(bool)
		case "focus":
			out.Focus, ok = options[i+1].(bool)
		case "mono":
			out.Mono, ok = options[i+1].(bool)
		case "max":
			out.Max, ok = options[i+1].(int)
		case "choices":
			out.Choices, ok = options[i+1].([]Choice)
		default:
			return out, fmt.Errorf("field %s: unknown option %v", name, options[i])
		}
		if !ok {
			return out, fmt.Errorf("field %s: %v cannot be %T", name, options[i], options[i+1])
		}
	}
	return out, nil
}

// Faults is what is wrong with the field.
func (f field) Faults() []string { return f.Form.Wrong[f.Name] }

// ID is the element's: apart from what the page under a dialog has.
func (f field) ID() string { return fieldID(f.Name) }

func fieldID(name string) string { return "f-" + name }

// Describes is the value of aria-describedby.
func (f field) Describes() string {
	var ids []string
	if f.Hint != "" {
		ids = append(ids, f.ID()+"-hint")
	}
	if len(f.Faults()) > 0 {
		ids = append(ids, f.ID()+"-error")
	}
	return strings.Join(ids, " ")
}
