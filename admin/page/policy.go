package page

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	policyPath  = root + "policy"
	explainPath = policyPath + "/explain"
	routesPath  = policyPath + "/routes"
	// maxSuggested bounds the keys and roles that are suggested by name.
	maxSuggested = 20
)

func (p *Page) addPolicy() {
	p.get(policyPath, (*visit).checkPolicy)
	p.get(policyPath+"/keys", (*visit).suggestKeys)
	p.get(explainPath, (*visit).explainRequest)
	p.get(routesPath, (*visit).listRoutes)
}

// policyRoom is what its pages have in common.
type policyRoom struct {
	// Tab is the page that is open.
	Tab string
	// Keys and Roles tell what the actor may ask about.
	Keys, Roles bool
	Check       *checkForm
	Explain     *explainForm
	Routes      *routeList
}

func (v *visit) policyRoom(tab string) *policyRoom {
	return &policyRoom{Tab: tab, Keys: v.may(lifecycle.ResourceKeys, policy.Read), Roles: v.may(lifecycle.ResourceRoles, policy.Read)}
}

// subjectFields ask whose request it is: that of a key or of a role.
type subjectFields struct {
	Keys, Roles       []suggestion
	MayKeys, MayRoles bool
}

// suggestion is a name to choose, and what tells it from others.
type suggestion struct{ Name, About string }

// checkPolicy answers what the gates would decide on a request of any key or role.
func (v *visit) checkPolicy() error {
	d := v.policyRoom("check")
	f, err := v.newCheck(append([]string{"key_id", "role_id"}, checkParams...), v.actor.CustomerID)
	if err != nil {
		return err
	}
	d.Check = f
	f.Page, f.Action, f.Target = policyPath, policyPath, "policy-check"
	if v.untidy() {
		return v.redirect(f.URL())
	}
	f.Subject = &subjectFields{MayKeys: d.Keys, MayRoles: d.Roles}
	if err := v.readSubject(f); err != nil {
		return err
	}
	status, err := v.answerCheck(f)
	if err != nil {
		return err
	}
	return v.show(view{Status: status, Page: "policy", Block: v.checkBlock(f, f.URL()), Title: "Policy check", Data: d})
}

// readSubject finds who the form names, and whom to suggest.
func (v *visit) readSubject(f *checkForm) (err error) {
	s := f.Subject
	if s.MayKeys {
		if s.Keys, err = v.keysLike(f.Get("key_id")); err != nil {
			return err
		}
		if f.keyID, err = v.namedKey(f, f.Get("key_id")); err != nil {
			return err
		}
	}
	if s.MayRoles {
		roles, err := v.svc().ListRoles(v.ctx(), v.actor, lifecycle.RoleFilter{Paging: lifecycle.Paging{Size: lifecycle.Some(lifecycle.MaxPageSize)}})
		if err != nil {
			return err
		}
		for _, r := range roles.Items {
			s.Roles = append(s.Roles, suggestion{r.Name, r.Description})
		}
		f.roleID = namedRole(f, roles.Items, f.Get("role_id"))
	}
	switch {
	case !f.Asked() || f.Failed():
	case f.keyID == "" && f.roleID == "":
		f.Fail(f.subjectField(), "Choose the key or the role that it is about.")
	case f.keyID != "" && f.roleID != "":
		f.Fail("role_id", "Give a key or a role, not both.")
	}
	return nil
}

// subjectField is the first field that asks whose request it is.
func (f *checkForm) subjectField() string {
	if f.Subject.MayKeys {
		return "key_id"
	}
	return "role_id"
}

// namedKey is the id of the key that goes by a name, client ID or id. None, and
// several, are told at the field.
func (v *visit) namedKey(f *checkForm, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	found, err := v.keysNamed(name)
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 0:
		f.Fail("key_id", "No key that you may see has this name, client ID or id.")
		return "", nil
	case 1:
		return found[0].ID, nil
	}
	var ids []string
	f.Subject.Keys = nil
	for _, k := range found {
		ids = append(ids, k.ClientID)
		f.Subject.Keys = append(f.Subject.Keys, suggestion{k.ClientID, k.Name})
	}
	f.Fail("key_id", fmt.Sprintf("%d keys go by this name. Give the client ID of one: %s.", len(found), strings.Join(ids, ", ")))
	return "", nil
}

// namedRole is the id of the role with this name or id.
func namedRole(f *checkForm, roles []lifecycle.Role, name string) string {
	if name == "" {
		return ""
	}
	var ids []string
	for _, r := range roles {
		if r.ID == name {
			return r.ID
		}
		if r.Name == name {
			ids = append(ids, r.ID)
		}
	}
	switch len(ids) {
	case 0:
		f.Fail("role_id", "No role that you may see has this name or id.")
		return ""
	case 1:
		return ids[0]
	}
	f.Fail("role_id", fmt.Sprintf("%d roles have this name. Give the id of one: %s.", len(ids), strings.Join(ids, ", ")))
	return ""
}

// keysLike suggests keys for what is typed.
func (v *visit) keysLike(text string) ([]suggestion, error) {
	page, err := v.svc().ListKeys(v.ctx(), v.actor, lifecycle.KeyFilter{Text: text, Paging: lifecycle.Paging{Size: lifecycle.Some(maxSuggested)}})
	if refusedAs(err, lifecycle.Invalid) {
		return nil, nil // there is nothing like it
	}
	var all []suggestion
	for _, k := range page.Items {
		all = append(all, suggestion{k.Name, k.ClientID})
	}
	return all, err
}

// suggestKeys answers with the suggestions alone.
func (v *visit) suggestKeys() error {
	text := strings.TrimSpace(v.r.URL.Query().Get("key_id"))
	if !v.partial() {
		return v.redirect(policyPath + "?" + url.Values{"key_id": {text}}.Encode())
	}
	keys, err := v.keysLike(text)
	if err != nil {
		return err
	}
	return v.show(view{Page: "policy", Block: "suggested", Data: keys})
}

// explainForm asks about a refusal that was recorded.
type explainForm struct {
	*Form
	Answer *policyAnswer
}

// explainRequest shows why a recent request was refused.
func (v *visit) explainRequest() error {
	d := v.policyRoom("explain")
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Read, lifecycle.ResourceKeys)); err != nil {
		return err
	}
	id := strings.TrimSpace(v.r.URL.Query().Get("request_id"))
	d.Explain = &explainForm{Form: NewForm(url.Values{"request_id": {id}})}
	status := http.StatusOK
	if id != "" {
		answer, err := v.svc().ExplainRequest(v.ctx(), v.actor, id)
		var refused *lifecycle.Error
		switch {
		case errors.As(err, &refused) && refused.Kind == lifecycle.NotFound:
			status = http.StatusNotFound
			d.Explain.Fail("request_id", sentence(refused.Detail))
		case err != nil:
			return err
		default:
			d.Explain.Answer = &policyAnswer{PolicyAnswer: answer, Lead: "Now",
				Commands: v.commands(call{Method: http.MethodPost, Path: "/v1/policy/check", Body: map[string]string{"request_id": id}}, "policy", "explain", id)}
		}
	}
	return v.show(view{Status: status, Page: "policy", Block: v.blockOf("policy-explain", "explain", "main"), Title: "Explain a refusal", Data: d})
}
