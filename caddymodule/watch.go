package caddymodule

import "time"

// watchEvery is how often it is looked whether a node's standing has changed.
const watchEvery = 250 * time.Millisecond

// watch tells, by events, of what happens to a node and its store behind requests.
type watch struct {
	shared *sharedStore
	stop   chan struct{}
	done   chan struct{}

	// What follows belongs to the worker.
	lostSince time.Time // zero while the store is followed
	refusing  bool
	restores  int64
}

func watchStore(shared *sharedStore) *watch {
	w := &watch{shared: shared, stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// end stops it. A subscriber that does not return is not waited for.
func (w *watch) end() {
	close(w.stop)
	select {
	case <-w.done:
	case <-time.After(time.Second):
	}
}

func (w *watch) run() {
	defer close(w.done)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			w.look()
		}
	}
}

func (w *watch) look() {
	keys := w.shared.keys
	app, now := w.shared.force.Load().app, w.shared.clock.Now()
	_, followed, lost := keys.Followed()
	tell := func(name string, more string, value any) {
		app.events.emit(name, func() map[string]any {
			return map[string]any{"store": keys.Store().Identity(), "node_id": keys.NodeID(),
				"followed_at": followed.UTC().Format(time.RFC3339), more: value}
		})
	}
	switch {
	case lost && w.lostSince.IsZero():
		w.lostSince = now.Wall
		tell(eventStoreLost, "max_stale_seconds", app.settings.MaxStale.Seconds())
	case !lost && !w.lostSince.IsZero():
		lostFor := now.Wall.Sub(w.lostSince)
		w.lostSince = time.Time{}
		tell(eventStoreFound, "lost_for_seconds", lostFor.Seconds())
	}
	if restores := keys.Restores(); restores != w.restores {
		w.restores = restores
		tell(eventRestored, "revision", int64(keys.Position()))
	}
	if refusing := !keys.Fresh(now, app.settings.MaxStale); refusing != w.refusing {
		w.refusing = refusing
		name := eventNodeServing
		if refusing {
			name = eventNodeRefusing
		}
		tell(name, "revision", int64(keys.Position()))
	}
}
