package page

import (
	"cmp"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// policyAnswer is what gates would decide, as the part `policy-answer` shows it.
type policyAnswer struct {
	lifecycle.PolicyAnswer
	// Lead is a word before each decision. URL asks for the answer again, "" for never.
	Lead, URL string
	Commands  *commands
}

// Gates are the decisions, in the order of the gates.
func (a policyAnswer) Gates() []gateAnswer {
	all := make([]gateAnswer, len(a.Results))
	for i, r := range a.Results {
		all[i] = gateAnswer{r}
	}
	return all
}

// Several reports more than one gate that was asked.
func (a policyAnswer) Several() bool { return len(a.Results) > 1 }

// Then is the decision that was recorded, nil where none was asked about.
func (a policyAnswer) Then() *verdict {
	if a.Recorded == nil {
		return nil
	}
	return &verdict{a.Recorded.Decision, a.Recorded.Shadow, true}
}

// Since compares the two.
func (a policyAnswer) Since() string {
	switch {
	case len(a.Results) == 0:
		return "What would be decided now cannot be told: the gate is gone, or the path was too long to be kept."
	case a.Changed == nil:
		return "The credential is not kept, so the decision now supposes a right one."
	case *a.Changed:
		return "The same request would be decided differently now."
	}
	return "The same request would be decided alike now."
}

// Summary is the answer in a sentence, to be told.
func (a policyAnswer) Summary() string {
	var words []string
	for _, g := range a.Gates() {
		word := g.Verdict().Word() + ": " + g.Verdict().Reason()
		if a.Several() {
			word = "Gate " + g.Gate.Name + ": " + word
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// verdict is a decision in words.
type verdict struct {
	lifecycle.PolicyDecision
	// Shadow: the gate only watches. Past: it was decided some time ago.
	Shadow, Past bool
}

// Word is the decision in one.
func (d verdict) Word() string {
	if d.Allow {
		return "Allowed"
	}
	return "Refused"
}

// reasonWords says what a decision's code means.
var reasonWords = map[policy.Reason]string{
	policy.Allowed:             "Nothing stands against it.",
	policy.Public:              "Nobody is asked who calls.",
	policy.TooEarly:            "It came as TLS early data, which somebody could send again.",
	policy.AmbiguousPath:       "Two programs could read this path differently.",
	policy.CredentialsRequired: "No credential was shown.",
	policy.InvalidRequest:      "There is more than one credential, or one where none may be.",
	policy.InvalidClient:       "The key is not let in as it stands, or not from there.",
	policy.InvalidToken:        "The access token is not good.",
	policy.ClientInactive:      "The access token is good, but its key no longer is.",
	policy.ClientLocked:        "The access token is good, but its key is locked.",
	policy.SourceNotAllowed:    "It comes from outside the networks that the key may be used from.",
	policy.StoreUnavailable:    "The key is not known on this node, and the store cannot be asked.",
	policy.InvalidRevision:     "It asks for a state that the store has not reached, or for none.",
	policy.NoRoute:             "Whatever no rule permits is refused.",
	policy.AmbiguousQuery:      "The query names a microtenant twice, or in an odd spelling.",
	policy.MicrotenantRequired: "A key inside a microtenant has to name it in the query.",
	policy.TenantMismatch:      "The customer or the microtenant that it names is not the key's.",
	policy.PermissionDenied:    "The role does not hold the permission that the rule asks for.",
}

// Reason is why, as far as the code tells.
func (d verdict) Reason() string {
	reason, known := policy.ReasonOf(d.Code)
	if !known {
		return d.Code
	}
	return reasonWords[reason]
}

// Cause is what was found, "" where it says no more than Reason.
func (d verdict) Cause() string {
	if d.Allow {
		return ""
	}
	return clause(d.Detail)
}

// clause is a detail as a sentence, but for one that begins with a name, which stays
// as it is.
func clause(detail string) string {
	first, _, _ := strings.Cut(detail, " ")
	first = strings.TrimRight(first, ",;")
	if strings.IndexFunc(first, func(c rune) bool { return c < 'a' || c > 'z' }) >= 0 {
		return detail
	}
	return sentence(detail)
}

// Seen is what the client gets to see.
func (d verdict) Seen() string {
	switch {
	case d.Allow || d.Shadow:
		return "the answer of the upstream"
	case d.Status == nil:
		return d.Code
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", *d.Status, http.StatusText(*d.Status)))
}

// gateAnswer is what one gate would decide.
type gateAnswer struct{ lifecycle.GateCheck }

// Verdict is the decision in words.
func (g gateAnswer) Verdict() verdict { return verdict{g.Decision, g.Gate.Shadow, false} }

// Need is the permission that the rule asks for, as the gate names it; "" for none.
func (g gateAnswer) Need() string {
	if g.Needed == nil {
		return ""
	}
	return g.Needed.Resource + ":" + g.Needed.Action
}

// Names are what a role may name to hold it.
func (g gateAnswer) Names() string {
	names := []string{g.Needed.Resource}
	if g.Needed.Group != nil {
		names = append(names, "its group "+*g.Needed.Group)
	}
	return strings.Join(names, ", ") + " or *"
}

// Steps are those of the examination.
func (g gateAnswer) Steps() []stepView {
	all := make([]stepView, len(g.GateCheck.Steps))
	for i, s := range g.GateCheck.Steps {
		all[i] = stepView{s}
	}
	return all
}

// Trials are the rules that were held against the request.
func (g gateAnswer) Trials() []trialView {
	all := make([]trialView, len(g.Tried))
	for i, t := range g.Tried {
		all[i] = trialView{t}
	}
	return all
}

type stepView struct{ lifecycle.PolicyStep }

var stepTitles = map[string]string{"path": "Path", "credential": "Credential", "client": "Key", "source": "Source address",
	"route": "Rule", "tenant": "Tenant", "role": "Permission"}

// Title is what is looked at.
func (s stepView) Title() string { return cmp.Or(stepTitles[s.Step], s.Step) }

// Outcome is passed, failed or skipped.
func (s stepView) Outcome() string {
	switch {
	case s.OK == nil:
		return "skipped"
	case *s.OK:
		return "passed"
	}
	return "failed"
}

// Words are the step's detail as a sentence.
func (s stepView) Words() string { return clause(s.Detail) }

type trialView struct{ lifecycle.PolicyTrial }

var trialTitles = map[string]string{"taken": "Applies", "shadowed": "Gave way", "method": "Other method", "spelling": "Other spelling",
	"blocks": "Blocks the path", "refused": "Not taken"}

// Title is what became of the rule.
func (t trialView) Title() string { return cmp.Or(trialTitles[t.Outcome], t.Outcome) }

// Words say why.
func (t trialView) Words() string { return clause(t.Why) }

// For is the rule's methods.
func (t trialView) For() string { return methodWords(t.Methods) }

// File is where the rule was written, without the folder.
func (t trialView) File() string { return path.Base(t.Origin) }

func methodWords(methods []string) string {
	if len(methods) == 1 && methods[0] == policy.AnyMethod {
		return "any method"
	}
	return strings.Join(methods, ", ")
}
