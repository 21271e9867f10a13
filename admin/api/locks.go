package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

type lockOutput struct {
	ETag string `header:"ETag" doc:"Of the key."`
	Body lifecycle.KeyLock
}

type unlockInput struct {
	KeyID
	IfMatch string `header:"If-Match" doc:"ETag that the key must still have."`
	Reason  string `query:"reason" doc:"Why, for the audit trail: at most 200 characters."`
}

type listLocksInput struct {
	CustomerID    string `query:"customer_id"`
	MicrotenantID string `query:"microtenant_id"`
	PageParams
}

func (a *API) addLocks(h huma.API) {
	tags := []string{tagLocks}
	register(h, huma.Operation{OperationID: "list-locks", Method: http.MethodGet, Path: "/v1/locks", Summary: "List the locks in force, by name of the key", Tags: tags}, nil, a.listLocks)
	register(h, huma.Operation{OperationID: "get-key-lock", Method: http.MethodGet, Path: "/v1/keys/{id}/lock", Summary: "Show a key's lock", Tags: tags}, nil, a.getLock)
	register(h, huma.Operation{OperationID: "unlock-key", Method: http.MethodDelete, Path: "/v1/keys/{id}/lock", Summary: "Unlock a key and clear its failures", Tags: tags}, nil, a.unlock)
}

func (a *API) listLocks(c *call, in *listLocksInput) (*listOutput[lifecycle.LockedKey], error) {
	page, err := a.svc.ListLocks(c.r.Context(), c.actor, lifecycle.LockFilter{CustomerID: in.CustomerID, MicrotenantID: in.MicrotenantID, Paging: in.paging()})
	return &listOutput[lifecycle.LockedKey]{Body: page}, err
}

func (a *API) getLock(c *call, in *KeyID) (*lockOutput, error) {
	lock, err := a.svc.GetLock(c.r.Context(), c.actor, in.ID)
	return &lockOutput{ETag: etag(lock.Revision), Body: lock}, err
}

func (a *API) unlock(c *call, in *unlockInput) (*writtenOutput, error) {
	commit, err := a.svc.Unlock(c.r.Context(), c.actor, in.ID, in.Reason, c.ifMatch())
	return &writtenOutput{writtenAs(commit)}, err
}
