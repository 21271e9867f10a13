package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// maxListBody is the largest list of a source's keys, in bytes: with a hundred
	// and a half to a key, as many as it may have.
	maxListBody = 16 << 20
	// maxLists is how many such lists are worked on at a time, each in up to some
	// hundred megabytes and on a processor of its own.
	maxLists = 2
	// listWait is how long one waits for others before it is sent away.
	listWait = 10 * time.Second
)

// sourceKeyBody is one key of PUT /v1/sources/{name}/keys.
type sourceKeyBody struct {
	ClientID               member[string]             `json:"client_id" nullable:"false" maxLength:"128" doc:"What the key is known by from one list to the next."`
	Name                   member[string]             `json:"name" nullable:"false" minLength:"1" maxLength:"50"`
	Description            member[string]             `json:"description,omitempty" maxLength:"1000"`
	RoleID                 member[string]             `json:"role_id" nullable:"false" doc:"Within the source's max_role_id."`
	MicrotenantID          member[string]             `json:"microtenant_id,omitempty" doc:"Left out or null: the customer level. Cannot change."`
	Enabled                member[bool]               `json:"enabled,omitempty" doc:"Left out: true."`
	SecretSHA256           member[string]             `json:"secret_sha256,omitempty" doc:"SHA-256 of the secret, in hex or base64url; required for a new key. Another one than before ends the one before at once."`
	ExpiresAt              member[time.Time]          `json:"expires_at,omitempty" doc:"In the future, or as it was; left out or null: never."`
	AllowedCIDRs           member[[]string]           `json:"allowed_cidrs,omitempty" maxItems:"64"`
	Labels                 member[map[string]*string] `json:"labels,omitempty"`
	SessionValiditySeconds member[int64]              `json:"session_validity_seconds,omitempty" minimum:"60"`
}

// sourceKeys is a list of keys. Each is read by itself as the list goes by, so that
// an answer names the one at fault and the list is never kept twice.
type sourceKeys struct {
	lifecycle.Optional[[]lifecycle.SourceKey]
	bad lifecycle.FieldErrors
}

// UnmarshalJSON stops at more faults than are told.
func (k *sourceKeys) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	begin, err := d.Token()
	if err != nil || begin == nil { // null
		k.Optional = lifecycle.Null[[]lifecycle.SourceKey]()
		return err
	}
	if begin != json.Delim('[') {
		return errNoList
	}
	k.Optional = lifecycle.Some([]lifecycle.SourceKey{})
	var raw json.RawMessage
	for i := 0; d.More() && len(k.bad) <= lifecycle.MaxFaults; i++ {
		if err := d.Decode(&raw); err != nil {
			return err
		}
		one, err := readSourceKey(raw)
		var refused *lifecycle.Error
		if errors.As(err, &refused) {
			for _, f := range refused.Fields {
				k.bad.Add("keys["+strconv.Itoa(i)+"]"+f.Field, f.Code, "%s", f.Detail)
			}
			continue
		}
		k.Value = append(k.Value, one)
	}
	return nil
}

var errNoList = errors.New("not a list")

// Expected says what the member takes.
func (sourceKeys) Expected() (code, detail string) {
	return lifecycle.FieldType, "must be a list of keys"
}

// Schema is huma.SchemaProvider.
func (sourceKeys) Schema(r huma.Registry) *huma.Schema {
	r.Map()["SourceKey"] = huma.SchemaFromType(r, reflect.TypeFor[sourceKeyBody]())
	return &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Ref: schemaPrefix + "SourceKey"}}
}

type pushBody struct {
	Keys        sourceKeys    `json:"keys" doc:"All keys of the source; those that are missing are removed."`
	MaxRemovals member[int64] `json:"max_removals,omitempty" minimum:"0" doc:"How many keys may be removed; left out: a tenth of those present, but at least 10."`
	DryRun      member[bool]  `json:"dry_run,omitempty" doc:"true: go through everything and write nothing."`
}

type pushInput struct {
	SourceName
	IfMatch     string       `header:"If-Match" doc:"ETag that the source must still have; it changes with every list that changes something."`
	MaxRemovals param[int64] `query:"max_removals" minimum:"0" doc:"As the body's member; give one of them."`
	DryRun      param[bool]  `query:"dry_run" doc:"As the body's member; give one of them."`
}

type listSourceKeysInput struct {
	SourceName
	Sort string `query:"sort" doc:"As of GET /v1/keys."`
	PageParams
}

func (a *API) addSourceKeys(h huma.API) {
	const path = "/v1/sources/{name}/keys"
	tags := []string{"sources"}
	register(h, huma.Operation{OperationID: "list-source-keys", Method: http.MethodGet, Path: path, Summary: "List the keys of an external source", Tags: tags}, nil, a.listSourceKeys)
	register(h, huma.Operation{OperationID: "push-source-keys", Method: http.MethodPut, Path: path,
		Summary: "Make the keys of an external source what the list says, as one change", Tags: tags},
		&requestBody{reflect.TypeFor[pushBody](), "SourceList", []string{typeJSON}, lifecycle.NeedsSources(policy.Update)}, a.pushSourceKeys)
}

func (a *API) listSourceKeys(c *call, in *listSourceKeysInput) (*listOutput[lifecycle.Key], error) {
	source, err := a.svc.GetSource(c.r.Context(), c.actor, in.ref())
	if err != nil {
		return nil, err
	}
	page, err := a.svc.ListKeys(c.r.Context(), c.actor, lifecycle.KeyFilter{Source: source.Name, CustomerID: source.CustomerID, Sort: in.Sort, Paging: in.paging()})
	return &listOutput[lifecycle.Key]{Body: page}, err
}

func (a *API) pushSourceKeys(c *call, in *pushInput) (*changedOutput[lifecycle.PushedSource], error) {
	// Before the body: so a customer has one of them in memory.
	turn, err := a.svc.StartPush(c.r.Context(), c.actor, in.ref())
	if err != nil {
		return nil, err
	}
	defer turn.End()
	text, err := readBody(c.w, c.r, maxListBody, []string{typeJSON})
	if err != nil {
		return nil, err
	}
	done, err := a.place(c.r.Context())
	if err != nil {
		return nil, err
	}
	defer done()
	list, err := readList(text, in)
	if err != nil {
		return nil, err
	}
	out, commit, err := turn.Push(c.r.Context(), list, c.ifMatch())
	return &changedOutput[lifecycle.PushedSource]{Written: writtenAs(commit), ETag: etag(out.Revision), Body: out}, err
}

// place waits for a place among the lists that are worked on; done frees it.
func (a *API) place(ctx context.Context) (done func(), err error) {
	wait := time.NewTimer(a.listWait)
	defer wait.Stop()
	select {
	case a.lists <- struct{}{}:
		return func() { <-a.lists }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-wait.C:
		p := newProblem(http.StatusServiceUnavailable, codeBusy, "other lists of keys are being worked on; try again in a moment")
		p.header().Set("Retry-After", strconv.Itoa(flightRetrySeconds))
		return nil, p
	}
}

func readList(text []byte, in *pushInput) (lifecycle.SourcePush, error) {
	members, twice, err := splitBody(text)
	if err != nil {
		return lifecycle.SourcePush{}, err
	}
	var body pushBody
	if err := fill(&body, members, twice); err != nil {
		return lifecycle.SourcePush{}, err
	}
	return body.push(in)
}

// push is the list with what the query says of it.
func (b *pushBody) push(in *pushInput) (lifecycle.SourcePush, error) {
	out := lifecycle.SourcePush{MaxRemovals: b.MaxRemovals.Optional, DryRun: b.DryRun.Value}
	var bad lifecycle.FieldErrors
	if !b.Keys.Has() {
		bad.Add("keys", lifecycle.FieldRequired, "is required: all keys of the source; an empty list removes them")
	}
	if in.MaxRemovals.given {
		if b.MaxRemovals.Set {
			bad.Add("max_removals", lifecycle.FieldConflict, "is given in the query and in the body")
		}
		out.MaxRemovals = lifecycle.Some(in.MaxRemovals.Value)
	}
	if in.DryRun.given {
		if b.DryRun.Set {
			bad.Add("dry_run", lifecycle.FieldConflict, "is given in the query and in the body")
		}
		out.DryRun = in.DryRun.Value
	}
	out.Keys = b.Keys.Value
	return out, append(bad, b.Keys.bad...).Err()
}

func refuseMissing(bad *lifecycle.FieldErrors, field string, given member[string]) {
	if !given.Set {
		bad.Add(field, lifecycle.FieldRequired, "is required")
	}
}

// readSourceKey reads one key. Fields of its errors begin with the dot behind
// the key's place in the list.
func readSourceKey(raw json.RawMessage) (lifecycle.SourceKey, error) {
	var bad lifecycle.FieldErrors
	members, detail := parseObject(raw)
	if detail != "" {
		bad.Add("", lifecycle.FieldType, "must be an object")
		return lifecycle.SourceKey{}, bad.Err()
	}
	var body sourceKeyBody
	var refused *lifecycle.Error
	if errors.As(fill(&body, members, nil), &refused) {
		bad = refused.Fields
	}
	out := lifecycle.SourceKey{
		ClientID: body.ClientID.Value, Name: body.Name.Value, Description: body.Description.Value, RoleID: body.RoleID.Value,
		MicrotenantID: body.MicrotenantID.Optional, Enabled: body.Enabled.Optional, SecretSHA256: body.SecretSHA256.Value,
		ExpiresAt: body.ExpiresAt.Optional, AllowedCIDRs: body.AllowedCIDRs.Value, Labels: labels(&bad, body.Labels),
		SessionValiditySeconds: body.SessionValiditySeconds.Optional,
	}
	// The operation says so too, but once the whole list of such keys is made.
	refuseMissing(&bad, "client_id", body.ClientID)
	refuseMissing(&bad, "name", body.Name)
	refuseMissing(&bad, "role_id", body.RoleID)
	refuseEmpty(&bad, "secret_sha256", body.SecretSHA256)
	for i := range bad {
		bad[i].Field = "." + bad[i].Field
	}
	return out, bad.Err()
}
