package api

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

type createViewBody struct {
	Name    member[string]   `json:"name" nullable:"false" minLength:"1" maxLength:"50"`
	Shared  member[bool]     `json:"shared,omitempty" doc:"Left out: false."`
	Default member[bool]     `json:"default,omitempty" doc:"Left out: false."`
	List    member[string]   `json:"list" nullable:"false" enum:"keys,locks,sessions,roles,customers,microtenants,sources,nodes,audit"`
	Query   member[string]   `json:"query,omitempty" maxLength:"2048"`
	Columns member[[]string] `json:"columns,omitempty" maxItems:"50"`
}

type patchViewBody struct {
	Name    member[string]   `json:"name,omitempty" nullable:"false" minLength:"1" maxLength:"50"`
	Shared  member[bool]     `json:"shared,omitempty" nullable:"false"`
	Default member[bool]     `json:"default,omitempty" nullable:"false"`
	Query   member[string]   `json:"query,omitempty" maxLength:"2048"`
	Columns member[[]string] `json:"columns,omitempty" maxItems:"50"`
}

type listViewsInput struct {
	List string `query:"list" enum:"keys,locks,sessions,roles,customers,microtenants,sources,nodes,audit" doc:"Views of this list alone."`
	PageParams
}

func (a *API) addViews(h huma.API) {
	tags := []string{"me"}
	const one = "/v1/me/views/{id}"
	register(h, huma.Operation{OperationID: "list-views", Method: http.MethodGet, Path: "/v1/me/views", Summary: "List your views and those shared with you", Tags: tags}, nil, a.listViews)
	register(h, huma.Operation{OperationID: "create-view", Method: http.MethodPost, Path: "/v1/me/views", Summary: "Create a view", Tags: tags,
		DefaultStatus: http.StatusCreated}, &requestBody{reflect.TypeFor[createViewBody](), "NewView", []string{typeJSON}, lifecycle.NeedsHere(true)}, a.createView)
	register(h, huma.Operation{OperationID: "get-view", Method: http.MethodGet, Path: one, Summary: "Show a view", Tags: tags}, nil, a.getView)
	register(h, huma.Operation{OperationID: "update-view", Method: http.MethodPatch, Path: one, Summary: "Change a view", Tags: tags},
		&requestBody{reflect.TypeFor[patchViewBody](), "ViewPatch", []string{typeMergePatch, typeJSON}, lifecycle.NeedsHere(true)}, a.updateView)
	register(h, huma.Operation{OperationID: "delete-view", Method: http.MethodDelete, Path: one, Summary: "Delete a view", Tags: tags, Metadata: never(http.StatusConflict)}, nil, a.deleteView)
}

func (a *API) listViews(c *call, in *listViewsInput) (*listOutput[lifecycle.View], error) {
	page, err := a.svc.ListViews(c.r.Context(), c.actor, lifecycle.ViewFilter{List: in.List, Paging: in.paging()})
	return &listOutput[lifecycle.View]{Body: page}, err
}

func (a *API) createView(c *call, _ *struct{}) (*createdOutput[lifecycle.View], error) {
	var body createViewBody
	if err := c.decode(&body, typeJSON); err != nil {
		return nil, err
	}
	view, commit, err := a.svc.CreateView(c.r.Context(), c.actor, lifecycle.NewView{Name: body.Name.Value, Shared: body.Shared.Value, Default: body.Default.Value,
		List: body.List.Value, Query: body.Query.Value, Columns: body.Columns.Value})
	if err != nil {
		return nil, err
	}
	return &createdOutput[lifecycle.View]{Written: writtenAs(commit), ETag: etag(view.Revision), Location: c.location(view.ID), Body: view}, nil
}

func (a *API) getView(c *call, in *RecordID) (*recordOutput[lifecycle.View], error) {
	view, err := a.svc.GetView(c.r.Context(), c.actor, in.ID)
	return &recordOutput[lifecycle.View]{ETag: etag(view.Revision), Body: view}, err
}

func (a *API) updateView(c *call, in *changeRecordInput) (*changedOutput[lifecycle.View], error) {
	var body patchViewBody
	if err := c.decode(&body, typeMergePatch, typeJSON); err != nil {
		return nil, err
	}
	view, commit, err := a.svc.UpdateView(c.r.Context(), c.actor, in.ID, lifecycle.ViewPatch{Name: body.Name.Optional, Shared: body.Shared.Optional,
		Default: body.Default.Optional, Query: body.Query.Optional, Columns: body.Columns.Optional}, c.ifMatch())
	return &changedOutput[lifecycle.View]{Written: writtenAs(commit), ETag: etag(view.Revision), Body: view}, err
}

func (a *API) deleteView(c *call, in *changeRecordInput) (*writtenOutput, error) {
	commit, err := a.svc.DeleteView(c.r.Context(), c.actor, in.ID, c.ifMatch())
	return &writtenOutput{writtenAs(commit)}, err
}
