package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

func init() { caddy.RegisterModule(new(subscriber)) }

// heard is what subscribers were told since it was last taken.
var heard struct {
	sync.Mutex
	events []caddy.Event
}

func takeHeard() []caddy.Event {
	heard.Lock()
	defer heard.Unlock()
	defer func() { heard.events = nil }()
	return heard.events
}

// subscriber is an event handler as an operator would configure one.
type subscriber struct{}

func (*subscriber) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.keyreeve_heard", New: func() caddy.Module { return new(subscriber) }}
}

func (*subscriber) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*subscriber) Handle(_ context.Context, e caddy.Event) error {
	heard.Lock()
	defer heard.Unlock()
	heard.events = append(heard.events, e)
	return nil
}

// subscribed adds subscriptions to a Caddyfile.
func subscribed(events ...string) func(string) string {
	block := "events {\n"
	for _, e := range events {
		block += "\t\ton " + e + " keyreeve_heard\n"
	}
	return func(s string) string {
		return strings.Replace(s, "auto_https off", "auto_https off\n\t"+block+"\t}", 1)
	}
}

var everyEvent = []string{eventLocked, eventUnlocked, eventDenied, eventRetiredUsed, eventKeyCreated, eventKeyChanged, eventKeyDeleted}

// nodeEvents tell of a node, whatever its requests are.
var nodeEvents = []string{eventStoreLost, eventStoreFound, eventRestored, eventNodeRefusing, eventNodeServing}

func TestSubscribersHearWhatHappensToKeysAndRequests(t *testing.T) {
	g := startEdited(t, "", subscribed(everyEvent...))
	takeHeard()
	ctx, local := context.Background(), lifecycle.Local("test", false)
	one := func(name string) map[string]any {
		t.Helper()
		events := takeHeard()
		require.Len(t, events, 1)
		require.Equal(t, name, events[0].Name())
		require.Equal(t, "keyreeve", events[0].Origin().CaddyModule().ID.Name(), "the origin")
		return events[0].Data
	}

	k := g.newKey("a", keystore.RoleReadOnly)
	created := one(eventKeyCreated)
	require.Equal(t, k.id, created["key_id"])
	require.Equal(t, "key.create", created["action"])
	require.Equal(t, "local", created["actor_kind"])
	require.Positive(t, created["revision"])

	require.Equal(t, 200, g.call(k, k.secret))
	require.Empty(t, takeHeard(), "an allowed request is no event")
	require.Equal(t, 403, g.send(func(r *http.Request) {
		r.Method = http.MethodPost
		r.SetBasicAuth(k.clientID, k.secret)
	}))
	denied := one(eventDenied)
	require.Equal(t, []any{"deny", "permission_denied", "POST", "/things/{rest...}", "things:create", k.clientID, "127.0.0.1"},
		[]any{denied["outcome"], denied["reason"], denied["method"], denied["route"], denied["scope"], denied["client_id"], denied["client_ip"]})
	require.Equal(t, 401, g.call(testKey{clientID: "a-secret-pasted-as-id"}, "x"))
	require.NotContains(t, fmt.Sprint(one(eventDenied)), "pasted", "a claimed client is not told")

	for range 2 {
		g.call(k, "wrong")
		one(eventDenied)
	}
	g.call(k, "wrong")
	events := takeHeard()
	require.Len(t, events, 2)
	require.Equal(t, []string{eventLocked, eventDenied}, []string{events[0].Name(), events[1].Name()})
	require.Equal(t, []any{"client", k.id, k.clientID, 1800.0},
		[]any{events[0].Data["scope"], events[0].Data["key_id"], events[0].Data["client_id"], events[0].Data["locked_for_seconds"]})
	g.call(k, "wrong")
	one(eventDenied) // locked already

	_, err := Service().Unlock(ctx, local, k.id, "", nil)
	require.NoError(t, err)
	require.Equal(t, k.id, one(eventUnlocked)["key_id"])
	_, _, err = Service().UpdateKey(ctx, local, k.id, lifecycle.KeyPatch{Description: lifecycle.Some("d")}, nil)
	require.NoError(t, err)
	require.Equal(t, k.id, one(eventKeyChanged)["key_id"])
	_, _, err = Service().UpdateKey(ctx, local, k.id, lifecycle.KeyPatch{Description: lifecycle.Some("d")}, nil)
	require.NoError(t, err)
	require.Empty(t, takeHeard(), "a patch that changes nothing")
	_, _, err = Service().UpdateKey(ctx, local, k.id, lifecycle.KeyPatch{Name: lifecycle.Some("")}, nil)
	require.Error(t, err)
	require.Empty(t, takeHeard(), "a refused one")
	_, err = Service().DeleteKey(ctx, local, k.id, nil)
	require.NoError(t, err)
	require.Equal(t, k.id, one(eventKeyDeleted)["key_id"])
}

func TestALockAtTheAdminAPIIsHeardToo(t *testing.T) {
	g := startEdited(t, "", subscribed(eventLocked))
	k := g.newKey("a", keystore.RoleOperator)
	takeHeard()
	for range 3 {
		r, err := http.NewRequest(http.MethodGet, g.adminURL+"/v1/keys", http.NoBody)
		require.NoError(t, err)
		r.SetBasicAuth(k.clientID, "wrong")
		resp, err := client.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	require.Len(t, takeHeard(), 1)
}

func TestInGuardModeTheSourceIsWhatLocks(t *testing.T) {
	g := startEdited(t, "", func(s string) string {
		return subscribed(eventLocked)(strings.Replace(s, "failure_floor 5ms", "failure_floor 5ms\n\t\t\tmode guard", 1))
	})
	k := g.newKey("a", keystore.RoleReadOnly)
	takeHeard()
	for _, wrong := range []string{"1", "2", "3"} {
		require.Equal(t, 401, g.call(k, wrong))
	}
	events := takeHeard()
	require.Len(t, events, 1)
	require.Equal(t, "source", events[0].Data["scope"])
}

func TestNoEventIsMadeThatNothingIsSubscribedTo(t *testing.T) {
	g := startEdited(t, "", subscribed(eventLocked))
	require.False(t, active.Load().events.denied.Load())
	active.Load().events.emit(eventDenied, func() map[string]any {
		t.Error("data of an event that nobody hears")
		return nil
	})
	g.edit = subscribed(eventDenied)
	require.NoError(t, g.load("max_stale 1m"))
	require.True(t, active.Load().events.denied.Load(), "a reload brings its own subscriptions")
}

func TestNoEventHoldsASecret(t *testing.T) {
	g := startEdited(t, "", subscribed(everyEvent...))
	takeHeard()
	k := g.newKey("a", keystore.RoleReadOnly)
	for _, secret := range []string{k.secret + "x", k.secret + "y", k.secret + "z", k.secret} {
		g.call(k, secret)
		g.send(func(r *http.Request) { r.Header.Set("X-Api-Key", k.secret+"."+secret) })
	}
	var all []map[string]any
	for _, e := range takeHeard() {
		all = append(all, e.Data)
	}
	require.Greater(t, len(all), 8)
	text, err := json.Marshal(all)
	require.NoError(t, err)
	require.NotContains(t, string(text), k.secret)
}

func TestEventsReferenceHasExactlyTheEventsAndTheirData(t *testing.T) {
	documented := map[string][]string{}
	for _, r := range tables(t, "../docs/metrics.md")["Events"] {
		documented[r.code("event")] = wordsIn(r["data"])
	}
	every := slices.Concat(everyEvent, nodeEvents)
	clock := withClock(t)
	g := startEdited(t, "", subscribed(every...))
	takeHeard()
	ctx, local := context.Background(), lifecycle.Local("test", false)
	k := g.newKey("a", keystore.RoleReadOnly)
	g.send(func(r *http.Request) {
		r.Method = http.MethodPost
		r.SetBasicAuth(k.clientID, k.secret)
	})
	for range 3 {
		g.call(k, "wrong")
	}
	_, err := Service().Unlock(ctx, local, k.id, "", nil)
	require.NoError(t, err)
	_, _, err = Service().UpdateKey(ctx, local, k.id, lifecycle.KeyPatch{Description: lifecycle.Some("d")}, nil)
	require.NoError(t, err)
	g.rotate(k)
	g.call(k, k.secret)
	_, err = Service().DeleteKey(ctx, local, k.id, nil)
	require.NoError(t, err)
	shared := active.Load().running.Load().store
	back := &watch{shared: shared, lostSince: clock.Now().Wall, refusing: true, restores: -1}
	back.look()
	require.NoError(t, shared.keys.Store().Close()) // the next look for changes fails
	require.Eventually(t, func() bool { _, _, lost := shared.keys.Followed(); return lost }, 10*time.Second, 10*time.Millisecond)
	clock.Advance(time.Hour)
	back.look()
	told := map[string]map[string]bool{}
	for _, e := range takeHeard() {
		if told[e.Name()] == nil {
			told[e.Name()] = map[string]bool{}
		}
		for name := range e.Data {
			told[e.Name()][name] = true
		}
	}
	require.ElementsMatch(t, every, slices.Collect(maps.Keys(documented)))
	for name, fields := range documented {
		require.ElementsMatch(t, fields, slices.Collect(maps.Keys(told[name])), name)
	}
}
