package api

import (
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

type listKeysInput struct {
	Q             string      `query:"q" maxLength:"200" doc:"Found in name, description or client ID."`
	State         string      `query:"state" enum:"active,disabled,locked,expired"`
	RoleID        string      `query:"role_id"`
	Source        string      `query:"source" doc:"Name of an external source; null: keys of none."`
	CustomerID    string      `query:"customer_id"`
	MicrotenantID string      `query:"microtenant_id" doc:"null: keys at customer level."`
	Label         string      `query:"label" example:"env:prod,team" doc:"Labels the key must have, by name, or by name:value; several separated by commas. A comma in a value is written \\, and a backslash \\\\."`
	CreatedAfter  string      `query:"created_after" doc:"A time (RFC 3339), or a day, which is its beginning in UTC."`
	CreatedBefore string      `query:"created_before" doc:"Likewise."`
	ExpiresBefore string      `query:"expires_before" doc:"Likewise; keys without an end do not expire before anything."`
	NeverUsed     param[bool] `query:"never_used" doc:"true: keys never used; false: keys that were."`
	Locked        param[bool] `query:"locked" doc:"true: keys whose whole client is locked, disabled and expired ones too; false: the others."`
	Sort          string      `query:"sort" example:"name,-created_at" doc:"At most 4 of name, client_id, created_at, modified_at, last_used_at, expires_at, enabled, state, session_validity_seconds, secrets (how many are live), labels (by name, then value), role, customer, microtenant (by name), role_id, microtenant_id and source, separated by commas, each with a - before it for descending. null is the least. By state and secrets, the pages behind a cursor are as of the first one, so that no key changes its place because time passes."`
	PageParams
}

func (a *API) listKeys(c *call, in *listKeysInput) (*listOutput[lifecycle.Key], error) {
	f := lifecycle.KeyFilter{
		Text: in.Q, State: in.State, RoleID: in.RoleID, Source: in.Source, CustomerID: in.CustomerID, MicrotenantID: in.MicrotenantID,
		Labels: in.Label, NeverUsed: in.NeverUsed.optional(), Locked: in.Locked.optional(), Sort: in.Sort, Paging: in.paging(),
	}
	var bad lifecycle.FieldErrors
	f.CreatedAfter = timeParam(&bad, "created_after", in.CreatedAfter)
	f.CreatedBefore = timeParam(&bad, "created_before", in.CreatedBefore)
	f.ExpiresBefore = timeParam(&bad, "expires_before", in.ExpiresBefore)
	if err := bad.Err(); err != nil {
		return nil, err
	}
	page, err := a.svc.ListKeys(c.r.Context(), c.actor, f)
	return &listOutput[lifecycle.Key]{Body: page}, err
}

// timeParam reads a time or a day.
func timeParam(bad *lifecycle.FieldErrors, name, text string) (at lifecycle.Optional[time.Time]) {
	if text == "" {
		return at
	}
	if t, ok := parseTime(text); ok {
		return lifecycle.Some(t)
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return lifecycle.Some(day)
	}
	bad.Add(name, lifecycle.FieldFormat, "must be a time such as 2030-01-02T15:04:05Z (RFC 3339) or a day such as 2030-01-02")
	return at
}
