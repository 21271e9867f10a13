package lifecycle

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

// Event is an operation that was done: what the audit trail says of it, without
// the records.
type Event struct {
	// Action is the audit event's, such as key.create.
	Action string
	// TargetKind, TargetID and TargetName are what it was done to.
	TargetKind, TargetID, TargetName string
	CustomerID                       string
	// ActorKind, ActorID and ActorName are who did it.
	ActorKind, ActorID, ActorName string
	// Revision is that of the commit.
	Revision keystore.Revision
}

// note keeps an event for when the transaction is committed.
func (o *op) note(action string, t target) {
	o.events = append(o.events, Event{
		Action: action, TargetKind: t.kind, TargetID: t.id, TargetName: t.name, CustomerID: t.customerID,
		ActorKind: o.actor.Kind, ActorID: o.actor.ID, ActorName: o.actor.Name,
	})
}

// notify tells of what was committed.
func (s *Service) notify(ctx context.Context, events []Event, revision keystore.Revision) {
	if s.cfg.Notify == nil {
		return
	}
	for _, e := range events {
		e.Revision = revision
		s.cfg.Notify(ctx, e)
	}
}
