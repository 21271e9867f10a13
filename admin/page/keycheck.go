package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// checkParams are the parts of a request that the policy is asked about. They have
// the names of the admin API's.
var checkParams = []string{"method", "path", "microtenant_id", "source_address", "gate"}

// usualMethods are offered; so are those that rules name.
var usualMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// Ids of elements that are swapped: the form of a key's page, and the answer on any.
const (
	keyCheckID    = "key-check"
	checkAnswerID = "check-answer"
)

// maxPaths bounds the paths that are suggested.
const maxPaths = 100

// checkForm is a request to be judged, and what came of it.
type checkForm struct {
	*Form
	// Page takes it without script, and Action with it, where Target is what is swapped,
	// without its `#`.
	Page, Action, Target string
	Gates                []lifecycle.GateRef
	Methods, Paths       []string
	Answer               *policyAnswer
	// Subject asks whose request it is, nil where that is given.
	Subject *subjectFields

	keyID, roleID string
}

// Asked reports whether there is anything to judge.
func (f *checkForm) Asked() bool { return len(f.Values) > 0 }

// More reports fields beyond method and path that are filled in, or wrong.
func (f *checkForm) More() bool {
	return slices.ContainsFunc(checkParams[2:], func(name string) bool { return f.Get(name) != "" || f.Wrong[name] != nil })
}

// URL asks again.
func (f *checkForm) URL() string {
	if !f.Asked() {
		return f.Action
	}
	return f.Action + "?" + f.Values.Encode()
}

// checkKey answers what a gate would decide on a request of the key: as a part of the
// key's page, or by going there.
func (v *visit) checkKey() error {
	if !v.partial() {
		return v.redirect(keyURL(v.id()) + "?" + v.r.URL.RawQuery)
	}
	return v.showKey()
}

// checksAlone reports a request for the form with its answer, or the answer, without the
// page around it.
func (v *visit) checksAlone() bool {
	target := v.r.Header.Get("HX-Target")
	return v.partial() && (target == keyCheckID || target == checkAnswerID)
}

// keyCheck is the form of a key's page.
func (v *visit) keyCheck(k lifecycle.Key) (*checkForm, error) {
	f, err := v.newCheck(checkParams, k.CustomerID)
	if err != nil {
		return nil, err
	}
	f.Page, f.Action, f.Target, f.keyID = keyURL(k.ID), keyURL(k.ID, "check"), keyCheckID, k.ID
	return f, nil
}

// newCheck is a form with the request that the URL holds. customerID stands in for
// that of paths, "" where it is not known.
func (v *visit) newCheck(params []string, customerID string) (f *checkForm, err error) {
	given := url.Values{}
	for _, name := range params {
		if value := strings.TrimSpace(v.r.URL.Query().Get(name)); value != "" {
			given.Set(name, value)
		}
	}
	f = &checkForm{Form: NewForm(given), Methods: slices.Clone(usualMethods)}
	if f.Gates, err = v.svc().PolicyGates(v.ctx(), v.actor); err != nil || len(f.Gates) == 0 {
		return f, err
	}
	all := lifecycle.PolicyRouteFilter{Paging: lifecycle.Paging{Size: lifecycle.Some(lifecycle.MaxPageSize)}}
	rules, err := v.svc().ListPolicyRoutes(v.ctx(), v.actor, all)
	if err != nil {
		return nil, err
	}
	f.suggest(rules.Items, customerID)
	return f, nil
}

// suggest offers the methods that rules name, and those of their paths that hold no
// parameter but the customer's.
func (f *checkForm) suggest(rules []lifecycle.PolicyRoute, customerID string) {
	methods := []string{f.Get("method")}
	for _, r := range rules {
		methods = append(methods, r.Methods...)
		path := r.Pattern
		if r.CustomerParam != nil && customerID != "" {
			path = strings.ReplaceAll(path, "{"+*r.CustomerParam+"}", url.PathEscape(customerID))
		}
		if !strings.Contains(path, "{") && !slices.Contains(f.Paths, path) && len(f.Paths) < maxPaths {
			f.Paths = append(f.Paths, path)
		}
	}
	for _, m := range methods {
		if m != "" && m != "*" && !slices.Contains(f.Methods, m) {
			f.Methods = append(f.Methods, m)
		}
	}
}

// checkBlock is what htmx is given: the form with its answer, the answer alone, or
// "" for what stands around them. A new answer makes page the browser's address.
func (v *visit) checkBlock(f *checkForm, page string) string {
	switch v.r.Header.Get("HX-Target") {
	case f.Target:
		if f.Answer != nil {
			v.w.Header().Set("HX-Push-Url", page)
		}
		return "check"
	case checkAnswerID:
		return "answer"
	}
	return ""
}

// untidy reports a request of a form without script, which sends what is empty too:
// it is to be made without.
func (v *visit) untidy() bool {
	if v.partial() {
		return false
	}
	for _, values := range v.r.URL.Query() {
		if slices.Contains(values, "") {
			return true
		}
	}
	return false
}

// answerCheck asks the policy, if the form asks anything. What is wrong with the
// request goes into the form.
func (v *visit) answerCheck(f *checkForm) (status int, err error) {
	if !f.Asked() {
		return http.StatusOK, nil
	}
	if f.Failed() {
		return http.StatusBadRequest, nil
	}
	in := lifecycle.PolicyCheck{KeyID: f.keyID, RoleID: f.roleID, Method: f.Get("method"), Target: f.Get("path"),
		MicrotenantID: f.Get("microtenant_id"), SourceAddress: f.Get("source_address"), Gate: f.Get("gate")}
	answer, err := v.svc().CheckPolicy(v.ctx(), v.actor, in)
	if err != nil {
		return f.refuse(err)
	}
	f.Answer = &policyAnswer{PolicyAnswer: answer, URL: f.URL(), Commands: v.checkCommands(in, answer)}
	return http.StatusOK, nil
}

// checkCommands ask the same by program.
func (v *visit) checkCommands(in lifecycle.PolicyCheck, answer lifecycle.PolicyAnswer) *commands {
	body, args := map[string]string{"method": in.Method, "path": in.Target}, []string{"policy", "check"}
	switch {
	case in.RoleID != "":
		body["role_id"] = in.RoleID
		args = append(args, "--role", in.RoleID)
	case answer.Key != nil:
		body["key_id"] = in.KeyID
		args = append(args, "--key", answer.Key.ClientID)
	}
	args = append(args, in.Method, in.Target)
	for _, option := range []struct{ member, flag, value string }{
		{"microtenant_id", "--microtenant", in.MicrotenantID}, {"source_address", "--from", in.SourceAddress}, {"gate", "--gate", in.Gate},
	} {
		if option.value != "" {
			body[option.member] = option.value
			args = append(args, option.flag, option.value)
		}
	}
	return v.commands(call{Method: http.MethodPost, Path: "/v1/policy/check", Body: body}, args...)
}
