package api

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// rotateBody is the body of POST /v1/keys/{id}/secrets.
type rotateBody struct {
	PreviousExpiresIn member[int64] `json:"previous_expires_in,omitempty" minimum:"0" maximum:"2592000" doc:"In how many seconds the present secret ends, if it does not sooner. Left out: 86400, a day; 0: it is retired at once; null: it stays until it is retired."`
}

// SecretID is the path's id of a secret and its key's.
type SecretID struct {
	KeyID
	SecretID string `path:"sid"`
}

type retireSecretInput struct {
	SecretID
	Force   bool   `query:"force" doc:"Retire it although it was used within the last 7 days."`
	IfMatch string `header:"If-Match" doc:"ETag that the key must still have."`
}

type rotatedOutput struct {
	Written
	ETag string `header:"ETag" doc:"Of the key."`
	Body lifecycle.RotatedSecret
}

func (a *API) addSecrets(h huma.API) {
	tags := []string{"secrets"}
	register(h, huma.Operation{OperationID: "list-secrets", Method: http.MethodGet, Path: "/v1/keys/{id}/secrets",
		Summary: "List a key's secrets, those that ended within the last 30 days too", Tags: tags}, nil, a.listSecrets)
	register(h, huma.Operation{OperationID: "rotate-secret", Method: http.MethodPost, Path: "/v1/keys/{id}/secrets",
		Summary: "Give a key a new secret, with an overlap", Tags: tags, DefaultStatus: http.StatusCreated},
		&requestBody{reflect.TypeFor[rotateBody](), "Rotation", []string{typeJSON}, lifecycle.NeedsTo(policy.Update, lifecycle.ResourceKeys)}, a.rotateSecret)
	h.OpenAPI().Paths["/v1/keys/{id}/secrets"].Post.RequestBody.Required = false
	register(h, huma.Operation{OperationID: "retire-secret", Method: http.MethodDelete, Path: "/v1/keys/{id}/secrets/{sid}",
		Summary: "End a secret at once", Tags: tags}, nil, a.retireSecret)
}

func (a *API) listSecrets(c *call, in *KeyID) (*keyListOutput[lifecycle.KeySecret], error) {
	secrets, err := a.svc.ListSecrets(c.r.Context(), c.actor, in.ID)
	return &keyListOutput[lifecycle.KeySecret]{ETag: etag(secrets.Revision), Body: secrets.Page}, err
}

func (a *API) rotateSecret(c *call, in *changeKeyInput) (*rotatedOutput, error) {
	var body rotateBody
	if c.r.ContentLength != 0 { // none at all means the defaults
		if err := c.decode(&body, typeJSON); err != nil {
			return nil, err
		}
	}
	rotated, commit, err := a.svc.RotateSecret(c.r.Context(), c.actor, in.ID,
		lifecycle.Rotation{PreviousExpiresIn: body.PreviousExpiresIn.Optional}, c.ifMatch())
	return &rotatedOutput{Written: writtenAs(commit), ETag: etag(rotated.Revision), Body: rotated}, err
}

func (a *API) retireSecret(c *call, in *retireSecretInput) (*writtenOutput, error) {
	commit, err := a.svc.RetireSecret(c.r.Context(), c.actor, in.ID, in.SecretID.SecretID, in.Force, c.ifMatch())
	return &writtenOutput{writtenAs(commit)}, err
}
