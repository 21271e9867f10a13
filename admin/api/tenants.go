package api

import (
	"net/http"
	"net/url"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

type createCustomerBody struct {
	ID      member[string] `json:"id,omitempty" pattern:"^[A-Za-z0-9_-]{1,64}$" doc:"To equal the upstream's; left out: made by Keyreeve."`
	Name    member[string] `json:"name" nullable:"false" minLength:"1" maxLength:"50" doc:"1 to 50 characters, unique."`
	Enabled member[bool]   `json:"enabled,omitempty" doc:"Left out: true."`
}

type createMicrotenantBody struct {
	ID         member[string] `json:"id,omitempty" pattern:"^[A-Za-z0-9_-]{1,64}$" doc:"Unique in its customer, to equal the upstream's; neither 0 nor null. Left out: made by Keyreeve."`
	CustomerID member[string] `json:"customer_id,omitempty" doc:"Left out: the acting key's own."`
	Name       member[string] `json:"name" nullable:"false" minLength:"1" maxLength:"50" doc:"1 to 50 characters, unique in its customer."`
	Enabled    member[bool]   `json:"enabled,omitempty" doc:"Left out: true."`
}

type patchTenantBody struct {
	Name    member[string] `json:"name,omitempty" nullable:"false" minLength:"1" maxLength:"50"`
	Enabled member[bool]   `json:"enabled,omitempty" nullable:"false" doc:"false: its keys are refused and their sessions over for good."`
}

func (b *patchTenantBody) patch() lifecycle.TenantPatch {
	return lifecycle.TenantPatch{Name: b.Name.Optional, Enabled: b.Enabled.Optional}
}

// TenantParams are the parameters that lists of tenants share. Exported, as
// PageParams are.
type TenantParams struct {
	Q    string `query:"q" maxLength:"200" doc:"Found in name or id."`
	Sort string `query:"sort" enum:"name,-name,created_at,-created_at"`
	PageParams
}

func (p *TenantParams) filter() lifecycle.CustomerFilter {
	return lifecycle.CustomerFilter{Text: p.Q, Sort: p.Sort, Paging: p.paging()}
}

type listCustomersInput struct{ TenantParams }

type listMicrotenantsInput struct {
	CustomerID string `query:"customer_id"`
	TenantParams
}

// MicrotenantID is the path's id of a microtenant and whose it is.
type MicrotenantID struct {
	ID         string `path:"id"`
	CustomerID string `query:"customer_id" doc:"Left out: the acting key's own; for an Operator, the only customer with a microtenant of that id."`
}

func (m *MicrotenantID) ref() lifecycle.MicrotenantRef {
	return lifecycle.MicrotenantRef{ID: m.ID, CustomerID: m.CustomerID}
}

type changeMicrotenantInput struct {
	MicrotenantID
	IfMatch string `header:"If-Match" doc:"ETag that the record must still have."`
}

func (a *API) addTenants(h huma.API) {
	tags := []string{"tenants"}
	patch := &requestBody{reflect.TypeFor[patchTenantBody](), "TenantPatch", []string{typeMergePatch, typeJSON}, lifecycle.NeedsTo(policy.Update, lifecycle.ResourceTenants)}
	const customer, microtenant = "/v1/customers/{id}", "/v1/microtenants/{id}"
	register(h, huma.Operation{OperationID: "list-customers", Method: http.MethodGet, Path: "/v1/customers", Summary: "List customers", Tags: tags}, nil, a.listCustomers)
	register(h, huma.Operation{OperationID: "create-customer", Method: http.MethodPost, Path: "/v1/customers", Summary: "Create a customer", Tags: tags,
		DefaultStatus: http.StatusCreated}, &requestBody{reflect.TypeFor[createCustomerBody](), "NewCustomer", []string{typeJSON}, lifecycle.NeedsTo(policy.Create, lifecycle.ResourceTenants)}, a.createCustomer)
	register(h, huma.Operation{OperationID: "get-customer", Method: http.MethodGet, Path: customer, Summary: "Show a customer", Tags: tags}, nil, a.getCustomer)
	register(h, huma.Operation{OperationID: "update-customer", Method: http.MethodPatch, Path: customer, Summary: "Change a customer", Tags: tags}, patch, a.updateCustomer)
	register(h, huma.Operation{OperationID: "delete-customer", Method: http.MethodDelete, Path: customer, Summary: "Delete a customer that owns nothing", Tags: tags}, nil, a.deleteCustomer)
	register(h, huma.Operation{OperationID: "list-microtenants", Method: http.MethodGet, Path: "/v1/microtenants", Summary: "List microtenants", Tags: tags}, nil, a.listMicrotenants)
	register(h, huma.Operation{OperationID: "create-microtenant", Method: http.MethodPost, Path: "/v1/microtenants", Summary: "Create a microtenant", Tags: tags,
		DefaultStatus: http.StatusCreated}, &requestBody{reflect.TypeFor[createMicrotenantBody](), "NewMicrotenant", []string{typeJSON}, lifecycle.NeedsTo(policy.Create, lifecycle.ResourceTenants)}, a.createMicrotenant)
	register(h, huma.Operation{OperationID: "get-microtenant", Method: http.MethodGet, Path: microtenant, Summary: "Show a microtenant", Tags: tags}, nil, a.getMicrotenant)
	register(h, huma.Operation{OperationID: "update-microtenant", Method: http.MethodPatch, Path: microtenant, Summary: "Change a microtenant", Tags: tags}, patch, a.updateMicrotenant)
	register(h, huma.Operation{OperationID: "delete-microtenant", Method: http.MethodDelete, Path: microtenant, Summary: "Delete a microtenant without keys", Tags: tags}, nil, a.deleteMicrotenant)
}

func (a *API) listCustomers(c *call, in *listCustomersInput) (*listOutput[lifecycle.Customer], error) {
	page, err := a.svc.ListCustomers(c.r.Context(), c.actor, in.filter())
	return &listOutput[lifecycle.Customer]{Body: page}, err
}

func (a *API) createCustomer(c *call, _ *struct{}) (*createdOutput[lifecycle.Customer], error) {
	var body createCustomerBody
	if err := c.decode(&body, typeJSON); err != nil {
		return nil, err
	}
	var bad lifecycle.FieldErrors
	refuseEmpty(&bad, "id", body.ID)
	if err := bad.Err(); err != nil {
		return nil, err
	}
	made, commit, err := a.svc.CreateCustomer(c.r.Context(), c.actor, lifecycle.NewCustomer{ID: body.ID.Value, Name: body.Name.Value, Enabled: body.Enabled.Optional})
	if err != nil {
		return nil, err
	}
	return &createdOutput[lifecycle.Customer]{Written: writtenAs(commit), ETag: etag(made.Revision), Location: c.location(made.ID), Body: made}, nil
}

func (a *API) getCustomer(c *call, in *RecordID) (*recordOutput[lifecycle.Customer], error) {
	customer, err := a.svc.GetCustomer(c.r.Context(), c.actor, in.ID)
	return &recordOutput[lifecycle.Customer]{ETag: etag(customer.Revision), Body: customer}, err
}

func (a *API) updateCustomer(c *call, in *changeRecordInput) (*changedOutput[lifecycle.Customer], error) {
	var body patchTenantBody
	if err := c.decode(&body, typeMergePatch, typeJSON); err != nil {
		return nil, err
	}
	customer, commit, err := a.svc.UpdateCustomer(c.r.Context(), c.actor, in.ID, body.patch(), c.ifMatch())
	return &changedOutput[lifecycle.Customer]{Written: writtenAs(commit), ETag: etag(customer.Revision), Body: customer}, err
}

func (a *API) deleteCustomer(c *call, in *changeRecordInput) (*writtenOutput, error) {
	commit, err := a.svc.DeleteCustomer(c.r.Context(), c.actor, in.ID, c.ifMatch())
	return &writtenOutput{writtenAs(commit)}, err
}

func (a *API) listMicrotenants(c *call, in *listMicrotenantsInput) (*listOutput[lifecycle.Microtenant], error) {
	page, err := a.svc.ListMicrotenants(c.r.Context(), c.actor, lifecycle.MicrotenantFilter{CustomerFilter: in.filter(), CustomerID: in.CustomerID})
	return &listOutput[lifecycle.Microtenant]{Body: page}, err
}

func (a *API) createMicrotenant(c *call, _ *struct{}) (*createdOutput[lifecycle.Microtenant], error) {
	var body createMicrotenantBody
	if err := c.decode(&body, typeJSON); err != nil {
		return nil, err
	}
	var bad lifecycle.FieldErrors
	refuseEmpty(&bad, "id", body.ID)
	refuseEmpty(&bad, "customer_id", body.CustomerID)
	if err := bad.Err(); err != nil {
		return nil, err
	}
	made, commit, err := a.svc.CreateMicrotenant(c.r.Context(), c.actor, lifecycle.NewMicrotenant{ID: body.ID.Value, CustomerID: body.CustomerID.Value,
		Name: body.Name.Value, Enabled: body.Enabled.Optional})
	if err != nil {
		return nil, err
	}
	return &createdOutput[lifecycle.Microtenant]{Written: writtenAs(commit), ETag: etag(made.Revision),
		Location: c.location(made.ID) + "?customer_id=" + url.QueryEscape(made.CustomerID), Body: made}, nil
}

func (a *API) getMicrotenant(c *call, in *MicrotenantID) (*recordOutput[lifecycle.Microtenant], error) {
	microtenant, err := a.svc.GetMicrotenant(c.r.Context(), c.actor, in.ref())
	return &recordOutput[lifecycle.Microtenant]{ETag: etag(microtenant.Revision), Body: microtenant}, err
}

func (a *API) updateMicrotenant(c *call, in *changeMicrotenantInput) (*changedOutput[lifecycle.Microtenant], error) {
	var body patchTenantBody
	if err := c.decode(&body, typeMergePatch, typeJSON); err != nil {
		return nil, err
	}
	microtenant, commit, err := a.svc.UpdateMicrotenant(c.r.Context(), c.actor, in.ref(), body.patch(), c.ifMatch())
	return &changedOutput[lifecycle.Microtenant]{Written: writtenAs(commit), ETag: etag(microtenant.Revision), Body: microtenant}, err
}

func (a *API) deleteMicrotenant(c *call, in *changeMicrotenantInput) (*writtenOutput, error) {
	commit, err := a.svc.DeleteMicrotenant(c.r.Context(), c.actor, in.ref(), c.ifMatch())
	return &writtenOutput{writtenAs(commit)}, err
}
