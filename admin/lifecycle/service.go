package lifecycle

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Store is what the operations need of a key store; keystore.Cached and every
// keystore.Store have it.
type Store interface {
	View(ctx context.Context, fn func(keystore.Reader) error) error
	Update(ctx context.Context, fn func(keystore.Tx) error) (keystore.Revision, error)
}

// Config is what a Service works with. Store and Keyring are required.
type Config struct {
	Store   Store
	Keyring *credential.Keyring
	// GroupOf names the group a resource belongs to in the loaded policy, "" for
	// none. nil knows no groups: a role that names one is then only within that very name.
	GroupOf func(resource string) string
	// DefaultValidity is the lifetime of access tokens of a key that names none; 0 is one hour.
	DefaultValidity time.Duration
	// MaxValidity is the longest a key may name; 0 is one hour.
	MaxValidity time.Duration
	// Lockout is the policy that counts are shown by; nil is policy.DefaultLockout.
	Lockout func() policy.Lockout
	// Propagation tells how far a committed revision has got over the registered nodes,
	// having waited for all of them, but no longer than that. nil is a single node, which
	// has it at once.
	Propagation func(ctx context.Context, r keystore.Revision, wait time.Duration) keystore.Propagation
	// FlushUses stores the uses of keys that this node has not stored yet, so that a
	// secret in use is seen to be. nil is none to store.
	FlushUses func(context.Context) error
	// Nodes lists the nodes that decide on requests. nil is none.
	Nodes func(context.Context) ([]Node, error)
	// Notify is told what was done once it is committed. nil is nobody.
	Notify func(context.Context, Event)
	// Gatekeeper answers for the gates that run. nil is a configuration without any.
	Gatekeeper Gatekeeper
}

// Service does the operations. It is safe for concurrent use, and holds no state
// of its own but which lists of keys are under way.
type Service struct {
	cfg    Config
	pushes pushes
	// batches is held by the one long batch that is done, or tried, at a time.
	batches chan struct{}
}

// New makes a Service, filling in Config's defaults.
func New(cfg Config) *Service {
	if cfg.DefaultValidity <= 0 {
		cfg.DefaultValidity = time.Hour
	}
	if cfg.MaxValidity <= 0 {
		cfg.MaxValidity = time.Hour
	}
	if cfg.Lockout == nil {
		cfg.Lockout = policy.DefaultLockout
	}
	if cfg.Propagation == nil {
		cfg.Propagation = func(context.Context, keystore.Revision, time.Duration) keystore.Propagation {
			return keystore.Propagation{Confirmed: 1}
		}
	}
	return &Service{cfg: cfg, batches: make(chan struct{}, 1)}
}

// op is one operation inside its transaction.
type op struct {
	*Service
	ctx   context.Context
	r     keystore.Reader
	tx    keystore.Tx // nil when only reading
	actor Actor       // with its rights as of this transaction
	now   policy.Instant
	// events are what this transaction did.
	events []Event
	// revokes is from when on it takes something away, zero for not at all.
	revokes time.Time
}

// view runs fn on one snapshot, with the actor's rights as of that snapshot.
func (s *Service) view(ctx context.Context, a Actor, fn func(*op) error) error {
	return s.cfg.Store.View(ctx, func(r keystore.Reader) error {
		return s.run(ctx, a, r, nil, fn)
	})
}

// update runs fn in one transaction. A store may run fn again after a conflict
// with another writer, so fn must assign what it returns and never accumulate.
func (s *Service) update(ctx context.Context, a Actor, fn func(*op) error) (Commit, error) {
	return s.updateEven(ctx, a, func(o *op) error {
		if err := o.refuseRestored(); err != nil {
			return err
		}
		return fn(o)
	})
}

// updateEven is update where the database went back too.
func (s *Service) updateEven(ctx context.Context, a Actor, fn func(*op) error) (Commit, error) {
	var done *op
	revision, err := s.cfg.Store.Update(ctx, func(tx keystore.Tx) error {
		return s.run(ctx, a, tx, tx, func(o *op) error {
			done = o
			return fn(o)
		})
	})
	if err != nil && !isUnseen(err) {
		return Commit{}, err
	}
	s.notify(ctx, done.events, revision)
	return s.propagated(ctx, a, done, revision), nil
}

func (s *Service) run(ctx context.Context, a Actor, r keystore.Reader, tx keystore.Tx, fn func(*op) error) error {
	o := &op{Service: s, ctx: ctx, r: r, tx: tx, now: r.Now()}
	var err error
	if o.actor, err = a.current(o); err != nil {
		return err
	}
	if err := o.withinReach(); err != nil {
		return err
	}
	return fn(o)
}

// stamp is the wall time that records carry, at the precision that stores keep.
func (o *op) stamp() time.Time { return o.now.Wall.UTC().Truncate(timePrecision) }
