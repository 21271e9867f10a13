package page

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// auditProof is the data of the dialog that verifies the trail.
type auditProof struct {
	*Form
	// Result is nil before it was asked for.
	Result *lifecycle.AuditVerification
	Chains []chainRow
	// Verdict says in a sentence what was found; Bad and Open as in chainRow.
	Verdict   string
	Bad, Open bool
	// Problem is one of the trail as a whole.
	Problem *chainProblem
	// Heads are the ends of the chains, to be noted elsewhere.
	Heads string
	// Looked is how much was looked at, and how long that took.
	Looked   string
	Commands *commands
}

// chainRow is what became of one chain.
type chainRow struct {
	lifecycle.AuditChain
	Name string
	// Bad: it is not what was written. Open: neither proved nor disproved.
	Bad, Open bool
	Problem   *chainProblem
}

// Count is how many events of it were looked at.
func (c chainRow) Count() string { return number(int(c.Events)) }

// Span is which ones, by their numbers.
func (c chainRow) Span() string {
	if c.FirstSeq == nil || c.Head == nil {
		return ""
	}
	if *c.FirstSeq == c.Head.Seq {
		return "number " + number(int(c.Head.Seq))
	}
	return "number " + number(int(*c.FirstSeq)) + " to " + number(int(c.Head.Seq))
}

// Linked is how many are proved by their links alone, "" for none.
func (c chainRow) Linked() string {
	if c.ByHead == 0 {
		return ""
	}
	return number(int(c.ByHead))
}

// chainProblem is why something is not proved, what that means and what to do.
type chainProblem struct {
	// At is the number of the event at fault, "" where it is none.
	At, Detail, Means string
}

func (v *visit) askVerifyAudit() error {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Read, lifecycle.ResourceAudit)); err != nil {
		return err
	}
	return v.proof(http.StatusOK, &auditProof{Form: NewForm(nil)})
}

func (v *visit) proof(status int, d *auditProof) error {
	if d.asksForCommands() || d.Result != nil {
		d.Commands = v.verifyCommands(d)
	}
	return v.show(view{Status: status, Page: "auditverify", Block: "dialog", Dialog: true, Title: "Verify the audit trail", Data: d})
}

// verifyCommands are the same by program, with the heads that were typed.
func (v *visit) verifyCommands(d *auditProof) *commands {
	args, path := []string{"audit", "verify"}, verifyCall
	if heads := headsOf(d.Get("head")); len(heads) > 0 {
		path += "?head=" + strings.Join(heads, ",")
		for _, head := range heads {
			args = append(args, "--head", head)
		}
	}
	return v.commands(call{Method: http.MethodGet, Path: path}, args...)
}

// verifyCall is the same at the admin API.
const verifyCall = "/v1/audit-events/verify"

// headsOf are the words of what was typed.
func headsOf(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
}

// verifyAudit follows every chain that the actor sees to its end. That reads the
// whole trail, so it takes a POST.
func (v *visit) verifyAudit() error {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Read, lifecycle.ResourceAudit)); err != nil {
		return err
	}
	f, err := v.form()
	if err != nil {
		return err
	}
	d := &auditProof{Form: f}
	if f.asksForCommands() {
		return v.proof(http.StatusOK, d)
	}
	var pins []lifecycle.AuditPin
	for _, text := range headsOf(f.Get("head")) {
		pin, ok := lifecycle.ParseAuditPin(text)
		if !ok {
			f.Fail("head", "“"+visible(shortened(text))+"” is no head. Expected customer:number:hash, or number:hash where there is one chain, the hash in 64 hex digits.")
			continue
		}
		pins = append(pins, pin)
	}
	if f.Failed() {
		return v.proof(http.StatusBadRequest, d)
	}
	begun := v.page.cfg.Now()
	result, err := v.svc().VerifyAudit(v.ctx(), v.actor, lifecycle.AuditScope{Pins: pins})
	if err != nil {
		status, err := f.refuse(err)
		if err != nil {
			return err
		}
		return v.proof(status, d)
	}
	took := "less than a second"
	if d := v.page.cfg.Now().Sub(begun); d >= time.Second {
		took = spell(d.Round(time.Second))
	}
	d.Looked = count(result.Events, "event") + " looked at in " + took + "."
	if err := v.explain(d, result); err != nil {
		return err
	}
	return v.proof(http.StatusOK, d)
}

// shortened is as much of a text as a sentence can quote.
func shortened(text string) string {
	if runes := []rune(text); len(runes) > 40 {
		return string(runes[:40]) + "…"
	}
	return text
}

// explain puts a result into words.
func (v *visit) explain(d *auditProof, result lifecycle.AuditVerification) error {
	d.Result = &result
	choices, err := v.choices()
	if err != nil {
		return err
	}
	var heads []string
	d.Problem, d.Bad, d.Open = problemOf(result.Problem)
	for _, c := range result.Chains {
		row := chainRow{AuditChain: c, Name: "Events of no customer"}
		id := ""
		if c.CustomerID != nil {
			id = *c.CustomerID
			row.Name = visible(cmp.Or(nameOf(choices.Customers, id), id))
		}
		row.Problem, row.Bad, row.Open = problemOf(c.Problem)
		d.Bad, d.Open = d.Bad || row.Bad, d.Open || row.Open
		if c.Head != nil && !row.Bad {
			heads = append(heads, id+":"+strconv.FormatInt(c.Head.Seq, 10)+":"+c.Head.Hash)
		}
		d.Chains = append(d.Chains, row)
	}
	d.Heads = strings.Join(heads, "\n")
	switch events := count(result.Events, "event"); {
	case d.Bad:
		d.Verdict = "The trail is not what was written."
	case d.Open:
		d.Verdict = "Not everything could be proved."
	case len(d.Chains) == 1:
		d.Verdict = "Proved: " + events + ", none changed, left out or put in."
	default:
		d.Verdict = "Proved: " + events + " in " + count(int64(len(d.Chains)), "chain") + ", none changed, left out or put in."
	}
	return nil
}

// whatItMeans is for each code of a problem: what must have happened, and what to do.
var whatItMeans = map[string]string{
	keystore.AuditMissing:      "Events were taken out, put in or moved, past Keyreeve: by somebody who could write the database.",
	keystore.AuditChanged:      "This event was changed after it was written, past Keyreeve: by somebody who could write the database.",
	keystore.AuditForged:       "This event was made by somebody who could write the database but does not have the master key.",
	keystore.AuditHeadMismatch: "The newest events were cut off, or the end of the chain was put elsewhere.",
	keystore.AuditForgedHead:   "The end of the chain was made by somebody who does not have the master key: newer events may have been cut off.",
	keystore.AuditForgedStart:  "The beginning of the chain was made by somebody who does not have the master key: older events may have been cut off.",
	keystore.AuditPinMismatch:  "The chain does not hold the head that was noted. An older database was put back, or the chain was rewritten.",
	keystore.AuditForgedRoot:   "The count of all events was made by somebody who does not have the master key: a whole chain may be gone.",
	keystore.AuditRootMismatch: "There are fewer events in all, or more, than were written: a whole chain is gone, or was put back to an older state.",
	keystore.AuditUnchained:    "There are events outside the chains that Keyreeve did not write.",
	keystore.AuditUnknownKey:   "Neither proved nor disproved: give the older master key beside the current one, and verify again.",
	keystore.AuditPinForgotten: "Neither proved nor disproved: the head that was noted is older than the events that are kept.",
}

// problemOf is a problem in words. open: it is neither proved nor disproved.
func problemOf(p *lifecycle.AuditProblem) (out *chainProblem, bad, open bool) {
	if p == nil {
		return nil, false, false
	}
	open = p.Code == keystore.AuditUnknownKey || p.Code == keystore.AuditPinForgotten
	out = &chainProblem{Detail: sentence(visible(p.Detail)), Means: whatItMeans[p.Code]}
	if p.Seq != nil && *p.Seq > 0 {
		out.At = number(int(*p.Seq))
	}
	return out, !open, open
}
