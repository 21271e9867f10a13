package caddymodule

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/admin/page"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
)

const (
	// openTimeout bounds opening a store, its migrations included.
	openTimeout = 60 * time.Second
	// drainTimeout bounds the wait for decisions under way before a store closes.
	drainTimeout = 10 * time.Second
	// drainCounters spreads the count of decisions under way over cache lines.
	drainCounters = 64
)

// runtimes holds what outlives a reload: the store, its caches, locks and
// counters, keyed by the store's identity. Configurations come and go, the last
// one to leave closes.
var runtimes = caddy.NewUsagePool()

// newClock makes the clock of a new runtime. Tests turn it.
var newClock = func() keystore.Clock { return keystore.NewSystemClock() }

// sharedStore is a store in use by one or more configurations.
type sharedStore struct {
	keys *keystore.Cached
	// tokens whose signature was checked.
	tokens *session.Verified
	// id is the store's own name, which tokens carry where no issuer is configured.
	id    string
	clock keystore.Clock
	// instant is the clock's reading at a time that was just read, so that it is
	// not read again.
	instant func(time.Time) policy.Instant
	logger  *zap.Logger
	// denials are kept over reloads, for administrators who ask why.
	denials denials
	// links sign in at the page, once each.
	links *page.Links

	// deciding counts decisions under way: the requests of an old configuration
	// are still in flight when its cleanup runs.
	deciding [drainCounters]paddedCount
}

type paddedCount struct {
	n atomic.Int64
	_ [56]byte // to a cache line of 64 bytes, so that cores do not contend
}

// openShared opens the store, or joins those who have it open already.
func openShared(identity string, open storeFunc, sizes cacheSizes, logger *zap.Logger) (*sharedStore, error) {
	value, loaded, err := runtimes.LoadOrNew(identity, func() (caddy.Destructor, error) { return newShared(open, sizes) })
	if err != nil {
		return nil, fmt.Errorf("opening the key store: %w", err)
	}
	shared := value.(*sharedStore)
	if loaded {
		logger.Debug("key store kept open", zap.String("store", identity))
	}
	return shared, nil
}

type storeFunc func(context.Context, keystore.Clock) (keystore.Store, error)

func newShared(open storeFunc, sizes cacheSizes) (*sharedStore, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	// The logger must outlive the configuration that happens to come first.
	s := &sharedStore{clock: newClock(), logger: caddy.Log().Named("keyreeve")}
	s.links = page.NewLinks(func() time.Time { return s.clock.Now().Wall })
	s.instant = func(time.Time) policy.Instant { return s.clock.Now() }
	if c, ok := s.clock.(*keystore.SystemClock); ok {
		s.instant = c.At
	}
	store, err := open(ctx, s.clock)
	if err != nil {
		return nil, err
	}
	store = measuredStore{store}
	err = store.View(ctx, func(r keystore.Reader) error {
		s.id, err = r.StoreID(ctx)
		return err
	})
	if err != nil {
		return nil, closing(store, err)
	}
	if s.tokens, err = session.NewVerified(sizes.tokens); err != nil {
		return nil, closing(store, err)
	}
	if s.keys, err = keystore.OpenCached(ctx, store, s.clock, sizes.CacheSizes, s.logger); err != nil {
		s.tokens.Close()
		return nil, closing(store, err)
	}
	stores.opened(s)
	return s, nil
}

// closing closes the store after a failure, keeping the failure's error.
func closing(store keystore.Store, err error) error {
	if cerr := store.Close(); cerr != nil {
		return fmt.Errorf("%w (and closing the store: %v)", err, cerr)
	}
	return err
}

// enter marks a decision as under way; leave with the same slot ends it.
func (s *sharedStore) enter() (slot uint32) {
	slot = uint32(keystore.Stripe()) % drainCounters
	s.deciding[slot].n.Add(1)
	return slot
}

func (s *sharedStore) leave(slot uint32) { s.deciding[slot].n.Add(-1) }

func (s *sharedStore) underWay() (n int64) {
	for i := range s.deciding {
		n += s.deciding[i].n.Load()
	}
	return n
}

// Destruct closes the store once the last configuration has left it and the
// decisions under way are done. A decision that begins later, by a request of the
// old configuration, finds the store closed and answers 503.
func (s *sharedStore) Destruct() error {
	deadline := time.Now().Add(drainTimeout)
	for s.underWay() > 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if n := s.underWay(); n > 0 {
		s.logger.Warn("closing the key store although decisions are still under way", zap.Int64("decisions", n))
	}
	s.tokens.Close()
	err := s.keys.Close()
	stores.close(s) // after what was queued is counted
	return err
}
