package caddymodule

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/admin/page"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
)

const (
	// openTimeout bounds opening a store, its migrations included.
	openTimeout = 60 * time.Second
	// drainTimeout bounds the wait for decisions under way before a store closes.
	drainTimeout = 10 * time.Second
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
	clock  keystore.Clock
	// instant is the clock's reading at a time that was just read, so that it is
	// not read again.
	instant func(time.Time) policy.Instant
	logger  *zap.Logger
	// denials are kept over reloads, for administrators who ask why.
	denials denials
	// links sign in at the page, once each.
	links *page.Links
	// force is the configuration by which the store is opened and its snapshot sealed.
	force atomic.Pointer[inForce]
	// needed are the master keys that the store depended on when it was asked last.
	needed atomic.Pointer[[]string]
	// snapshot is the file of it, "" for none.
	snapshot string
	watch    *watch
}

// inForce is what of a configuration works behind requests.
type inForce struct {
	app  *App
	ring *credential.Keyring
	// way is how the store is reached, where there are several: see reconnecter.
	way string
}

// openShared opens the store, or joins those who have it open already.
func (a *App) openShared(key, identity string) (*sharedStore, error) {
	value, loaded, err := runtimes.LoadOrNew(key, func() (caddy.Destructor, error) { return a.newShared(identity) })
	switch {
	case err != nil && outOfReach(err) && a.mayBeginWithout() && !a.beginsWithout():
		return nil, fmt.Errorf("opening the key store: %w; %w", err, errNoneYet)
	case err != nil:
		return nil, fmt.Errorf("opening the key store: %w", err)
	}
	shared := value.(*sharedStore)
	if loaded {
		a.logger.Debug("key store kept open", zap.String("store", identity))
	}
	return shared, nil
}

func (a *App) newShared(identity string) (*sharedStore, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	// The logger must outlive the configuration that happens to come first.
	s := &sharedStore{clock: newClock(), logger: logger()}
	s.links = page.NewLinks(func() time.Time { return s.clock.Now().Wall })
	s.instant = func(time.Time) policy.Instant { return s.clock.Now() }
	if c, ok := s.clock.(*keystore.SystemClock); ok {
		s.instant = c.At
	}
	store, err := a.openFirst(ctx, s, identity)
	if err != nil {
		return nil, err
	}
	// By the first look already it may have to be written to: where it went back since the
	// snapshot was made, what that saw revoked is revoked again.
	store.SealAudit(s.force.Load().ring)
	store = measuredStore{store}
	if s.tokens, err = session.NewVerified(a.sizes.tokens); err != nil {
		return nil, closing(store, err)
	}
	o := keystore.CachedOptions{Sizes: a.sizes.CacheSizes, NodeID: credential.NewID("node"), WithoutStore: a.beginsWithout()}
	if s.snapshot = a.snapshotPath(identity); s.snapshot != "" {
		o.Snapshot = &keystore.SnapshotOptions{Path: s.snapshot, Sealer: s, MaxStale: a.settings.MaxStale}
	}
	if s.keys, err = keystore.OpenCachedFrom(ctx, store, s.clock, o, s.logger); err != nil {
		s.tokens.Close()
		return nil, closing(store, err)
	}
	stores.opened(s)
	s.watch = watchStore(s)
	return s, nil
}

// CurrentID names the master key in force.
func (s *sharedStore) CurrentID() string { return s.force.Load().ring.CurrentID() }

// Derive is a key from the master keys in force: a snapshot is sealed anew under
// another one after a reload that brings it.
func (s *sharedStore) Derive(masterKeyID, info string) ([32]byte, bool) {
	return s.force.Load().ring.Derive(masterKeyID, info)
}

// closing closes the store after a failure, keeping the failure's error.
func closing(store keystore.Store, err error) error {
	if cerr := store.Close(); cerr != nil {
		return fmt.Errorf("%w (and closing the store: %v)", err, cerr)
	}
	return err
}

// Destruct closes the store once the last configuration has left it and the
// decisions under way are done. A decision that begins later, by a request of the
// old configuration, finds the store closed and answers 503.
func (s *sharedStore) Destruct() error {
	deadline := time.Now().Add(drainTimeout)
	for s.keys.UnderWay() > 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if n := s.keys.UnderWay(); n > 0 {
		s.logger.Warn("closing the key store although decisions are still under way", zap.Int64("decisions", n))
	}
	s.watch.end()
	s.tokens.Close()
	err := s.keys.Close()
	stores.close(s) // after what was queued is counted
	return err
}
