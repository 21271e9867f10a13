package keystore

import "fmt"

// What can happen in the model of the fence.

func older(age int8) int8 { return min(age+1, longest) }

// pass lets a second pass.
func (w world) pass() world {
	for i := range w.gates {
		g := &w.gates[i]
		g.age, g.keptAge, g.opAge = older(g.age), older(g.keptAge), older(g.opAge)
		g.rowAge = older(g.rowAge)
		g.tidy()
	}
	w.eraAge = older(w.eraAge)
	if w.lost == 1 {
		w.lostAge = older(w.lostAge)
	}
	return w
}

// loses puts the store back to an older state, with or without a row of the first node,
// and what another node has seen is brought into it: what it says of nodes is set right.
// Of the revocation nothing is lost: that is a matter of tombstones, and not of the fence.
func (w world) loses(r *rules, known bool) world {
	again := w.lost == 1
	w.losses--
	lease := int8(leaseFor(maxStale) / second)
	if r.trustLease {
		lease = 1 // as all had when the older state was saved
	}
	for i := range w.gates {
		g := &w.gates[i]
		if g.row == 1 && (i > 0 || known) {
			g.rowAge, g.rowEra, g.rowLease, g.confirmed = 0, w.era, lease, 0
			if r.trustRows {
				g.rowAge = longest
			}
		} else {
			g.row = 0
		}
		g.tidy()
	}
	if !r.trustRows && !(again && r.distrustOnce) {
		w.lost, w.lostAge, w.lostEra, w.lostLease = 1, 0, w.era, lease
	}
	return w
}

// tidy makes equal what makes no difference.
func (g *gate) tidy() {
	if g.lease == 0 || g.age == longest {
		g.lease, g.age, g.shift = 0, 0, 0
	}
	if g.keptLease == 0 || g.keptAge == longest {
		g.keptLease, g.keptAge, g.keptShift = 0, 0, 0
	}
	if g.opAge == longest {
		g.op = idle // nothing would come of it but what following the log does
	}
	if g.op == idle {
		g.opAge, g.opShift, g.got = 0, 0, 0
	}
	if g.row == 0 {
		g.rowAge, g.rowEra, g.rowLease, g.confirmed = 0, 0, 0, 0
	}
}

// next visits every world that can follow on w.
func (w *world) next(r *rules, visit func(event string, i int, next world)) {
	visit("a second passes", -1, w.pass())
	if w.committed == 0 {
		n := *w
		n.committed = 1
		visit("the revocation is committed", -1, n)
		if r.askedEarly && w.early == 0 && w.propagated(r) {
			n := *w
			n.early = 1
			visit("the rows are read", -1, n)
		}
	} else if w.answered == 0 && (w.propagated(r) || r.askedEarly && w.early == 1) {
		n := *w
		n.answered = 1
		visit("the call is answered", -1, n)
	}
	if w.committed == 0 && w.losses > 0 {
		visit("the store goes back, and knows the node", 0, w.loses(r, true))
		visit("the store goes back, and does not know the node", 0, w.loses(r, false))
	}
	w.clocks(visit)
	for i := range w.gates {
		if w.gates[i].state == absent {
			continue
		}
		at := func(event string, change func(w *world, g *gate)) {
			n := *w
			change(&n, &n.gates[i])
			n.gates[i].tidy()
			visit(event, i, n)
		}
		w.gates[i].works(w, r, at)
		w.gates[i].fails(w, r, at)
	}
}

type transition func(event string, change func(w *world, g *gate))

// clocks are what happens to clocks, once each.
func (w *world) clocks(visit func(string, int, world)) {
	if w.set == 1 {
		n := *w
		n.set, n.era, n.eraAge = 0, 1, 0
		visit("an era begins", -1, n)
	}
	if w.faults == 0 {
		return
	}
	if w.stepped == 0 {
		for _, by := range []int8{stepBy, -stepBy} {
			n := *w
			n.faults, n.stepped, n.set = w.faults-1, 1, 1
			for i := range n.gates {
				g := &n.gates[i]
				g.rowAge = min(max(g.rowAge+by, -stepBy), longest)
				g.tidy()
			}
			n.eraAge = min(max(n.eraAge+by, -stepBy), longest)
			if n.lost == 1 {
				n.lostAge = min(max(n.lostAge+by, -stepBy), longest)
			}
			visit(fmt.Sprintf("the store's clock is set by %d", by), -1, n)
			for i := range w.gates {
				if w.gates[i].state == absent {
					continue
				}
				n := *w
				n.faults, n.stepped = w.faults-1, 1
				g := &n.gates[i]
				g.shift, g.keptShift, g.opShift = g.shift+by, g.keptShift+by, g.opShift+by
				g.tidy()
				visit(fmt.Sprintf("the wall clock is set by %d", by), i, n)
			}
		}
		for i := range w.gates {
			if w.gates[i].state == absent {
				continue
			}
			n := *w
			n.faults, n.stepped = w.faults-1, 1
			for range stepBy {
				n = n.pass()
			}
			// Only the time of day has gone on.
			g, was := &n.gates[i], &w.gates[i]
			g.lease, g.age, g.shift = was.lease, was.age, was.shift+stepBy
			g.keptLease, g.keptAge, g.keptShift = was.keptLease, was.keptAge, was.keptShift+stepBy
			g.op, g.opAge, g.opShift, g.got = was.op, was.opAge, was.opShift+stepBy, was.got
			g.tidy()
			visit("the machine has been suspended", i, n)
		}
	}
	if w.drifted == 0 {
		for i := range w.gates {
			if w.gates[i].state == absent {
				continue
			}
			n := *w
			n.faults, n.drifted = w.faults-1, 1
			g := &n.gates[i]
			g.age, g.keptAge, g.opAge = max(0, g.age-1), max(0, g.keptAge-1), max(0, g.opAge-1)
			g.tidy()
			visit("the clocks have lost a second", i, n)
		}
	}
}

// works is what a node does that is well, and the store for it.
func (g *gate) works(w *world, r *rules, at transition) {
	if r.coarse {
		if g.state == running && g.cut == 0 && g.replaced == 0 {
			at("it renews and follows the log", func(w *world, g *gate) {
				if g.row == 0 {
					g.confirmed = 0
				}
				g.row, g.rowAge, g.rowEra, g.rowLease = 1, 0, w.era, int8(leaseFor(maxStale)/second)
				g.sees, g.opAge, g.opShift = w.committed, 0, 0
				g.hold(r)
			})
		}
	} else if g.op == sent && g.cut == 0 && g.replaced == 0 && !(r.headFirst && g.got == 0) {
		at("a renewal is stored", func(w *world, g *gate) {
			g.row, g.rowAge, g.rowEra, g.rowLease, g.op = 1, 0, w.era, int8(leaseFor(maxStale)/second), renewed
			if r.headFirst {
				g.op, g.got = answered, g.got-1
			}
		})
	}
	if g.row == 1 && (r.forgetAny || func() bool { n := w.registered(g, r); return n.Fenced() }()) {
		at("it is forgotten", func(w *world, g *gate) { g.row = 0 })
	}
	if g.state != running {
		return
	}
	if g.replaced == 1 && g.cut == 0 && g.lease > 0 {
		at("it hears that another is the node now", func(w *world, g *gate) { g.op, g.lease = idle, 0 })
	}
	if !r.coarse {
		g.renews(w, r, at)
	}
	if g.cut == 0 && g.sees < w.committed {
		at("it follows the log", func(w *world, g *gate) { g.sees = w.committed })
	}
	if g.sees == 0 && g.old == 0 && g.serves(r) && !r.coarse {
		at("a decision begins", func(w *world, g *gate) { g.old = 1 })
	}
	if g.old == 1 {
		at("a decision ends", func(w *world, g *gate) { g.old = 0 })
	}
	if g.old == 1 && g.waits == 0 && !r.coarse {
		at("a decision waits for the store", func(w *world, g *gate) { g.old, g.waits = 0, 1 })
	}
	if g.waits == 1 && g.old == 0 {
		at("a decision goes on", func(w *world, g *gate) {
			g.waits = 0
			switch {
			case r.keptLook, g.sees == 0 && g.serves(r):
				g.old = 1
			case r.keptFresh && g.sees == 0:
				g.old = 1 + w.answered
			}
		})
	}
	if r.snapshot {
		at("the journal is synced", func(w *world, g *gate) { g.sync() })
	}
	if g.cut == 0 && g.row == 1 && g.replaced == 0 && g.confirmed < g.confirmable(w, r) {
		at("it confirms", func(w *world, g *gate) { g.confirmed = 1 })
	}
}

// confirmable is what the node may confirm: what its decisions see, as far as those that
// began before they did are done, and as far as a start from its own disk would see it.
func (g *gate) confirmable(w *world, r *rules) int8 {
	shown, drained, durable := g.sees, g.sees*(1-g.old), g.disk
	if r.unseen {
		shown, drained, durable = w.committed, w.committed, w.committed
	}
	if r.undrained {
		drained = shown
	}
	if r.unjournaled || !r.snapshot {
		durable = shown
	}
	return min(shown, drained, durable)
}

// renews is a renewal, as far as the node's own part goes.
func (g *gate) renews(w *world, r *rules, at transition) {
	switch g.op {
	case idle:
		at("a renewal is sent", func(w *world, g *gate) {
			g.op, g.opAge, g.opShift = sent, 0, 0
		})
	case sent:
		if r.headFirst && g.got == 0 && g.cut == 0 { // one more than what was answered
			at("the head is asked for", func(w *world, g *gate) { g.got = 1 + w.committed })
		}
	case renewed:
		if g.cut == 0 {
			at("the head is asked for", func(w *world, g *gate) { g.op, g.got = answered, w.committed })
		}
		if r.unfollowed {
			at("it serves by the renewal", func(w *world, g *gate) { g.hold(r) })
		}
	case answered:
		at("it has followed the log after the renewal", func(w *world, g *gate) {
			g.sees = max(g.sees, g.got)
			g.hold(r)
			g.op = idle
		})
	}
	if g.op != idle {
		at("a renewal is given up", func(w *world, g *gate) { g.op = idle })
	}
}

func (g *gate) hold(r *rules) {
	g.lease = int8(leaseFor(maxStale) / second)
	if g.age, g.shift = g.opAge, g.opShift; r.fromReply {
		g.age, g.shift = 0, 0
	}
	if r.keptEarly {
		g.keptLease, g.keptAge, g.keptShift = g.lease, g.age, g.shift
	}
}

// sync makes durable what was written into the journal, which is in its order: never a
// tenure before what was applied until then.
func (g *gate) sync() {
	g.disk, g.keptLease, g.keptAge, g.keptShift = g.sees, g.lease, g.age, g.shift
}

// fails is what may happen to a node.
func (g *gate) fails(w *world, r *rules, at transition) {
	end := func(w *world, g *gate) {
		g.state, g.sees, g.old, g.waits, g.op, g.lease = down, 0, 0, 0, idle, 0
	}
	switch g.state {
	case down:
		if g.replaced == 1 {
			break // what is started there knows nothing, and is another node
		}
		at("it is started", func(w *world, g *gate) {
			if g.state = running; !r.snapshot {
				g.row = 0 // another node now; that one is gone
				return
			}
			g.sees, g.lease, g.age, g.shift = g.disk, g.keptLease, g.keptAge, g.keptShift
		})
	case paused:
		at("it goes on", func(w *world, g *gate) { g.state = running })
	case stopping:
		if g.cut == 0 {
			at("others hear that it stopped", func(w *world, g *gate) {
				if end(w, g); g.replaced == 1 {
					return
				}
				g.row, g.rowAge, g.rowEra, g.rowLease = 1, 0, w.era, int8(stoppedLease(maxStale)/second)
			})
		}
		at("it ends before others hear of it", end)
	}
	if g.cut == 1 {
		at("it reaches the store again", func(w *world, g *gate) { g.cut = 0 })
	}
	if w.faults == 0 {
		return
	}
	fault := func(event string, change func(w *world, g *gate)) {
		at(event, func(w *world, g *gate) {
			w.faults--
			change(w, g)
		})
	}
	if g.cut == 0 {
		fault("it is cut off", func(w *world, g *gate) { g.cut = 1 })
	}
	if r.snapshot && g.row == 1 && g.replaced == 0 && g.state != down {
		// That one is a node as any that is started.
		fault("another process goes on from its disk elsewhere", func(w *world, g *gate) {
			if g.replaced = 1; r.noRemnant {
				g.row = 0
			}
		})
	}
	if g.state != running {
		return
	}
	fault("it is paused", func(w *world, g *gate) { g.state = paused })
	fault("it crashes", end)
	if r.snapshot && g.lease > 0 && g.row == 1 && g.op == idle {
		fault("it resigns", func(w *world, g *gate) {
			g.state = stopping
			if !r.stopToldFirst {
				since := max(0, g.age, g.age+g.shift)
				g.lease = min(g.lease, since+int8(stoppedLease(maxStale)/second))
				g.sync()
			}
		})
	}
}
