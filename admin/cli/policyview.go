package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// policyAnswer is an explanation as the admin API gives it.
type policyAnswer struct {
	Key *struct {
		ID            string `json:"id"`
		Name          string `json:"name"`
		ClientID      string `json:"client_id"`
		CustomerID    string `json:"customer_id"`
		MicrotenantID string `json:"microtenant_id"`
	} `json:"key"`
	Role     *role           `json:"role"`
	Recorded *recordedDenial `json:"recorded"`
	Changed  *bool           `json:"changed"`
	Results  []gateCheck     `json:"results"`
}

type recordedDenial struct {
	RequestID     string         `json:"request_id"`
	Time          string         `json:"time"`
	Gate          string         `json:"gate"`
	Shadow        bool           `json:"shadow"`
	Method        string         `json:"method"`
	Path          string         `json:"path"`
	PathCut       bool           `json:"path_cut"`
	MicrotenantID string         `json:"microtenant_id"`
	KeyID         string         `json:"key_id"`
	SourceAddress string         `json:"source_address"`
	Decision      policyDecision `json:"decision"`
	Route         string         `json:"route"`
}

type policyDecision struct {
	Allow  bool   `json:"allow"`
	Status *int   `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// words is such as `DENIED 403 permission_denied: ...`.
func (d policyDecision) words() string {
	if d.Allow {
		return strings.TrimSpace("ALLOWED " + withoutPlain(d.Code))
	}
	status := ""
	if d.Status != nil {
		status = strconv.Itoa(*d.Status) + " "
	}
	text := "DENIED " + status + printable(d.Code)
	if d.Detail != "" {
		text += ": " + printable(d.Detail)
	}
	return text
}

// withoutPlain leaves out the code that says no more than the word before it.
func withoutPlain(code string) string {
	if code == "allowed" {
		return ""
	}
	return printable(code)
}

type gateCheck struct {
	Gate     gateRef        `json:"gate"`
	Decision policyDecision `json:"decision"`
	Steps    []struct {
		Step   string `json:"step"`
		OK     *bool  `json:"ok"`
		Detail string `json:"detail"`
	} `json:"steps"`
	Route *struct {
		Pattern string   `json:"pattern"`
		Methods []string `json:"methods"`
	} `json:"route"`
	Needed *struct {
		Resource string `json:"resource"`
		Action   string `json:"action"`
	} `json:"needed"`
	Tried []struct {
		Pattern string   `json:"pattern"`
		Methods []string `json:"methods"`
		Origin  string   `json:"origin"`
		Outcome string   `json:"outcome"`
		Why     string   `json:"why"`
	} `json:"rules_tried"`
	Total int `json:"rules_total"`
}

// policyColumns are those of CSV, a row for each gate.
var policyColumns = []string{"gate", "gate_name", "allow", "status", "code", "detail", "methods", "pattern", "resource", "action"}

func (g *gateCheck) cells() []string {
	cells := []string{strconv.Itoa(g.Gate.Number), g.Gate.Name, strconv.FormatBool(g.Decision.Allow), "", g.Decision.Code, g.Decision.Detail, "", "", "", ""}
	if g.Decision.Status != nil {
		cells[3] = strconv.Itoa(*g.Decision.Status)
	}
	if g.Route != nil {
		cells[6], cells[7] = strings.Join(g.Route.Methods, " "), g.Route.Pattern
	}
	if g.Needed != nil {
		cells[8], cells[9] = g.Needed.Resource, g.Needed.Action
	}
	return cells
}

// writeAnswer writes an explanation in the chosen form.
func (s *console) writeAnswer(a *policyAnswer, body []byte) error {
	switch s.out.form {
	case formJSON:
		return writeJSON(s.env.Stdout, body)
	case formYAML:
		return writeYAML(s.env.Stdout, body)
	case formCSV:
		rows := [][]string{policyColumns}
		for i := range a.Results {
			rows = append(rows, a.Results[i].cells())
		}
		return newCSV(s.env.Stdout).all(rows)
	}
	var b strings.Builder
	a.head(&b)
	for i := range a.Results {
		a.Results[i].tree(&b)
	}
	_, err := io.WriteString(s.env.Stdout, strings.TrimPrefix(b.String(), "\n"))
	return err
}

// head says who asked, and what was recorded.
func (a *policyAnswer) head(b *strings.Builder) {
	if k := a.Key; k != nil {
		fmt.Fprintf(b, "key %s (%s), customer %s", printable(k.Name), printable(k.ClientID), printable(k.CustomerID))
		if k.MicrotenantID != "" {
			fmt.Fprintf(b, ", microtenant %s", printable(k.MicrotenantID))
		}
		b.WriteByte('\n')
	}
	if a.Role != nil {
		fmt.Fprintf(b, "role %s (%s)\n", printable(a.Role.Name), printable(a.Role.ID))
	}
	r := a.Recorded
	if r == nil {
		return
	}
	fmt.Fprintf(b, "recorded %s at gate %s, from %s\n  %s %s", shortTime(r.Time), printable(r.Gate), orDash(r.SourceAddress), printable(r.Method), printable(r.Path))
	if r.PathCut {
		b.WriteString("… (the rest was not kept)")
	}
	if r.MicrotenantID != "" {
		fmt.Fprintf(b, ", microtenant %s", printable(r.MicrotenantID))
	}
	fmt.Fprintf(b, "\n  %s\n", r.Decision.words())
	if r.Shadow {
		b.WriteString("  let through all the same: the gate only watched\n")
	}
	switch {
	case len(a.Results) == 0:
		b.WriteString("\nno present decision: the gate is gone, or the path was not kept whole\n")
	case a.Changed == nil:
		b.WriteString("\nnow, with a right credential:\n")
	case *a.Changed:
		b.WriteString("\nnow it is different:\n")
	default:
		b.WriteString("\nnow it is the same:\n")
	}
}

// tree shows what one gate decides, its steps and the rules it tried.
func (g *gateCheck) tree(b *strings.Builder) {
	fmt.Fprintf(b, "\ngate %s\n%s\n", g.Gate.label(), g.Decision.words())
	for _, step := range g.Steps {
		mark := "-"
		switch {
		case step.OK != nil && *step.OK:
			mark = "ok"
		case step.OK != nil:
			mark = "NO"
		}
		fmt.Fprintf(b, "├─ %-10s %-2s  %s\n", printable(step.Step), mark, printable(step.Detail))
	}
	fmt.Fprintf(b, "└─ rules tried: %d of %d\n", len(g.Tried), g.Total)
	for i, t := range g.Tried {
		branch, stem := "├─", "│"
		if i == len(g.Tried)-1 {
			branch, stem = "└─", " "
		}
		fmt.Fprintf(b, "   %s %-8s  %s %s (%s)\n", branch, printable(t.Outcome), printable(strings.Join(t.Methods, ",")), printable(t.Pattern), printable(t.Origin))
		fmt.Fprintf(b, "   %s            %s\n", stem, printable(t.Why))
	}
}
