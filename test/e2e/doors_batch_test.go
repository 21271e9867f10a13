package e2e

import (
	"slices"

	"github.com/stretchr/testify/require"
)

// batch does one thing to several keys.
func (w *world) batch() {
	a := pick(w, w.operator, w.admin, w.limited, w.bounded, w.inMicrotenant, w.foreign)
	action := pick(w, "enable", "disable", "disable_here", "enable_here", "unlock", "end_sessions", "delete")
	var some []*doorKey
	for range 4 {
		if k := w.key(a); k != nil && !slices.Contains(some, k) {
			some = append(some, k)
		}
	}
	ids := make([]string, len(some))
	for i, k := range some {
		ids[i] = k.id
	}
	dry := w.chance(20)
	w.step("%s does %s to %d keys at once (dry run: %t)", a.name, action, len(ids), dry)
	resource, m := "keys", mayUpdate
	switch action {
	case "unlock":
		resource, m = "locks", mayDelete
	case "end_sessions":
		resource, m = "sessions", mayDelete
	case "delete":
		m = mayDelete
	}
	want := w.may(a, resource, m)
	if len(ids) == 0 {
		return
	}
	r := w.api(a, "POST", "/v1/keys/batch", map[string]any{"action": action, "ids": ids, "dry_run": dry})
	w.answered(byAPI, want, r)
	if !want.ok() {
		return
	}
	for i, item := range r.items() {
		k := some[i]
		want, done := w.single(a, k, action)
		got := verdict{int(item["status"].(float64)), ""}
		if got.code, _ = item["code"].(string); got.status < 300 {
			got.status = 0
		}
		require.Equal(w, want, got, "%s on %s: %v", w.steps[len(w.steps)-1], k.name, item)
		if want.ok() && !dry {
			done()
		}
		w.count(want)
	}
	w.check(some...)
}

// single is what a batch's action on one key is to be answered with, and what it does.
func (w *world) single(a *doorActor, k *doorKey, action string) (verdict, func()) {
	next := *k
	switch action {
	case "delete":
		return w.changes(a, k, nil, mayDelete), func() { w.removed(a, k) }
	case "unlock":
		return w.on(a, k, "locks", mayDelete), func() { w.unlocked(a, k) }
	case "end_sessions":
		return w.on(a, k, "sessions", mayDelete), func() { w.signedOut(a, k) }
	case "enable", "disable":
		next.enabled = action == "enable"
		return w.changes(a, k, &next, mayUpdate), func() { w.edited(a, k, &next) }
	}
	next.here = action == "disable_here"
	return w.switches(a, k), func() { w.edited(a, k, &next) }
}

// switches is the right to refuse a key here, whatever its source says.
func (w *world) switches(a *doorActor, k *doorKey) verdict {
	v := first(w.on(a, k, "keys", mayUpdate), a.within(k))
	if v.ok() && k.source == "" {
		return invalidFields
	}
	return v
}
