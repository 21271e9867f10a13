package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

type lockOutput struct {
	Body lifecycle.Lock
}

func (a *API) addLocks(h huma.API) {
	tags := []string{"locks"}
	register(h, huma.Operation{OperationID: "get-key-lock", Method: http.MethodGet, Path: "/v1/keys/{id}/lock", Summary: "Show a key's lock", Tags: tags}, nil, a.getLock)
	register(h, huma.Operation{OperationID: "unlock-key", Method: http.MethodDelete, Path: "/v1/keys/{id}/lock", Summary: "Unlock a key and clear its failures", Tags: tags}, nil, a.unlock)
}

func (a *API) getLock(c *call, in *KeyID) (*lockOutput, error) {
	lock, err := a.svc.GetLock(c.r.Context(), c.actor, in.ID)
	return &lockOutput{lock}, err
}

func (a *API) unlock(c *call, in *KeyID) (*writtenOutput, error) {
	commit, err := a.svc.Unlock(c.r.Context(), c.actor, in.ID)
	return &writtenOutput{writtenAs(commit)}, err
}
