package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// gateMember is a gate by its number, written as a number or in digits, or by its name.
type gateMember struct{ lifecycle.Optional[string] }

// UnmarshalJSON takes a whole number for its digits.
func (g *gateMember) UnmarshalJSON(data []byte) error {
	var number int
	if data = bytes.TrimSpace(data); !bytes.Equal(data, []byte("null")) && json.Unmarshal(data, &number) == nil {
		g.Optional = lifecycle.Some(strconv.Itoa(number))
		return nil
	}
	return g.Optional.UnmarshalJSON(data)
}

// Schema is huma.SchemaProvider.
func (gateMember) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeInteger}, {Type: huma.TypeString}, {Type: "null"}},
		Description: "Number or name of a gate, of GET /v1/policy/routes; left out: every gate."}
}

// Expected says what the member takes.
func (gateMember) Expected() (code, detail string) {
	return lifecycle.FieldType, "must be the number or name of a gate"
}

type checkPolicyBody struct {
	KeyID         member[string] `json:"key_id,omitempty" nullable:"false" doc:"The key whose right credential is supposed to be shown. Exactly one of key_id, client_id, role_id and request_id."`
	ClientID      member[string] `json:"client_id,omitempty" nullable:"false" doc:"The key, by its client ID."`
	RoleID        member[string] `json:"role_id,omitempty" nullable:"false" doc:"A role alone: as held by a key of the customer that the path names, at customer level."`
	RequestID     member[string] `json:"request_id,omitempty" nullable:"false" doc:"A recent denial, by the request_id of its answer; nothing else is given then."`
	Method        member[string] `json:"method,omitempty" nullable:"false" example:"GET"`
	Path          member[string] `json:"path,omitempty" nullable:"false" doc:"As it is on the wire, escaped; a query may follow." example:"/customers/42/orders?page=2"`
	MicrotenantID member[string] `json:"microtenant_id,omitempty" doc:"Added to the query, as the parameter that the rule looks at."`
	SourceAddress member[string] `json:"source_address,omitempty" doc:"Left out: networks are not judged." example:"192.0.2.7"`
	Gate          gateMember     `json:"gate,omitempty"`
}

// check reads what is asked, of a recorded request where RequestID is set.
func (b *checkPolicyBody) check() (in lifecycle.PolicyCheck, err error) {
	var bad lifecycle.FieldErrors
	for _, f := range []struct {
		name     string
		given    lifecycle.Optional[string]
		nullable bool
	}{
		{"request_id", b.RequestID.Optional, false}, {"key_id", b.KeyID.Optional, false}, {"client_id", b.ClientID.Optional, false},
		{"role_id", b.RoleID.Optional, false}, {"method", b.Method.Optional, false}, {"path", b.Path.Optional, false},
		{"microtenant_id", b.MicrotenantID.Optional, true}, {"source_address", b.SourceAddress.Optional, true}, {"gate", b.Gate.Optional, true},
	} {
		switch {
		case f.given.Null && !f.nullable:
			bad.Add(f.name, lifecycle.FieldType, "must be a string")
		case f.given.Has() && f.given.Value == "":
			bad.Add(f.name, lifecycle.FieldFormat, "is empty; leave it out")
		case f.given.Has() && b.RequestID.Set && f.name != "request_id":
			bad.Add(f.name, lifecycle.FieldConflict, "cannot be combined with request_id, whose request was recorded")
		}
	}
	return lifecycle.PolicyCheck{
		KeyID: b.KeyID.Value, ClientID: b.ClientID.Value, RoleID: b.RoleID.Value, Method: b.Method.Value, Target: b.Path.Value,
		MicrotenantID: b.MicrotenantID.Value, SourceAddress: b.SourceAddress.Value, Gate: b.Gate.Value,
	}, bad.Err()
}

type policyAnswerOutput struct {
	Body lifecycle.PolicyAnswer
}

type listPolicyRoutesInput struct {
	Gate     string `query:"gate" doc:"Number or name of a gate."`
	Q        string `query:"q" maxLength:"200" doc:"Found in pattern, resource or title."`
	Resource string `query:"resource"`
	PageParams
}

func (a *API) addPolicy(h huma.API) {
	tags := []string{"policy"}
	register(h, huma.Operation{OperationID: "list-policy-routes", Method: http.MethodGet, Path: "/v1/policy/routes", Summary: "List the rules of the gates", Tags: tags}, nil, a.listPolicyRoutes)
	register(h, huma.Operation{OperationID: "check-policy", Method: http.MethodPost, Path: "/v1/policy/check", Summary: "Explain what a gate decides, or why it denied a recent request", Tags: tags, Metadata: makesNothing},
		&requestBody{of: reflect.TypeFor[checkPolicyBody](), name: "PolicyCheck", mediaTypes: []string{typeJSON},
			needs: lifecycle.NeedsAny(lifecycle.NeedsTo(policy.Read, lifecycle.ResourceKeys), lifecycle.NeedsTo(policy.Read, lifecycle.ResourceRoles))}, a.checkPolicy)
}

func (a *API) listPolicyRoutes(c *call, in *listPolicyRoutesInput) (*listOutput[lifecycle.PolicyRoute], error) {
	page, err := a.svc.ListPolicyRoutes(c.r.Context(), c.actor, lifecycle.PolicyRouteFilter{
		Gate: in.Gate, Text: in.Q, Resource: in.Resource, Paging: in.paging(),
	})
	return &listOutput[lifecycle.PolicyRoute]{Body: page}, err
}

func (a *API) checkPolicy(c *call, _ *struct{}) (*policyAnswerOutput, error) {
	var body checkPolicyBody
	if err := c.decode(&body, typeJSON); err != nil {
		return nil, err
	}
	in, err := body.check()
	if err != nil {
		return nil, err
	}
	var out lifecycle.PolicyAnswer
	if body.RequestID.Set {
		out, err = a.svc.ExplainRequest(c.r.Context(), c.actor, body.RequestID.Value)
	} else {
		out, err = a.svc.CheckPolicy(c.r.Context(), c.actor, in)
	}
	return &policyAnswerOutput{out}, err
}
