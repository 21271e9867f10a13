package page

import (
	"path"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// routeList is the rules of the gates.
type routeList struct {
	*listed[ruleRow]
	Gates []lifecycle.GateRef
	// Filtered: something narrows the list.
	Filtered bool
}

// ruleRow is a rule, and the URL of those on the same resource.
type ruleRow struct {
	lifecycle.PolicyRoute
	SameURL string
}

// For is the rule's methods.
func (r ruleRow) For() string { return methodWords(r.Methods) }

// File is where the rule was written, without the folder.
func (r ruleRow) File() string { return path.Base(r.Origin) }

// listRoutes shows the rules of the gates.
func (v *visit) listRoutes() error {
	d := v.policyRoom("routes")
	q := listQuery(routesPath, v.r.URL.Query(), "q", "resource", "gate")
	if v.tidied(q) {
		return v.redirect(q.String())
	}
	f := NewForm(q.Values)
	gates, err := v.svc().PolicyGates(v.ctx(), v.actor)
	if err != nil {
		return err
	}
	list, err := readList(v, f, q, "#policy-routes", func(at lifecycle.Paging) (lifecycle.Page[ruleRow], error) {
		found, err := v.svc().ListPolicyRoutes(v.ctx(), v.actor,
			lifecycle.PolicyRouteFilter{Gate: q.Get("gate"), Text: q.Get("q"), Resource: q.Get("resource"), Paging: at})
		return pageAs(found, err, func(r lifecycle.PolicyRoute) (ruleRow, error) {
			row := ruleRow{PolicyRoute: r}
			if r.Resource != nil {
				row.SameURL = q.with("resource", *r.Resource).String()
			}
			return row, nil
		})
	})
	if err != nil {
		return err
	}
	d.Routes = &routeList{list, gates, q.filtered()}
	return v.show(view{Status: statusOf(f), Page: "policy", Block: v.blockOf("policy-routes", "routes", "main"), Title: "Policy rules", Data: d})
}
