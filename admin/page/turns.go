package page

import "sync"

// maxTurns is how many requests of one actor are worked on at a time: more than a
// browser sends, and no more than the other callers of this process can spare.
const maxTurns = 6

// turns bounds how much of the process one actor takes.
type turns struct {
	mu   sync.Mutex
	busy map[string]int // by the actor's id
}

func newTurns() *turns { return &turns{busy: map[string]int{}} }

// enter takes a turn; false where the actor has all that it may have. Who entered leaves.
func (t *turns) enter(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[id] >= maxTurns {
		return false
	}
	t.busy[id]++
	return true
}

func (t *turns) leave(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[id]--; t.busy[id] == 0 {
		delete(t.busy, id)
	}
}
