package page

import (
	"html/template"
	"time"
)

// markup writes HTML where templates take too long: a page of the table holds thousands
// of values, and a template finds out anew for each what it is. All that is not this
// package's own HTML goes through text, which makes it safe between tags and in quoted
// attributes. Of URLs that holds for those of this package's making alone: none that
// somebody typed is written so.
type markup struct{ out []byte }

// literal is HTML of this package's own. Constants alone are literals without being
// converted, so what somebody typed does not get here by mistake.
type literal string

// raw writes HTML as it stands.
func (m *markup) raw(html literal) *markup {
	m.out = append(m.out, html...)
	return m
}

// text writes what anybody may have typed.
func (m *markup) text(s string) *markup {
	from := 0
	for i := range len(s) {
		if entity := entities[s[i]]; entity != "" {
			m.out = append(append(m.out, s[from:i]...), entity...)
			from = i + 1
		}
	}
	m.out = append(m.out, s[from:]...)
	return m
}

// entities are what html/template writes in place of a byte, in a quoted attribute too.
var entities = [256]string{0: "\uFFFD", '"': "&#34;", '&': "&amp;", '\'': "&#39;", '+': "&#43;", '<': "&lt;", '>': "&gt;"}

// icon draws one of icons.
func (m *markup) icon(name string) *markup {
	m.out = append(m.out, drawn[name]...)
	return m
}

// ago writes a time as told from now, and day as a day.
func (m *markup) ago(t time.Time) *markup { return m.when(t, "", ago(t)) }
func (m *markup) day(t time.Time) *markup { return m.when(t, "", t.UTC().Format(dayLayout)) }

// countdown is ago for a time to come. It is kept up to date by script.
func (m *markup) countdown(t time.Time) *markup { return m.when(t, ` data-countdown`, ago(t)) }

func (m *markup) when(t time.Time, attributes literal, told string) *markup {
	t = t.UTC()
	m.out = t.AppendFormat(append(m.out, `<time datetime="`...), time.RFC3339)
	m.out = t.AppendFormat(append(m.out, `" title="`...), stampLayout)
	return m.raw(`"`).raw(attributes).raw(`>`).text(told).raw(`</time>`)
}

// state writes a key's: active, disabled, locked or expired.
func (m *markup) state(state string) *markup {
	m.raw(`<span class="badge `).text(state).raw(`">`)
	switch state {
	case "active":
		m.icon("check").raw(`Active`)
	case "locked":
		m.icon("lock").raw(`Locked`)
	case "expired":
		m.icon("hourglass").raw(`Expired`)
	default:
		m.icon("off").raw(`Disabled`)
	}
	return m.raw(`</span>`)
}

// option writes a choice of a select.
func (m *markup) option(value, label string, chosen bool) *markup {
	m.raw(`<option value="`).text(value).raw(`"`)
	if chosen {
		m.raw(` selected`)
	}
	return m.raw(`>`).text(label).raw(`</option>`)
}

// html is what was written, for a template to take in between tags.
func (m *markup) html() template.HTML { return template.HTML(m.out) }

// written has something written for a template.
func written(write func(*markup)) template.HTML {
	m := new(markup)
	write(m)
	return m.html()
}
