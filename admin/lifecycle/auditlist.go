package lifecycle

import (
	"context"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// AuditFilter selects audit events; empty fields do not filter.
type AuditFilter struct {
	CustomerID    string
	MicrotenantID string
	// NoCustomer selects the events of no customer, which only an actor for all
	// customers sees.
	NoCustomer bool
	// ActorID is a key's id, local or system.
	ActorID string
	// Action is one, such as key.update, or all of a kind, such as `key.`.
	Action     string
	TargetKind string
	TargetID   string
	RequestID  string
	// Since and Until bound the time: at or after, and before.
	Since, Until Optional[time.Time]
}

// whole reports whether the filter leaves out no event of a customer.
func (f AuditFilter) whole() bool {
	return f == AuditFilter{CustomerID: f.CustomerID, NoCustomer: f.NoCustomer}
}

// ListAudit lists the events of the tenants that the actor sees. sort is at for
// the oldest first; "" and -at are the newest first.
func (s *Service) ListAudit(ctx context.Context, a Actor, f AuditFilter, sort string, p Paging) (Page[AuditEvent], error) {
	var out Page[AuditEvent]
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceAudit, policy.Read); err != nil {
			return err
		}
		var bad FieldErrors
		f.check(&bad)
		if sort == "" {
			sort = "-at"
		}
		order := sortOf(&bad, sort, "at")
		at, err := p.check(o, o.scope(auditCursor, append(f.words(), sort)), bad)
		if err != nil {
			return err
		}
		q, some, err := o.auditQuery(f)
		if err != nil || !some {
			out = Page[AuditEvent]{Items: []AuditEvent{}}
			return err
		}
		q.Oldest, q.After, q.Offset, q.Limit = !order.Desc, at.after, at.offset, at.limit()
		found, total, err := o.r.AuditEvents(ctx, q)
		if err != nil {
			return err
		}
		out, err = pageOf(o, at, found, total,
			func(e *keystore.Audit) (keystore.Cursor, error) { return e.Cursor(), nil },
			func(e *keystore.Audit) (AuditEvent, error) { return showAudit(e), nil })
		return err
	})
	return out, err
}

// words are the filter's parts, for a cursor to be bound to.
func (f AuditFilter) words() []string {
	return []string{f.CustomerID, f.MicrotenantID, strconv.FormatBool(f.NoCustomer), f.ActorID, f.Action, f.TargetKind, f.TargetID,
		f.RequestID, f.Since.Value.UTC().Format(time.RFC3339Nano), f.Until.Value.UTC().Format(time.RFC3339Nano)}
}

// named are the parts that filter, by the names of the parameters.
func (f AuditFilter) named() map[string]string {
	out := map[string]string{}
	for name, value := range map[string]string{"customer_id": f.CustomerID, "microtenant_id": f.MicrotenantID, "actor_id": f.ActorID, "action": f.Action,
		"target_kind": f.TargetKind, "target_id": f.TargetID, "request_id": f.RequestID} {
		if value != "" {
			out[name] = value
		}
	}
	if f.NoCustomer {
		out["no_customer"] = "true"
	}
	for name, at := range map[string]Optional[time.Time]{"since": f.Since, "until": f.Until} {
		if at.Has() {
			out[name] = at.Value.UTC().Format(time.RFC3339Nano)
		}
	}
	return out
}

func (f AuditFilter) check(bad *FieldErrors) {
	for _, text := range []struct{ field, value string }{
		{"actor_id", f.ActorID}, {"action", f.Action}, {"target_kind", f.TargetKind}, {"target_id", f.TargetID}, {"request_id", f.RequestID},
		{"customer_id", f.CustomerID}, {"microtenant_id", f.MicrotenantID},
	} {
		if !utf8.ValidString(text.value) || utf8.RuneCountInString(text.value) > maxText {
			bad.Add(text.field, FieldRange, "must be at most %d characters of UTF-8", maxText)
		}
	}
	if f.Action != "" && !strings.Contains(f.Action, ".") {
		bad.Add("action", FieldFormat, "must be one such as key.update, or all of a kind such as key. with the dot")
	}
	since, until := instant(bad, "since", f.Since), instant(bad, "until", f.Until)
	if f.Since.Has() && f.Until.Has() && !since.Before(until) {
		bad.Add("until", FieldRange, "must be after since")
	}
	if f.NoCustomer && (f.CustomerID != "" || f.MicrotenantID != "") {
		bad.Add("no_customer", FieldConflict, "cannot be combined with customer_id or microtenant_id")
	}
}

// seesNoCustomer refuses an actor that does not see the events of no customer.
func (o *op) seesNoCustomer() error {
	if o.actor.AllCustomers {
		return nil
	}
	return &Error{Kind: Forbidden, Code: CodePermissionDenied, Detail: "events of no customer are for actors of all customers"}
}

// auditQuery is what the actor sees of what the filter selects; false is nothing.
func (o *op) auditQuery(f AuditFilter) (keystore.AuditQuery, bool, error) {
	if f.NoCustomer {
		if err := o.seesNoCustomer(); err != nil {
			return keystore.AuditQuery{}, false, err
		}
	}
	t, some := o.bound(tenant{customerID: f.CustomerID, microtenantID: f.MicrotenantID})
	return keystore.AuditQuery{
		CustomerID: t.customerID, MicrotenantID: t.microtenantID, AllCustomers: t.all && !f.NoCustomer, NoCustomer: f.NoCustomer,
		ActorID: f.ActorID, Action: f.Action, TargetKind: f.TargetKind, TargetID: f.TargetID, RequestID: f.RequestID,
		Since: f.Since.Value, Until: f.Until.Value,
	}, some, nil
}
