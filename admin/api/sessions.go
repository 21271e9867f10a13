package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

type listSessionsInput struct {
	CustomerID    string `query:"customer_id"`
	MicrotenantID string `query:"microtenant_id"`
	KeyID         string `query:"key_id"`
	State         string `query:"state" enum:"active,ended,expired"`
	PageParams
}

type listKeySessionsInput struct {
	KeyID
	State string `query:"state" enum:"active,ended,expired"`
	PageParams
}

// SessionID is the path's id of a session. Exported, as KeyID is.
type SessionID struct {
	ID string `path:"id" doc:"The token's jti."`
}

type endSessionInput struct {
	SessionID
	IfMatch string `header:"If-Match" doc:"ETag that the session must still have."`
}

type sessionOutput struct {
	ETag string `header:"ETag" doc:"Changes with the session's end; that it expires does not change it."`
	Body lifecycle.Session
}

func (a *API) addSessions(h huma.API) {
	tags := []string{tagSessions}
	register(h, huma.Operation{OperationID: "list-sessions", Method: http.MethodGet, Path: "/v1/sessions", Summary: "List sessions, the newest first", Tags: tags}, nil, a.listSessions)
	register(h, huma.Operation{OperationID: "get-session", Method: http.MethodGet, Path: "/v1/sessions/{id}", Summary: "Show a session", Tags: tags}, nil, a.getSession)
	register(h, huma.Operation{OperationID: "end-session", Method: http.MethodDelete, Path: "/v1/sessions/{id}", Summary: "End a session", Tags: tags}, nil, a.endSession)
	register(h, huma.Operation{OperationID: "list-key-sessions", Method: http.MethodGet, Path: "/v1/keys/{id}/sessions", Summary: "List a key's sessions, the newest first", Tags: tags}, nil, a.listKeySessions)
	register(h, huma.Operation{OperationID: "end-key-sessions", Method: http.MethodDelete, Path: "/v1/keys/{id}/sessions", Summary: "End all sessions of a key", Tags: tags}, nil, a.endKeySessions)
}

func (a *API) listSessions(c *call, in *listSessionsInput) (*listOutput[lifecycle.Session], error) {
	page, err := a.svc.ListSessions(c.r.Context(), c.actor, lifecycle.SessionFilter{
		CustomerID: in.CustomerID, MicrotenantID: in.MicrotenantID, KeyID: in.KeyID, State: in.State, Paging: in.paging(),
	})
	return &listOutput[lifecycle.Session]{Body: page}, err
}

func (a *API) listKeySessions(c *call, in *listKeySessionsInput) (*keyListOutput[lifecycle.Session], error) {
	sessions, err := a.svc.ListKeySessions(c.r.Context(), c.actor, in.ID, lifecycle.SessionFilter{State: in.State, Paging: in.paging()})
	return &keyListOutput[lifecycle.Session]{ETag: etag(sessions.Revision), Body: sessions.Page}, err
}

func (a *API) getSession(c *call, in *SessionID) (*sessionOutput, error) {
	one, err := a.svc.GetSession(c.r.Context(), c.actor, in.ID)
	return &sessionOutput{ETag: etag(one.Revision), Body: one}, err
}

func (a *API) endSession(c *call, in *endSessionInput) (*writtenOutput, error) {
	commit, err := a.svc.EndSession(c.r.Context(), c.actor, in.ID, c.ifMatch())
	return &writtenOutput{writtenAs(commit)}, err
}

func (a *API) endKeySessions(c *call, in *changeKeyInput) (*writtenOutput, error) {
	commit, err := a.svc.EndKeySessions(c.r.Context(), c.actor, in.ID, c.ifMatch())
	return &writtenOutput{writtenAs(commit)}, err
}
