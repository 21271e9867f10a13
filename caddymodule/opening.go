package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// A store that several nodes share may be out of reach when one of them starts or is
// reloaded. That is no reason to refuse a configuration: a gate that does not come up
// serves nobody at all. What is wrong with the configuration, and would be still with
// the store in reach, is.

// reconnecter is a StoreOpener of databases that can be reached in several ways: by
// another user, password or certificate.
type reconnecter interface {
	// Way tells the configurations apart that reach one database in different ways.
	Way() string
	// Reconnect makes an open store go this configuration's way.
	Reconnect(store keystore.Store) error
}

// mayBeginWithout reports whether this process may begin with the store out of reach.
func (a *App) mayBeginWithout() bool { return !a.offline && !a.opener.Embedded() }

// beginsWithout is that of a runtime of its own. Where one of another store, or with
// another snapshot, serves already, it is better kept than left for one that knows nothing.
func (a *App) beginsWithout() bool {
	return a.mayBeginWithout() && (a.previous == nil || a.previous.running.Load() == nil)
}

// openFirst opens the store for a new runtime, or begins to try.
func (a *App) openFirst(ctx context.Context, s *sharedStore, identity string) (keystore.Store, error) {
	if !a.beginsWithout() {
		store, err := a.openStore(ctx, s.clock)
		if err != nil {
			return nil, err
		}
		ring, err := a.keyring(s, store)
		if err != nil {
			return nil, closing(store, err)
		}
		s.force.Store(&inForce{app: a, ring: ring, way: a.way()})
		return store, nil
	}
	ring, err := a.keyringFor(identity, nil, false)
	if err != nil {
		return nil, err
	}
	s.force.Store(&inForce{app: a, ring: ring, way: a.way()})
	store, err := keystore.OpenDeferred(ctx, keystore.DeferredOptions{Identity: identity, Open: s.open, Logger: s.logger})
	if err != nil {
		return nil, err
	}
	if store.Opening() {
		if err := a.checkSnapshotKeys(identity, ring); err != nil {
			return nil, closing(store, err)
		}
	}
	return store, nil
}

// open opens the store by the configuration that is in force by then, and holds its
// master keys against it before anything is decided by what it holds.
func (s *sharedStore) open(ctx context.Context) (keystore.Store, error) {
	force := s.force.Load()
	store, err := force.app.openStore(ctx, s.clock)
	if err != nil {
		return nil, err
	}
	if _, err := force.app.keyring(s, store); err != nil {
		return nil, closing(store, err)
	}
	// What was read by now is not what this process works with: that it read as it started.
	if missing := slices.DeleteFunc(slices.Clone(*s.needed.Load()), force.ring.Has); len(missing) > 0 {
		return nil, closing(store, fmt.Errorf("wrong master key: %s holds verifiers under master key %s, which is configured by now, but this process works with %s: reload it",
			store.Identity(), strings.Join(missing, ", "), strings.Join(force.ring.IDs(), ", ")))
	}
	return store, nil
}

// join finds what keeps this configuration from using an open store, and reads its
// master keys. A store that is out of reach is believed to be as it was, and to depend
// on what is served from memory: it may not have been reached yet.
func (a *App) join(shared *sharedStore) (*credential.Keyring, error) {
	if path := a.snapshotPath(shared.keys.Store().Identity()); path != shared.snapshot && !a.offline {
		return nil, errSnapshotKept
	}
	if err := a.tryWay(shared); err != nil {
		return nil, err
	}
	store := shared.keys.Store()
	if _, _, lost := shared.keys.Followed(); !lost {
		ring, err := a.keyring(shared, store)
		if err == nil || !outOfReach(err) || !a.mayBeginWithout() {
			return ring, err
		}
	}
	needed := shared.keys.MasterKeyIDs()
	// What this process lacks already it cannot lose.
	needed = slices.DeleteFunc(needed, func(id string) bool { return !shared.force.Load().ring.Has(id) })
	if known := shared.needed.Load(); known != nil {
		needed = append(needed, *known...)
	}
	slices.Sort(needed)
	needed = slices.Compact(needed)
	return a.keyringFor(store.Identity(), needed, false)
}

// errSnapshotKept: two that have one file open are not told of one another, so that this
// process cannot become another node of it while it serves.
var errSnapshotKept = errors.New("snapshot: with this store it cannot be changed by a reload: restart")

// errNoneYet is what is said of a runtime that this process does not go over to.
var errNoneYet = errors.New("what serves now is not left for a store or snapshot that knows nothing yet: reload once the store is in reach, or restart")

// outOfReach reports whether an error may be over by itself.
func outOfReach(err error) bool {
	return errors.Is(err, keystore.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// way is the opener's, "" where there is only one.
func (a *App) way() string {
	if r, ok := a.opener.(reconnecter); ok {
		return r.Way()
	}
	return ""
}

// tryWay goes another way to the store than the one in force, before that is left: a
// wrong password in a new configuration must not cut a node off that runs.
func (a *App) tryWay(shared *sharedStore) error {
	if shared.force.Load().way == a.way() {
		return nil
	}
	e, ok := a.opener.(examiner)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), masterKeyCheck)
	defer cancel()
	if _, err := e.Examine(ctx); err != nil && !outOfReach(err) {
		return err
	}
	return nil
}

// reconnect makes the open store go this configuration's way.
func (a *App) reconnect(shared *sharedStore) {
	r, ok := a.opener.(reconnecter)
	if !ok {
		return
	}
	if err := r.Reconnect(shared.keys.Store()); err != nil { // it was tried
		shared.logger.Error("the key store is still reached in the way it was", zap.Error(err))
	}
}

// Values of snapshot.
const snapshotOff = "off"

// checkSnapshot finds a path that cannot be resolved.
func (a *App) checkSnapshot() error {
	_, err := a.snapshotFile()
	return err
}

// snapshotFile is the path that is configured, "" for none.
func (a *App) snapshotFile() (string, error) {
	if a.Snapshot == "" || a.Snapshot == snapshotOff {
		return "", nil
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(a.Snapshot, true, true)
	if err != nil {
		return "", fmt.Errorf("snapshot %s: %w", a.Snapshot, err)
	}
	return filepath.Abs(path)
}

// snapshotPath is where this node keeps its snapshot of a store, "" for nowhere. A
// command keeps none.
func (a *App) snapshotPath(identity string) string {
	if path, err := a.snapshotFile(); err == nil && path != "" && !a.offline {
		return path
	}
	if a.Snapshot != "" || a.offline || a.opener.Embedded() {
		return ""
	}
	sum := sha256.Sum256([]byte(identity))
	return filepath.Join(caddy.AppDataDir(), "keyreeve", "snapshot-"+hex.EncodeToString(sum[:6]))
}

// checkSnapshotKeys finds a master key that is missing by what the snapshot says, while
// the store cannot say it. A snapshot that cannot be used says nothing.
func (a *App) checkSnapshotKeys(identity string, ring *credential.Keyring) error {
	path := a.snapshotPath(identity)
	if path == "" {
		return nil
	}
	head, err := keystore.ReadSnapshotHead(path, ring)
	var refused *keystore.RefusedSnapshotError
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.As(err, &refused):
		return nil // the latter is told when it is not used
	case err != nil:
		return err
	}
	_, err = a.keyringFor("the snapshot "+path, head.MasterKeyIDs, false)
	return err
}
