package keystore

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/policy"
)

// A model of the fence: two nodes, one revocation, and every order in which what they,
// the store and the network do can happen, by the rules of fence.go. Times are whole
// seconds; max_stale is one, so a lease is two, and a row is fenced once it is more than
// three old. A world holds how long ago things were, so that it comes back to where it
// was: all that can be reached is finite, and is looked at.
//
// What must hold: once the revoking call was answered, no decision that begins then, on
// any node, accepts; and what a node confirmed none of its decisions that began before
// is still to accept.
//
// Not in it: a machine that is suspended and whose time of day is set back besides, which
// leaves it no clock to tell; another boot; a snapshot that was copied; a process that
// opens the store in the moment between a step of the store's clock and the era that
// follows on it.

const (
	second   = time.Second
	maxStale = second
	// longest is the age from which on nothing changes any more: neither does a tenure
	// hold, nor is a row not fenced, even if a clock was one second slow.
	longest = 4
	// stepBy is how far clocks are set: past every lease.
	stepBy = 4
)

const (
	running  = iota
	paused   // as by SIGSTOP: its clocks go on
	stopping // it has resigned, and others have not heard of it
	down
	absent // there is one node
)

const (
	idle     = iota
	sent     // a renewal, on its way to the store
	renewed  // it is stored; the head is not asked for yet
	answered // the head was answered
)

// gate is a node of the model, its row and its disk.
type gate struct {
	state, cut int8
	// sees is whether decisions see the revocation, old whether one is under way that
	// began before, anew 2 behind the answer; waits whether one has stepped aside to wait for
	// the store; disk whether a start from the disk would see it.
	sees, old, waits, disk int8
	// Of the tenure: the lease, 0 for none, how old it is, and by how much the wall clock
	// was set since; and of the one that the disk has.
	lease, age, shift             int8
	keptLease, keptAge, keptShift int8
	// Of the renewal under way: how far it is, how old, how the wall clock was set since,
	// and whether the head that was answered has the revocation.
	op, opAge, opShift, got int8
	// Of the row: whether it is there, how old by the store's clock, and so on.
	row, rowAge, rowEra, rowLease, confirmed int8
	// replaced: another process has taken its place, with its disk, and the row is a remnant.
	replaced int8
}

type world struct {
	gates [2]gate
	// committed, answered: the revocation. early: the rows were found well before it.
	committed, answered, early int8
	// set: the store's clock was, and no era began since; era and how old it is.
	set, era, eraAge int8
	// faults is how many more there may be; stepped, drifted are those that happen once: a
	// clock is set, or a machine suspended; and clocks lose a second beside the store's.
	faults, stepped, drifted int8
	// losses is how often the database may still go back to an older state, and lost
	// whether there is a row for nodes that it does not know, how old and so on.
	losses, lost, lostAge, lostEra, lostLease int8
}

// rules are what the model goes by, each of which a mutant breaks.
type rules struct {
	snapshot      bool // nodes have one
	coarse        bool // a renewal is one event, and so is a decision
	undrained     bool // confirmed before decisions are done
	keptLook      bool // a decision that has waited goes by what it saw before
	keptFresh     bool // it looks anew, but not whether the node may serve
	unjournaled   bool // confirmed before the journal has it
	keptEarly     bool // the disk has a tenure before what was applied until then
	unseen        bool // confirmed as soon as it was read
	fromReply     bool // a tenure counts from the answer
	headFirst     bool // the head is asked for before the renewal is stored
	unfollowed    bool // a tenure counts before the log was followed
	noMargin      bool
	wallOnly      bool
	bootOnly      bool
	trustClock    bool // although the store's clock was set
	oldEra        bool // a row of an earlier era counts by its own time
	askedEarly    bool // the rows are read before the commit
	forgetAny     bool // nodes are forgotten that are not fenced
	stopToldFirst bool // others hear of a stop before the disk does
	noRemnant     bool // whoever takes a node's place takes its row whole
	losses        bool // the database may go back, before the revocation
	trustRows     bool // and what it then says of nodes counts
	trustLease    bool // and how long a node may serve is taken from it
	distrustOnce  bool // and that is set right the first time alone
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func ago(age, shift int8) policy.Instant {
	return policy.Instant{Wall: epoch.Add(-time.Duration(age+shift) * second), Since: time.Hour - time.Duration(age)*second}
}

// serves reports whether a decision that begins now may accept what it knows.
func (g *gate) serves(r *rules) bool {
	if g.state != running && g.state != stopping || g.lease == 0 {
		return false
	}
	then, now := ago(g.age, g.shift), policy.Instant{Wall: epoch, Since: time.Hour}
	switch {
	case r.wallOnly:
		then.Since = now.Since
	case r.bootOnly:
		then.Wall = now.Wall
	}
	t := tenure{sent: then, lease: time.Duration(g.lease) * second}
	return t.holds(&now)
}

// registered is the row as whoever checks it reads it.
func (w *world) registered(g *gate, r *rules) Registered {
	n := Registered{Registration: Registration{Position: Revision(g.confirmed), Lease: time.Duration(g.rowLease) * second},
		Renewed: epoch.Add(-time.Duration(g.rowAge) * second)}
	t := StoreTime{Now: epoch, Era: int64(w.era), Began: epoch.Add(-time.Duration(w.eraAge) * second), Steady: w.set == 0 || r.trustClock}
	era := int64(g.rowEra)
	if r.oldEra {
		era = t.Era
	}
	n.Judge(t, era)
	if r.noMargin {
		n.Left -= margin(n.Lease)
	}
	return n
}

func (w *world) propagated(r *rules) bool {
	var rows []Registered
	for i := range w.gates {
		if w.gates[i].row == 1 {
			rows = append(rows, w.registered(&w.gates[i], r))
		}
	}
	if w.lost == 1 {
		rows = append(rows, w.registered(&gate{rowAge: w.lostAge, rowEra: w.lostEra, rowLease: w.lostLease}, r))
	}
	return len(propagated(rows, 1).Pending) == 0
}

// broken is what must not be in a world, "" if it is not.
func (w *world) broken(r *rules) string {
	for i := range w.gates {
		g := &w.gates[i]
		if w.answered == 1 && g.sees == 0 && g.serves(r) {
			return fmt.Sprintf("node %d accepts after the answer", i)
		}
		if g.old == 2 {
			return fmt.Sprintf("a decision of node %d that waited accepts after the answer", i)
		}
		if g.row == 1 && g.confirmed == 1 && g.old == 1 {
			return fmt.Sprintf("node %d has confirmed, and a decision from before it is under way", i)
		}
	}
	return ""
}

// step is a world and how it came about.
type step struct {
	world
	parent int
	event  string
	node   int
}

// explore looks at every world, and returns how many there are and the way to the
// first, by the fewest steps, in which what must hold does not.
func explore(r rules, nodes int, faults int8) (worlds int, way string) {
	first := world{faults: faults}
	if r.losses {
		first.losses = 2
	}
	for i := range first.gates[nodes:] {
		first.gates[nodes+i].state = absent
	}
	for i := range first.gates[:nodes] { // all serve
		g := &first.gates[i]
		g.lease, g.row, g.rowLease = 2, 1, 2
		if r.snapshot {
			g.keptLease = 2
		}
	}
	all := []step{{world: first, parent: -1}}
	seed := maphash.MakeSeed()
	known := map[uint64]struct{}{maphash.Comparable(seed, first): {}}
	for at := 0; at < len(all); at++ {
		now := all[at].world
		if found := now.broken(&r); found != "" {
			return len(all), wayTo(all, at) + found
		}
		now.next(&r, func(event string, node int, n world) {
			if n.simplify(&r); nodes == 2 {
				n = canonical(n)
			}
			if n == now {
				return
			}
			hash := maphash.Comparable(seed, n) // of 64 bits: two worlds in a million share one hardly ever
			if _, seen := known[hash]; !seen {
				known[hash] = struct{}{}
				all = append(all, step{n, at, event, node})
			}
		})
	}
	return len(all), ""
}

// simplify takes away tenures that are over, where no clock can be set any more that
// would bring them back.
func (w *world) simplify(r *rules) {
	if w.faults > 0 && (w.stepped == 0 || w.drifted == 0) || r.wallOnly || r.bootOnly || r.fromReply {
		return
	}
	over := func(lease, age, shift int8) bool { return max(age, age+shift) > lease }
	for i := range w.gates {
		g := &w.gates[i]
		if over(g.lease, g.age, g.shift) {
			g.lease = 0
		}
		if over(g.keptLease, g.keptAge, g.keptShift) {
			g.keptLease = 0
		}
		if g.op != idle && over(int8(leaseFor(maxStale)/second), g.opAge, g.opShift) {
			g.op = idle
		}
		g.tidy()
	}
}

// canonical is one of the two worlds that differ in the order of their nodes alone.
func canonical(w world) world {
	x, y := w.gates[0].text(), w.gates[1].text()
	if bytes.Compare(x[:], y[:]) > 0 {
		w.gates[0], w.gates[1] = w.gates[1], w.gates[0]
	}
	return w
}

func (g *gate) text() [22]byte {
	var t [22]byte
	for i, v := range [...]int8{g.state, g.cut, g.sees, g.old, g.disk, g.lease, g.age, g.shift, g.keptLease, g.keptAge, g.keptShift,
		g.op, g.opAge, g.opShift, g.got, g.row, g.rowAge, g.rowEra, g.rowLease, g.confirmed, g.waits, g.replaced} {
		t[i] = byte(v)
	}
	return t
}

func wayTo(all []step, at int) (way string) {
	for ; all[at].parent >= 0; at = all[at].parent {
		way = fmt.Sprintf("%s (%d)\n", all[at].event, all[at].node) + way
	}
	return way
}

// Nodes have nothing to do with one another but for the revocation, its answer and the
// store's clock. The answer waits for all of them: what can happen to one of them behind
// it can happen to a node that is alone. So one is looked at in every detail, and two with
// fewer events in a renewal.
func TestNoOrderOfEventsLetsARevokedKeyInAfterTheAnswer(t *testing.T) {
	for _, c := range []struct {
		rules
		nodes  int
		faults int8
	}{{rules{snapshot: true}, 1, 2}, {rules{}, 1, 2}, {rules{snapshot: true, coarse: true}, 2, 1}, {rules{coarse: true}, 2, 2},
		{rules{snapshot: true, coarse: true, losses: true}, 1, 1}, {rules{losses: true}, 1, 0}} {
		if testing.Short() {
			c.faults = min(c.faults, 1)
		}
		began := time.Now()
		worlds, way := explore(c.rules, c.nodes, c.faults)
		require.Empty(t, way)
		t.Logf("%d nodes, snapshot %t: %d worlds in %s", c.nodes, c.snapshot, worlds, time.Since(began).Round(time.Millisecond))
	}
}

func TestTheModelFindsWhatEachRuleOfTheFenceIsThereFor(t *testing.T) {
	for name, r := range map[string]rules{
		"confirmed before decisions are done":            {undrained: true},
		"a decision that waited kept what it saw":        {keptLook: true},
		"a decision that waited did not look at time":    {keptFresh: true},
		"confirmed before the journal has it":            {unjournaled: true},
		"a tenure on the disk before what was applied":   {keptEarly: true},
		"confirmed when it was read":                     {unseen: true},
		"a tenure from the answer":                       {fromReply: true},
		"the head before the renewal":                    {headFirst: true},
		"a tenure before the log was followed":           {unfollowed: true},
		"no margin":                                      {noMargin: true},
		"the wall clock alone":                           {wallOnly: true},
		"the time since boot alone":                      {bootOnly: true},
		"a clock that was set is trusted":                {trustClock: true},
		"a row of an earlier era counts by its own time": {oldEra: true},
		"the rows are read before the commit":            {askedEarly: true},
		"whoever is not fenced is forgotten":             {forgetAny: true},
		"others hear of a stop before the disk does":     {stopToldFirst: true},
		"a row is taken over without a remnant":          {noRemnant: true},
		"an older state's rows count":                    {losses: true, trustRows: true},
		"an older state's lease counts":                  {losses: true, trustLease: true},
		"a second loss is not set right":                 {losses: true, distrustOnce: true},
	} {
		t.Run(name, func(t *testing.T) {
			r.snapshot = true
			worlds, way := explore(r, 1, 2)
			require.NotEmpty(t, way, "%d worlds and nothing found", worlds)
			t.Log(worlds, "worlds:\n"+way)
		})
	}
}
