package keystore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// openTimeout bounds one try, migrations included.
	openTimeout = time.Minute
	// complainEvery is how often it is said that a store still cannot be opened, for a
	// reason that does not go away by itself.
	complainEvery = time.Minute
)

// DeferredOptions say how a store is opened that may be out of reach when it is to be.
type DeferredOptions struct {
	// Identity is the store's, known before it is open.
	Identity string
	// Open opens it, and checks whatever must be before it is used. An error that is
	// ErrUnavailable is tried again without a word.
	Open   func(ctx context.Context) (Store, error)
	Logger *zap.Logger
}

// Deferred is a store that is perhaps not open yet. Until it is, every call is answered
// with ErrUnavailable, at once, and it is tried again behind. What the store is besides
// is found through it (see As) once it is open.
type Deferred struct {
	o    DeferredOptions
	stop context.CancelFunc
	done sync.WaitGroup
	// opened is closed once store is set.
	opened chan struct{}
	store  atomic.Pointer[Store]

	mu     sync.Mutex
	sealer AuditSealer // of SealAudit, for the store once it is open
	cause  error       // why it was not open when it was tried last
	closed bool
}

// OpenDeferred opens a store, or goes on to try behind where it is out of reach. Any
// other error than that is returned: it would not go away.
func OpenDeferred(ctx context.Context, o DeferredOptions) (*Deferred, error) {
	running, stop := context.WithCancel(context.Background())
	d := &Deferred{o: o, stop: stop, opened: make(chan struct{})}
	err := d.try(ctx)
	switch {
	case err == nil:
		return d, nil
	case !errors.Is(err, ErrUnavailable):
		stop()
		return nil, err
	}
	o.Logger.Error("the key store is out of reach; it is tried again until it can be opened", zap.String("store", o.Identity), zap.Error(err))
	d.done.Go(func() { d.keepTrying(running) })
	return d, nil
}

func (d *Deferred) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	s, err := d.o.Open(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.cause = err
		return err
	}
	if d.closed {
		return s.Close()
	}
	if d.sealer != nil {
		s.SealAudit(d.sealer)
	}
	d.store.Store(&s)
	close(d.opened)
	return nil
}

func (d *Deferred) keepTrying(ctx context.Context) {
	var wait backoff
	var complained time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait.next()):
		}
		err := d.try(ctx)
		if err == nil {
			d.o.Logger.Info("the key store is open", zap.String("store", d.o.Identity))
			return
		}
		// Retried even so: a wrong password or a missing master key can be put right.
		if !errors.Is(err, ErrUnavailable) && ctx.Err() == nil && time.Since(complained) >= complainEvery {
			complained = time.Now()
			d.o.Logger.Error("the key store is in reach but cannot be used", zap.String("store", d.o.Identity), zap.Error(err))
		}
	}
}

// Opening reports whether the store is not open yet.
func (d *Deferred) Opening() bool { return d.store.Load() == nil }

// Unwrap is the store once it is open, nil before.
func (d *Deferred) Unwrap() Store {
	if s := d.store.Load(); s != nil {
		return *s
	}
	return nil
}

// Wake receives once the store is open, and from then on what that says.
func (d *Deferred) Wake() <-chan struct{} {
	s := d.Unwrap()
	if s == nil {
		return d.opened
	}
	if w, ok := As[Waker](s); ok {
		return w.Wake()
	}
	return nil
}

// ask is the store, or why it cannot be asked.
func (d *Deferred) ask() (Store, error) {
	if s := d.store.Load(); s != nil {
		return *s, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	// What it failed for is told to people alone: it is no answer to what is asked.
	return nil, fmt.Errorf("%w: it is not open yet: %v", ErrUnavailable, d.cause)
}

// KeyByClientID is the store's.
func (d *Deferred) KeyByClientID(ctx context.Context, clientID string) (*Key, error) {
	s, err := d.ask()
	if err != nil {
		return nil, err
	}
	return s.KeyByClientID(ctx, clientID)
}

// View is the store's.
func (d *Deferred) View(ctx context.Context, fn func(Reader) error) error {
	s, err := d.ask()
	if err != nil {
		return err
	}
	return s.View(ctx, fn)
}

// Update is the store's.
func (d *Deferred) Update(ctx context.Context, fn func(Tx) error) (Revision, error) {
	s, err := d.ask()
	if err != nil {
		return 0, err
	}
	return s.Update(ctx, fn)
}

// Count is the store's.
func (d *Deferred) Count(ctx context.Context, l policy.Lockout, proofs []Proof) ([]CountResult, error) {
	s, err := d.ask()
	if err != nil {
		return nil, err
	}
	return s.Count(ctx, l, proofs)
}

// Head is the store's.
func (d *Deferred) Head(ctx context.Context) (Revision, error) {
	s, err := d.ask()
	if err != nil {
		return 0, err
	}
	return s.Head(ctx)
}

// Changes is the store's.
func (d *Deferred) Changes(ctx context.Context, after Revision) ([]Change, error) {
	s, err := d.ask()
	if err != nil {
		return nil, err
	}
	return s.Changes(ctx, after)
}

// Tallies is the store's.
func (d *Deferred) Tallies(ctx context.Context, after int64) ([]Tally, error) {
	s, err := d.ask()
	if err != nil {
		return nil, err
	}
	return s.Tallies(ctx, after)
}

// Trim is the store's.
func (d *Deferred) Trim(ctx context.Context, l policy.Lockout, keep time.Duration) error {
	s, err := d.ask()
	if err != nil {
		return err
	}
	return s.Trim(ctx, l, keep)
}

// Use is the store's.
func (d *Deferred) Use(ctx context.Context, uses []Use, calls ...Calls) error {
	s, err := d.ask()
	if err != nil {
		return err
	}
	return s.Use(ctx, uses, calls...)
}

// SealAudit is the store's, at once or before anything is asked of it.
func (d *Deferred) SealAudit(sealer AuditSealer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sealer = sealer
	if s := d.Unwrap(); s != nil {
		s.SealAudit(sealer)
	}
}

// TrimAudit is the store's.
func (d *Deferred) TrimAudit(ctx context.Context, keep time.Duration) error {
	s, err := d.ask()
	if err != nil {
		return err
	}
	return s.TrimAudit(ctx, keep)
}

// Identity is the store's, open or not.
func (d *Deferred) Identity() string { return d.o.Identity }

// MasterKeyIDs is the store's.
func (d *Deferred) MasterKeyIDs(ctx context.Context) ([]string, error) {
	s, err := d.ask()
	if err != nil {
		return nil, err
	}
	return s.MasterKeyIDs(ctx)
}

// Close stops trying, and closes the store if it is open.
func (d *Deferred) Close() error {
	d.stop()
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.done.Wait()
	if s := d.Unwrap(); s != nil {
		return s.Close()
	}
	return nil
}

var (
	_ Store = (*Deferred)(nil)
	_ Waker = (*Deferred)(nil)
)
