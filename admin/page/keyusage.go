package page

import (
	"fmt"
	"html/template"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// Measures of the chart of calls, in units of its own.
const (
	barStep   = 10
	barWidth  = 8
	barHeight = 40
)

// usageView is how much a key was used of late, as a chart and in words.
type usageView struct{ lifecycle.KeyUsage }

// Total is the number of calls.
func (u usageView) Total() string { return number(int(u.Calls24h)) }

// Words are what the chart shows, for who does not see it.
func (u usageView) Words() string {
	var busy []string
	for _, h := range u.Hours {
		if h.Calls > 0 {
			busy = append(busy, hourWords(h))
		}
	}
	if len(busy) == 0 {
		return "No calls in any of the last 24 hours."
	}
	return strings.Join(busy, "; ") + "; none in the other hours."
}

func hourWords(h lifecycle.HourCalls) string {
	return h.From.UTC().Format("15:04") + " UTC, " + count(h.Calls, "call")
}

// Chart is a bar for each hour, drawn with attributes alone. Its highest is the
// busiest hour; one call is a bar too.
func (u usageView) Chart() template.HTML {
	var most int64 = 1
	for _, h := range u.Hours {
		most = max(most, h.Calls)
	}
	var out strings.Builder
	_, _ = fmt.Fprintf(&out, `<svg class="bars" viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true" focusable="false">`, barStep*len(u.Hours), barHeight)
	for i, h := range u.Hours {
		height, class := max(3, int(h.Calls*barHeight/most)), "some"
		if h.Calls == 0 {
			height, class = 1, "none"
		}
		_, _ = fmt.Fprintf(&out, `<rect class="%s" x="%d" y="%d" width="%d" height="%d"><title>%s</title></rect>`,
			class, i*barStep, barHeight-height, barWidth, height, template.HTMLEscapeString(hourWords(h)))
	}
	out.WriteString("</svg>")
	return template.HTML(out.String())
}
