package api

import (
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// createBody is the body of POST /v1/keys.
type createBody struct {
	Name                   member[string]             `json:"name" nullable:"false" minLength:"1" maxLength:"50" doc:"1 to 50 characters, unique in its customer and microtenant; stored in NFC."`
	Description            member[string]             `json:"description,omitempty" maxLength:"1000"`
	RoleID                 member[string]             `json:"role_id" nullable:"false"`
	CustomerID             member[string]             `json:"customer_id,omitempty" doc:"Left out: the acting key's own."`
	MicrotenantID          member[string]             `json:"microtenant_id,omitempty" doc:"Left out: the acting key's own; null: the customer level."`
	Enabled                member[bool]               `json:"enabled,omitempty" doc:"Left out: true."`
	SessionValiditySeconds member[int64]              `json:"session_validity_seconds,omitempty" minimum:"60" doc:"Lifetime of its access tokens; null: the configured default."`
	ExpiresAt              member[time.Time]          `json:"expires_at,omitempty" doc:"In the future; null: never."`
	AllowedCIDRs           member[[]string]           `json:"allowed_cidrs,omitempty" maxItems:"64" doc:"Networks it may be used from; none: anywhere."`
	Labels                 member[map[string]*string] `json:"labels,omitempty" doc:"At most 32; keys of A-Z a-z 0-9 . _ -, at most 63 bytes; values at most 255 bytes."`
	ClientID               member[string]             `json:"client_id,omitempty" maxLength:"128" doc:"Import: the client ID of a key made elsewhere."`
	SecretSHA256           member[string]             `json:"secret_sha256,omitempty" doc:"Import: SHA-256 of the secret, in hex or base64url; needs client_id."`
}

func (b *createBody) newKey() (lifecycle.NewKey, error) {
	in := lifecycle.NewKey{
		Name: b.Name.Value, Description: b.Description.Value, RoleID: b.RoleID.Value,
		CustomerID: b.CustomerID.Value, MicrotenantID: b.MicrotenantID.Optional, Enabled: b.Enabled.Optional,
		SessionValiditySeconds: b.SessionValiditySeconds.Optional, ExpiresAt: b.ExpiresAt.Optional,
		AllowedCIDRs: b.AllowedCIDRs.Value, ClientID: b.ClientID.Value, SecretSHA256: b.SecretSHA256.Value,
	}
	var bad lifecycle.FieldErrors
	in.Labels = labels(&bad, b.Labels)
	refuseEmpty(&bad, "client_id", b.ClientID)
	refuseEmpty(&bad, "secret_sha256", b.SecretSHA256)
	refuseEmpty(&bad, "customer_id", b.CustomerID)
	return in, bad.Err()
}

// labels is the labels of a key that is described whole, none of which can be null.
func labels(bad *lifecycle.FieldErrors, given member[map[string]*string]) map[string]string {
	if lifecycle.TooManyLabels(bad, len(given.Value)) {
		return nil
	}
	out := make(map[string]string, len(given.Value))
	for _, key := range slices.Sorted(maps.Keys(given.Value)) {
		if value := given.Value[key]; value != nil {
			out[key] = *value
		} else {
			bad.Add("labels."+printable(key), lifecycle.FieldType, "must be a string")
		}
	}
	return out
}

// patchBody is the body of PATCH /v1/keys/{id}.
type patchBody struct {
	Name                   member[string]             `json:"name,omitempty" nullable:"false" minLength:"1" maxLength:"50"`
	Description            member[string]             `json:"description,omitempty" maxLength:"1000"`
	RoleID                 member[string]             `json:"role_id,omitempty" nullable:"false"`
	Enabled                member[bool]               `json:"enabled,omitempty" nullable:"false"`
	SessionValiditySeconds member[int64]              `json:"session_validity_seconds,omitempty" minimum:"60" doc:"null: the configured default."`
	ExpiresAt              member[time.Time]          `json:"expires_at,omitempty" doc:"In the future; null: never."`
	AllowedCIDRs           member[[]string]           `json:"allowed_cidrs,omitempty" maxItems:"64" doc:"Replaces the list; null or none: anywhere."`
	Labels                 member[map[string]*string] `json:"labels,omitempty" doc:"Merged; a null label is removed, null removes all."`
	DisabledHere           member[bool]               `json:"disabled_here,omitempty" nullable:"false" doc:"For a key of an external source, of which nothing else can change here: it is refused, whatever its source says."`
}

func (b *patchBody) patch() lifecycle.KeyPatch {
	return lifecycle.KeyPatch{
		Name: b.Name.Optional, Description: b.Description.Optional, RoleID: b.RoleID.Optional, Enabled: b.Enabled.Optional,
		SessionValiditySeconds: b.SessionValiditySeconds.Optional, ExpiresAt: b.ExpiresAt.Optional,
		AllowedCIDRs: b.AllowedCIDRs.Optional, Labels: b.Labels.Optional, DisabledHere: b.DisabledHere.Optional,
	}
}

// PageParams are the parameters that every list has. Exported, as KeyID and
// Written are, because huma passes over embedded types that are not.
type PageParams struct {
	PageSize param[int] `query:"page_size" minimum:"1" maximum:"500" doc:"Items on a page; left out: 20."`
	Page     param[int] `query:"page" minimum:"1" maximum:"1000000" doc:"Jumps to a page, counted from 1."`
	Cursor   string     `query:"cursor" doc:"next_cursor of the page before, with the same filters and sort."`
}

func (p *PageParams) paging() lifecycle.Paging {
	return lifecycle.Paging{Cursor: p.Cursor, Size: p.PageSize.optional(), Number: p.Page.optional()}
}

// KeyID is the path's id of a key.
type KeyID struct {
	ID string `path:"id"`
}

type changeKeyInput struct {
	KeyID
	IfMatch string `header:"If-Match" doc:"ETag that the key must still have."`
}

type keyOutput struct {
	ETag string `header:"ETag"`
	Body lifecycle.Key
}

type usageOutput struct {
	Body lifecycle.KeyUsage
}

type createdKeyOutput struct {
	Written
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     lifecycle.CreatedKey
}

type changedKeyOutput struct {
	Written
	ETag string `header:"ETag"`
	Body lifecycle.Key
}

type writtenOutput struct{ Written }

type listOutput[T any] struct {
	Body lifecycle.Page[T]
}

// keyListOutput is a list of what belongs to one key.
type keyListOutput[T any] struct {
	ETag string `header:"ETag" doc:"Of the key."`
	Body lifecycle.Page[T]
}

func (a *API) addKeys(h huma.API) {
	tags := []string{"keys"}
	register(h, huma.Operation{OperationID: "list-keys", Method: http.MethodGet, Path: "/v1/keys", Summary: "List keys", Tags: tags}, nil, a.listKeys)
	register(h, huma.Operation{OperationID: "create-key", Method: http.MethodPost, Path: "/v1/keys", Summary: "Create or import a key", Tags: tags,
		DefaultStatus: http.StatusCreated}, &requestBody{reflect.TypeFor[createBody](), "NewKey", []string{typeJSON}, lifecycle.NeedsTo(policy.Create, lifecycle.ResourceKeys)}, a.createKey)
	register(h, huma.Operation{OperationID: "get-key", Method: http.MethodGet, Path: "/v1/keys/{id}", Summary: "Show a key", Tags: tags}, nil, a.getKey)
	register(h, huma.Operation{OperationID: "get-key-usage", Method: http.MethodGet, Path: "/v1/keys/{id}/usage",
		Summary: "Show how often a key was called in each of the last 24 hours", Tags: tags}, nil, a.getKeyUsage)
	register(h, huma.Operation{OperationID: "update-key", Method: http.MethodPatch, Path: "/v1/keys/{id}", Summary: "Change a key", Tags: tags},
		&requestBody{reflect.TypeFor[patchBody](), "KeyPatch", []string{typeMergePatch, typeJSON}, lifecycle.NeedsTo(policy.Update, lifecycle.ResourceKeys)}, a.updateKey)
	register(h, huma.Operation{OperationID: "delete-key", Method: http.MethodDelete, Path: "/v1/keys/{id}", Summary: "Delete a key", Tags: tags}, nil, a.deleteKey)
}

func (a *API) createKey(c *call, _ *struct{}) (*createdKeyOutput, error) {
	var body createBody
	if err := c.decode(&body, typeJSON); err != nil {
		return nil, err
	}
	in, err := body.newKey()
	if err != nil {
		return nil, err
	}
	key, commit, err := a.svc.CreateKey(c.r.Context(), c.actor, in)
	if err != nil {
		return nil, err
	}
	return &createdKeyOutput{Written: writtenAs(commit), ETag: etag(key.Revision), Location: c.location(key.ID), Body: key}, nil
}

func (a *API) getKey(c *call, in *KeyID) (*keyOutput, error) {
	key, err := a.svc.GetKey(c.r.Context(), c.actor, in.ID)
	return &keyOutput{ETag: etag(key.Revision), Body: key}, err
}

func (a *API) getKeyUsage(c *call, in *KeyID) (*usageOutput, error) {
	usage, err := a.svc.KeyUsage(c.r.Context(), c.actor, in.ID)
	return &usageOutput{Body: usage}, err
}

func (a *API) updateKey(c *call, in *changeKeyInput) (*changedKeyOutput, error) {
	var body patchBody
	if err := c.decode(&body, typeMergePatch, typeJSON); err != nil {
		return nil, err
	}
	key, commit, err := a.svc.UpdateKey(c.r.Context(), c.actor, in.ID, body.patch(), c.ifMatch())
	return &changedKeyOutput{Written: writtenAs(commit), ETag: etag(key.Revision), Body: key}, err
}

func (a *API) deleteKey(c *call, in *changeKeyInput) (*writtenOutput, error) {
	commit, err := a.svc.DeleteKey(c.r.Context(), c.actor, in.ID, c.ifMatch())
	return &writtenOutput{writtenAs(commit)}, err
}

// location is where a record just made in the requested collection is, as the
// client sees it: this handler may be mounted below a prefix.
func (c *call) location(id string) string {
	path := c.r.URL.Path
	if asked, err := url.ParseRequestURI(c.r.RequestURI); err == nil {
		path = asked.Path
	}
	return (&url.URL{Path: path + "/" + id}).EscapedPath()
}
