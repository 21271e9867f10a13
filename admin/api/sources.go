package api

import (
	"net/http"
	"net/url"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

type createSourceBody struct {
	Name       member[string] `json:"name" nullable:"false" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$" doc:"Unique in its customer; neither keyreeve nor none."`
	CustomerID member[string] `json:"customer_id,omitempty" doc:"Left out: the acting key's own, or the only one there is."`
	Owner      member[string] `json:"owner,omitempty" maxLength:"100" doc:"Who to turn to, for people."`
	Rule       member[string] `json:"rule" nullable:"false" enum:"read_only,locked"`
	MaxRoleID  member[string] `json:"max_role_id" nullable:"false" doc:"The highest role that its keys may have."`
}

type putSourceBody struct {
	Owner     member[string] `json:"owner,omitempty" maxLength:"100" doc:"Who to turn to, for people; left out: not said."`
	Rule      member[string] `json:"rule" nullable:"false" enum:"read_only,locked"`
	MaxRoleID member[string] `json:"max_role_id" nullable:"false" doc:"The highest role that its keys may have."`
}

type patchSourceBody struct {
	Owner     member[string] `json:"owner,omitempty" maxLength:"100" doc:"null: not said."`
	Rule      member[string] `json:"rule,omitempty" nullable:"false" enum:"read_only,locked"`
	MaxRoleID member[string] `json:"max_role_id,omitempty" nullable:"false"`
}

type listSourcesInput struct {
	Q          string `query:"q" maxLength:"200" doc:"Found in name or owner."`
	CustomerID string `query:"customer_id"`
	PageParams
}

// SourceName is the path's name of a source and whose it is.
type SourceName struct {
	Name       string `path:"name"`
	CustomerID string `query:"customer_id" doc:"Left out: the acting key's own, or the only customer with a source of that name."`
}

func (n *SourceName) ref() lifecycle.SourceRef {
	return lifecycle.SourceRef{Name: n.Name, CustomerID: n.CustomerID}
}

type changeSourceInput struct {
	SourceName
	IfMatch string `header:"If-Match" doc:"ETag that the source must still have."`
}

type putSourceInput struct {
	SourceName
	IfMatch     string `header:"If-Match" doc:"ETag that the source must still have."`
	IfNoneMatch string `header:"If-None-Match" doc:"*: create it, and leave one that is there alone."`
}

type putSourceOutput struct {
	Written
	// Status is 201 for a new source, 200 for one replaced.
	Status int
	ETag   string `header:"ETag"`
	Body   lifecycle.Source
}

func (a *API) addSources(h huma.API) {
	tags := []string{"sources"}
	const one = "/v1/sources/{name}"
	register(h, huma.Operation{OperationID: "list-sources", Method: http.MethodGet, Path: "/v1/sources", Summary: "List external sources, by name", Tags: tags}, nil, a.listSources)
	register(h, huma.Operation{OperationID: "create-source", Method: http.MethodPost, Path: "/v1/sources", Summary: "Create an external source", Tags: tags,
		DefaultStatus: http.StatusCreated}, &requestBody{reflect.TypeFor[createSourceBody](), "NewSource", []string{typeJSON}, lifecycle.NeedsSources(policy.Create)}, a.createSource)
	register(h, huma.Operation{OperationID: "get-source", Method: http.MethodGet, Path: one, Summary: "Show an external source", Tags: tags}, nil, a.getSource)
	register(h, huma.Operation{OperationID: "put-source", Method: http.MethodPut, Path: one, Summary: "Create an external source, or replace its settings", Tags: tags, Metadata: never(http.StatusNotFound, http.StatusConflict)},
		&requestBody{reflect.TypeFor[putSourceBody](), "SourceSettings", []string{typeJSON}, lifecycle.NeedsAny(lifecycle.NeedsSources(policy.Update), lifecycle.NeedsSources(policy.Create))}, a.putSource)
	register(h, huma.Operation{OperationID: "update-source", Method: http.MethodPatch, Path: one, Summary: "Change an external source", Tags: tags, Metadata: never(http.StatusConflict)},
		&requestBody{reflect.TypeFor[patchSourceBody](), "SourcePatch", []string{typeMergePatch, typeJSON}, lifecycle.NeedsSources(policy.Update)}, a.updateSource)
	register(h, huma.Operation{OperationID: "delete-source", Method: http.MethodDelete, Path: one, Summary: "Delete an external source that owns no key", Tags: tags}, nil, a.deleteSource)
	a.addSourceKeys(h)
}

func (a *API) listSources(c *call, in *listSourcesInput) (*listOutput[lifecycle.Source], error) {
	page, err := a.svc.ListSources(c.r.Context(), c.actor, lifecycle.SourceFilter{Text: in.Q, CustomerID: in.CustomerID, Paging: in.paging()})
	return &listOutput[lifecycle.Source]{Body: page}, err
}

func (a *API) createSource(c *call, _ *struct{}) (*createdOutput[lifecycle.Source], error) {
	var body createSourceBody
	if err := c.decode(&body, typeJSON); err != nil {
		return nil, err
	}
	var bad lifecycle.FieldErrors
	refuseEmpty(&bad, "customer_id", body.CustomerID)
	if err := bad.Err(); err != nil {
		return nil, err
	}
	made, commit, err := a.svc.CreateSource(c.r.Context(), c.actor, lifecycle.NewSource{Name: body.Name.Value, CustomerID: body.CustomerID.Value,
		Owner: body.Owner.Value, Rule: body.Rule.Value, MaxRoleID: body.MaxRoleID.Value})
	if err != nil {
		return nil, err
	}
	return &createdOutput[lifecycle.Source]{Written: writtenAs(commit), ETag: etag(made.Revision), Location: c.location(made.Name) + "?customer_id=" + url.QueryEscape(made.CustomerID), Body: made}, nil
}

func (a *API) getSource(c *call, in *SourceName) (*recordOutput[lifecycle.Source], error) {
	source, err := a.svc.GetSource(c.r.Context(), c.actor, in.ref())
	return &recordOutput[lifecycle.Source]{ETag: etag(source.Revision), Body: source}, err
}

func (a *API) putSource(c *call, in *putSourceInput) (*putSourceOutput, error) {
	var body putSourceBody
	if err := c.decode(&body, typeJSON); err != nil {
		return nil, err
	}
	source, created, commit, err := a.svc.PutSource(c.r.Context(), c.actor, lifecycle.NewSource{Name: in.Name, CustomerID: in.CustomerID,
		Owner: body.Owner.Value, Rule: body.Rule.Value, MaxRoleID: body.MaxRoleID.Value}, c.ifMatch())
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return &putSourceOutput{Written: writtenAs(commit), Status: status, ETag: etag(source.Revision), Body: source}, err
}

func (a *API) updateSource(c *call, in *changeSourceInput) (*changedOutput[lifecycle.Source], error) {
	var body patchSourceBody
	if err := c.decode(&body, typeMergePatch, typeJSON); err != nil {
		return nil, err
	}
	source, commit, err := a.svc.UpdateSource(c.r.Context(), c.actor, in.ref(),
		lifecycle.SourcePatch{Owner: body.Owner.Optional, Rule: body.Rule.Optional, MaxRoleID: body.MaxRoleID.Optional}, c.ifMatch())
	return &changedOutput[lifecycle.Source]{Written: writtenAs(commit), ETag: etag(source.Revision), Body: source}, err
}

func (a *API) deleteSource(c *call, in *changeSourceInput) (*writtenOutput, error) {
	commit, err := a.svc.DeleteSource(c.r.Context(), c.actor, in.ref(), c.ifMatch())
	return &writtenOutput{writtenAs(commit)}, err
}
