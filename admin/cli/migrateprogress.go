package cli

import (
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

const (
	// progressRedrawn is how often a line on a terminal is.
	progressRedrawn = 100 * time.Millisecond
	// progressLine is how often one is written elsewhere, such as to a log.
	progressLine = 5 * time.Second
)

// progress shows how far a move is, on standard error: in one line on a terminal, and
// line by line elsewhere.
type progress struct {
	console  *console
	terminal bool
	now      func() time.Time

	step        string
	began, told time.Time
	// over: its end was told; drawn: there is a line on the terminal.
	over, drawn bool
}

func (s *console) newProgress() *progress {
	return &progress{console: s, terminal: isTerminal(s.env.Stderr) && s.env.Getenv("TERM") != "dumb", now: time.Now}
}

var stepWords = map[string]string{sqlstore.CopyRows: "copying", sqlstore.CopyVerify: "reading back", sqlstore.CopyTrail: "proving the audit trail"}

func (p *progress) tell(now sqlstore.CopyProgress) {
	at := p.now()
	if p.step != now.Step {
		p.step, p.began, p.told, p.over = now.Step, at, at, false
	}
	// The end of a step is told always, so that a log has a line of each.
	over := now.Done >= now.Total && !p.over
	every := progressLine
	if p.terminal {
		every = progressRedrawn
	}
	if !over && at.Sub(p.told) < every {
		return
	}
	p.told, p.over = at, over || p.over
	line := p.line(now, at.Sub(p.began))
	if !p.terminal {
		p.console.note("%s", line)
		return
	}
	p.drawn = true
	fmt.Fprintf(p.console.env.Stderr, "\r\x1b[K%s", line)
}

// line says how far a step is after some time, how fast it goes and what is left.
func (p *progress) line(now sqlstore.CopyProgress, took time.Duration) string {
	text := stepWords[now.Step]
	if now.Table != "" && now.Done < now.Total {
		text += " " + now.Table
	}
	unit := "rows"
	if now.Step == sqlstore.CopyTrail {
		unit = "events"
	}
	text += fmt.Sprintf(": %d of %d %s", now.Done, now.Total, unit)
	if now.Total > 0 {
		text += fmt.Sprintf(" (%d %%)", 100*now.Done/now.Total)
	}
	if took < 500*time.Millisecond || now.Done == 0 {
		return text
	}
	rate := float64(now.Done) / took.Seconds()
	text += fmt.Sprintf(", %.0f/s", rate)
	if left := time.Duration(float64(now.Total-now.Done) / rate * float64(time.Second)); left >= time.Second {
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return text
}

// end leaves the line on a terminal.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.console.env.Stderr, "\r\x1b[K")
	}
}
