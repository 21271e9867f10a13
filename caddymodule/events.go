package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/session/authn"
)

// The events that are emitted through Caddy's events app, with the app
// `keyreeve` as their origin.
const (
	eventLocked     = "keyreeve.locked"
	eventUnlocked   = "keyreeve.unlocked"
	eventDenied     = "keyreeve.denied"
	eventKeyCreated = "keyreeve.key_created"
	eventKeyChanged = "keyreeve.key_changed"
	eventKeyDeleted = "keyreeve.key_deleted"
	// eventRetiredUsed: a deployment lags behind, and will be cut off for good when
	// the secret is forgotten.
	eventRetiredUsed = "keyreeve.retired_secret_used"
	// Of a node: its store cannot be followed, or can again; it went back to an older state;
	// the node serves nothing that it knows any more, or again.
	eventStoreLost    = "keyreeve.store_lost"
	eventStoreFound   = "keyreeve.store_found"
	eventRestored     = "keyreeve.store_restored"
	eventNodeRefusing = "keyreeve.node_refusing"
	eventNodeServing  = "keyreeve.node_serving"
)

// Scopes of a lock.
const (
	scopeClient = "client"
	scopeSource = "source"
)

// emitter emits events where somebody wants them.
type emitter struct {
	ctx    caddy.Context
	events *caddyevents.App
	// started is closed when all apps run. Before that the events app still takes
	// subscriptions, into maps that must not be read meanwhile.
	started chan struct{}
	// denied tells whether anything wants to know of denials.
	denied atomic.Bool
}

// newEmitter finds the events app.
func newEmitter(ctx caddy.Context) (*emitter, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	e := &emitter{ctx: ctx, events: app.(*caddyevents.App), started: make(chan struct{})}
	// Caddy's core emits it once, after the last app has started.
	if err := e.events.On("started", e); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return e, nil
}

// Handle learns that the subscriptions are complete.
func (e *emitter) Handle(context.Context, caddy.Event) error {
	select {
	case <-e.started: // an event of that name by somebody else
		return nil
	default:
	}
	e.denied.Store(e.events.ShouldEmit(eventDenied))
	close(e.started)
	return nil
}

// emit emits an event if anything wants it; data is made only then. Handlers run
// before emit returns. While the apps are still starting, it waits for them; a
// configuration that ends takes its subscribers with it.
func (e *emitter) emit(name string, data func() map[string]any) {
	if e == nil { // no other app is around, see App.configure
		return
	}
	select {
	case <-e.started:
	case <-e.ctx.Done():
	}
	if e.ctx.Err() == nil && e.events.ShouldEmit(name) {
		e.events.Emit(e.ctx, name, data())
	}
}

// noteLocks tells of the locks that a failed proof of a known client began.
func (a *App) noteLocks(r *http.Request, res *authn.Result) {
	note := func(scope string) {
		a.events.emit(eventLocked, func() map[string]any {
			data := keyData(res.Key)
			data["scope"], data["client_ip"] = scope, clientAddress(r).String()
			data["locked_for_seconds"] = a.settings.Lockout.Duration.Seconds()
			return data
		})
	}
	if res.Outcome.Locked {
		note(scopeClient)
	}
	if res.Outcome.SourceLocked {
		note(scopeSource)
	}
}

// keyData is what events tell of a key: who it is, never what it is proven by.
func keyData(k *keystore.Key) map[string]any {
	return map[string]any{
		"key_id": k.ID, "key_name": k.Name, "client_id": k.ClientID, "customer_id": k.CustomerID, "microtenant_id": k.MicrotenantID,
	}
}

// keyEvents are the events of what administrators do with keys; every other
// action on a key changes it.
var keyEvents = map[string]string{
	"key.create": eventKeyCreated,
	"key.delete": eventKeyDeleted,
	"key.unlock": eventUnlocked,
}

// administered tells of what was done with a key.
func (e *emitter) administered(_ context.Context, done lifecycle.Event) {
	if done.TargetKind != string(keystore.KindKey) {
		return
	}
	name := keyEvents[done.Action]
	if name == "" {
		name = eventKeyChanged
	}
	e.emit(name, func() map[string]any {
		return map[string]any{
			"key_id": done.TargetID, "key_name": done.TargetName, "customer_id": done.CustomerID,
			"action": done.Action, "actor_kind": done.ActorKind, "actor_id": done.ActorID, "actor_name": done.ActorName,
			"revision": int64(done.Revision),
		}
	})
}

// Interface guards
var _ caddyevents.Handler = (*emitter)(nil)
