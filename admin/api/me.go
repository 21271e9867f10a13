package api

import (
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// preferences is an object whose members mean something to the page alone.
type preferences map[string]json.RawMessage

type meOutput struct {
	Body lifecycle.Me
}

type preferencesOutput struct {
	ETag string `header:"ETag"`
	Body preferences
}

type changedPreferencesOutput struct {
	Written
	ETag string `header:"ETag"`
	Body preferences
}

type changePreferencesInput struct {
	IfMatch string `header:"If-Match" doc:"ETag that the preferences must still have."`
}

func (a *API) addMe(h huma.API) {
	tags := []string{"me"}
	const path = "/v1/me/preferences"
	body := func(mediaTypes ...string) *requestBody {
		return &requestBody{reflect.TypeFor[preferences](), "Preferences", mediaTypes, lifecycle.NeedsHere(true)}
	}
	register(h, huma.Operation{OperationID: "get-me", Method: http.MethodGet, Path: "/v1/me", Summary: "Show who is signed in", Tags: tags, Metadata: never(http.StatusForbidden)}, nil, a.getMe)
	register(h, huma.Operation{OperationID: "get-preferences", Method: http.MethodGet, Path: path, Summary: "Show what the page remembers for you", Tags: tags}, nil, a.getPreferences)
	register(h, huma.Operation{OperationID: "put-preferences", Method: http.MethodPut, Path: path, Summary: "Replace what the page remembers for you, at most 64 KiB", Tags: tags, Metadata: never(http.StatusConflict)},
		body(typeJSON), a.putPreferences)
	register(h, huma.Operation{OperationID: "update-preferences", Method: http.MethodPatch, Path: path, Summary: "Merge into what the page remembers for you", Tags: tags, Metadata: never(http.StatusConflict)},
		body(typeMergePatch, typeJSON), a.updatePreferences)
}

func (a *API) getMe(c *call, _ *struct{}) (*meOutput, error) {
	me, err := a.svc.Me(c.r.Context(), c.actor)
	return &meOutput{me}, err
}

func (a *API) getPreferences(c *call, _ *struct{}) (*preferencesOutput, error) {
	p, err := a.svc.GetPreferences(c.r.Context(), c.actor)
	return &preferencesOutput{ETag: etag(p.Revision), Body: p.Values}, err
}

func (a *API) putPreferences(c *call, _ *changePreferencesInput) (*changedPreferencesOutput, error) {
	values, err := c.preferences(typeJSON)
	if err != nil {
		return nil, err
	}
	p, commit, err := a.svc.ReplacePreferences(c.r.Context(), c.actor, values, c.ifMatch())
	return &changedPreferencesOutput{Written: writtenAs(commit), ETag: etag(p.Revision), Body: p.Values}, err
}

func (a *API) updatePreferences(c *call, _ *changePreferencesInput) (*changedPreferencesOutput, error) {
	values, err := c.preferences(typeMergePatch, typeJSON)
	if err != nil {
		return nil, err
	}
	p, commit, err := a.svc.MergePreferences(c.r.Context(), c.actor, values, c.ifMatch())
	return &changedPreferencesOutput{Written: writtenAs(commit), ETag: etag(p.Revision), Body: p.Values}, err
}

// preferences reads a body that is one object of any members. It may be somewhat
// larger than what is stored, which is written without white space.
func (c *call) preferences(mediaTypes ...string) (map[string]json.RawMessage, error) {
	values, twice, err := readObject(c.w, c.r, 2*lifecycle.MaxPreferences, mediaTypes)
	if err != nil {
		return nil, err
	}
	return values, repeated(twice).Err()
}
