package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

type listRolesInput struct {
	Q          string `query:"q" maxLength:"200" doc:"Found in name, description or id."`
	CustomerID string `query:"customer_id" doc:"Roles of this customer and those for every customer."`
	Sort       string `query:"sort" enum:"name,-name"`
	PageParams
}

func (a *API) addRoles(h huma.API) {
	register(h, huma.Operation{OperationID: "list-roles", Method: http.MethodGet, Path: "/v1/roles", Summary: "List roles", Tags: []string{"roles"}}, nil, a.listRoles)
}

func (a *API) listRoles(c *call, in *listRolesInput) (*listOutput[lifecycle.Role], error) {
	page, err := a.svc.ListRoles(c.r.Context(), c.actor, lifecycle.RoleFilter{Text: in.Q, CustomerID: in.CustomerID, Sort: in.Sort, Paging: in.paging()})
	return &listOutput[lifecycle.Role]{Body: page}, err
}
