package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// masterKeyCheck bounds asking the store which master keys it depends on.
const masterKeyCheck = 10 * time.Second

// errNoMasterKey: there is no default for a store that several nodes share. One that
// made its own would refuse what the others issued.
var errNoMasterKey = errors.New("master_key_file or master_key is required with this store, the same one on every node: make it once with " +
	"`(umask 077; printf 'krm_%s\\n' \"$(head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')\" > master.key)`, " +
	"copy it to each node, readable by the server's user only, and keep a copy apart from the database and its backups")

// keyring reads the master keys and holds them against the store: one that
// depends on another key is refused now, not by every client later.
func (a *App) keyring(shared *sharedStore, store keystore.Store) (*credential.Keyring, error) {
	ctx, cancel := context.WithTimeout(context.Background(), masterKeyCheck)
	defer cancel()
	needed, err := store.MasterKeyIDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the store for its master keys: %w", err)
	}
	shared.needed.Store(&needed)
	return a.keyringFor(store.Identity(), needed, len(needed) == 0)
}

// keyringFor reads the master keys for a store that depends on those needed;
// with create, a default one that is missing is made.
func (a *App) keyringFor(identity string, needed []string, create bool) (*credential.Keyring, error) {
	keys, where, err := a.readMasterKeys(create)
	if err != nil {
		return nil, err
	}
	ring, err := credential.NewKeyring(keys...)
	if err != nil {
		return nil, fmt.Errorf("master keys: %w", err)
	}
	missing := slices.DeleteFunc(slices.Clone(needed), ring.Has)
	if len(missing) > 0 {
		return nil, fmt.Errorf("wrong master key: %s holds verifiers under master key %s, but %s holds %s; restore that key, or name it after the current one",
			identity, strings.Join(missing, ", "), where, strings.Join(ring.IDs(), ", "))
	}
	return ring, nil
}

// checkMasterKeys finds what is wrong with the words alone. The message must not
// repeat a key that was written where its placeholder belongs.
func (a *App) checkMasterKeys() error {
	if len(a.MasterKey) > 0 && len(a.MasterKeyFile) > 0 {
		return errors.New("master_key and master_key_file: expected only one of them")
	}
	for i, v := range a.MasterKey {
		if !strings.HasPrefix(v, "{") || !strings.HasSuffix(v, "}") {
			return fmt.Errorf("master_key %d: expected a placeholder such as {env.KEYREEVE_MASTER_KEY}, so that the key is in no configuration", i+1)
		}
	}
	return nil
}

// readMasterKeys reads what is configured. A first key file that is missing is
// made where create says so: for an embedded store that depends on none yet.
func (a *App) readMasterKeys(create bool) ([]credential.MasterKey, string, error) {
	repl := caddy.NewReplacer()
	if len(a.MasterKey) > 0 {
		keys, err := parseMasterKeys(repl, a.MasterKey)
		return keys, "master_key", err
	}
	paths := a.MasterKeyFile
	if len(paths) == 0 {
		if !a.opener.Embedded() {
			return nil, "", errNoMasterKey
		}
		paths = []string{filepath.Join(caddy.AppConfigDir(), "keyreeve", "master.key")}
	}
	keys := make([]credential.MasterKey, 0, len(paths))
	for i, p := range paths {
		path, err := repl.ReplaceOrErr(p, true, true)
		if err != nil {
			return nil, "", fmt.Errorf("master_key_file %s: %w", p, err)
		}
		key, err := credential.ReadMasterKeyFile(path)
		if errors.Is(err, fs.ErrNotExist) && i == 0 && create && a.opener.Embedded() {
			key, err = a.createMasterKey(path)
		}
		if err != nil {
			return nil, "", fmt.Errorf("master key: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, strings.Join(paths, ", "), nil
}

func (a *App) createMasterKey(path string) (credential.MasterKey, error) {
	key, err := credential.CreateMasterKeyFile(path)
	if errors.Is(err, fs.ErrExist) { // another process was first: its key is the key
		return credential.ReadMasterKeyFile(path)
	}
	if err == nil {
		a.logger.Warn("made a new master key; keep a copy apart from the database: without it every key must be issued anew",
			zap.String("file", path))
	}
	return key, err
}

func parseMasterKeys(repl *caddy.Replacer, values []string) ([]credential.MasterKey, error) {
	keys := make([]credential.MasterKey, 0, len(values))
	for _, v := range values {
		text, err := repl.ReplaceOrErr(v, true, true)
		if err != nil {
			return nil, fmt.Errorf("master_key %s: %w", v, err)
		}
		key, err := credential.ParseMasterKey(text)
		if err != nil {
			return nil, fmt.Errorf("master_key %s: %w", v, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
