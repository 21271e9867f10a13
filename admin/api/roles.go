package api

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

type createRoleBody struct {
	Name        member[string] `json:"name" nullable:"false" minLength:"1" maxLength:"50" doc:"1 to 50 characters, unique in its customer; not that of a predefined role."`
	Description member[string] `json:"description,omitempty" maxLength:"1000"`
	CustomerID  member[string] `json:"customer_id,omitempty" doc:"Left out: the acting key's own; null: a role for every customer, which only an Operator may make."`
	Permissions permissions    `json:"permissions,omitempty" doc:"Left out or empty: nothing."`
}

type patchRoleBody struct {
	Name        member[string]   `json:"name,omitempty" nullable:"false" minLength:"1" maxLength:"50"`
	Description member[string]   `json:"description,omitempty" maxLength:"1000"`
	Permissions permissionsPatch `json:"permissions,omitempty" doc:"Merged: an entry that is null is taken away, null takes all away."`
}

type listRolesInput struct {
	Q          string `query:"q" maxLength:"200" doc:"Found in name, description or id."`
	CustomerID string `query:"customer_id" doc:"Roles of this customer and those for every customer."`
	Sort       string `query:"sort" enum:"name,-name"`
	PageParams
}

func (a *API) addRoles(h huma.API) {
	tags := []string{"roles"}
	const one = "/v1/roles/{id}"
	register(h, huma.Operation{OperationID: "list-roles", Method: http.MethodGet, Path: "/v1/roles", Summary: "List roles", Tags: tags}, nil, a.listRoles)
	register(h, huma.Operation{OperationID: "create-role", Method: http.MethodPost, Path: "/v1/roles", Summary: "Create a role", Tags: tags,
		DefaultStatus: http.StatusCreated}, &requestBody{reflect.TypeFor[createRoleBody](), "NewRole", []string{typeJSON}, lifecycle.NeedsTo(policy.Create, lifecycle.ResourceRoles)}, a.createRole)
	register(h, huma.Operation{OperationID: "get-role", Method: http.MethodGet, Path: one, Summary: "Show a role", Tags: tags}, nil, a.getRole)
	register(h, huma.Operation{OperationID: "update-role", Method: http.MethodPatch, Path: one, Summary: "Change a role", Tags: tags},
		&requestBody{reflect.TypeFor[patchRoleBody](), "RolePatch", []string{typeMergePatch, typeJSON}, lifecycle.NeedsTo(policy.Update, lifecycle.ResourceRoles)}, a.updateRole)
	register(h, huma.Operation{OperationID: "delete-role", Method: http.MethodDelete, Path: one, Summary: "Delete a role that nothing uses", Tags: tags}, nil, a.deleteRole)
}

func (a *API) listRoles(c *call, in *listRolesInput) (*listOutput[lifecycle.Role], error) {
	page, err := a.svc.ListRoles(c.r.Context(), c.actor, lifecycle.RoleFilter{Text: in.Q, CustomerID: in.CustomerID, Sort: in.Sort, Paging: in.paging()})
	return &listOutput[lifecycle.Role]{Body: page}, err
}

func (a *API) createRole(c *call, _ *struct{}) (*createdOutput[lifecycle.Role], error) {
	var body createRoleBody
	if err := c.decode(&body, typeJSON); err != nil {
		return nil, err
	}
	granted, err := body.Permissions.granted()
	if err != nil {
		return nil, err
	}
	role, commit, err := a.svc.CreateRole(c.r.Context(), c.actor, lifecycle.NewRole{Name: body.Name.Value, Description: body.Description.Value,
		CustomerID: body.CustomerID.Optional, Permissions: granted})
	if err != nil {
		return nil, err
	}
	return &createdOutput[lifecycle.Role]{Written: writtenAs(commit), ETag: etag(role.Revision), Location: c.location(role.ID), Body: role}, nil
}

func (a *API) getRole(c *call, in *RecordID) (*recordOutput[lifecycle.Role], error) {
	role, err := a.svc.GetRole(c.r.Context(), c.actor, in.ID)
	return &recordOutput[lifecycle.Role]{ETag: etag(role.Revision), Body: role}, err
}

func (a *API) updateRole(c *call, in *changeRecordInput) (*changedOutput[lifecycle.Role], error) {
	var body patchRoleBody
	if err := c.decode(&body, typeMergePatch, typeJSON); err != nil {
		return nil, err
	}
	masks, err := body.Permissions.masks(true)
	if err != nil {
		return nil, err
	}
	role, commit, err := a.svc.UpdateRole(c.r.Context(), c.actor, in.ID,
		lifecycle.RolePatch{Name: body.Name.Optional, Description: body.Description.Optional, Permissions: masks}, c.ifMatch())
	return &changedOutput[lifecycle.Role]{Written: writtenAs(commit), ETag: etag(role.Revision), Body: role}, err
}

func (a *API) deleteRole(c *call, in *changeRecordInput) (*writtenOutput, error) {
	commit, err := a.svc.DeleteRole(c.r.Context(), c.actor, in.ID, c.ifMatch())
	return &writtenOutput{writtenAs(commit)}, err
}
