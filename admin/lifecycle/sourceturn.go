package lifecycle

import (
	"context"
	"sync"

	"github.com/keyreeve/keyreeve/policy"
)

// pushes are the customers that a list is being read and carried out for, on this
// node: a list takes seconds and a hundred megabytes, so each customer has one at a time.
type pushes struct {
	mu   sync.Mutex
	busy map[string]bool
}

// start is false while the customer has a list under way; end ends it.
func (p *pushes) start(customerID string) (end func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[customerID] {
		return nil, false
	}
	if p.busy == nil {
		p.busy = map[string]bool{}
	}
	p.busy[customerID] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.busy, customerID)
	}, true
}

// PushTurn is a customer's turn to have the keys of one of its sources pushed.
type PushTurn struct {
	s     *Service
	actor Actor
	ref   SourceRef
	end   func()
}

// StartPush takes the turn of the source's customer, which must be given back by
// End. It is for doors that have yet to read the list: whoever may not push, or
// has to wait, is refused before.
func (s *Service) StartPush(ctx context.Context, a Actor, ref SourceRef) (*PushTurn, error) {
	t := &PushTurn{s: s, actor: a}
	err := s.view(ctx, a, func(o *op) error {
		source, err := o.source(ref, policy.Update)
		if err != nil {
			return err
		}
		t.ref = SourceRef{Name: source.Name, CustomerID: source.CustomerID}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var ok bool
	if t.end, ok = s.pushes.start(t.ref.CustomerID); !ok {
		return nil, &Error{Kind: Conflict, Code: CodePushInProgress,
			Detail: "a list of keys of this customer is being pushed; try again once it is done"}
	}
	return t, nil
}

// End gives the turn back.
func (t *PushTurn) End() { t.end() }

// Push makes the keys of the source what the list says: see Service.PushSourceKeys.
func (t *PushTurn) Push(ctx context.Context, in SourcePush, cond Condition) (PushedSource, Commit, error) {
	return t.s.pushKeys(ctx, t.actor, t.ref, in, cond)
}
