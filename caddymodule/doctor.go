package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/cli"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// clockTolerance is how far a clock may be behind the newest change of the
// store: another node's may be a little ahead.
const clockTolerance = time.Minute

// doctor collects what is found.
type doctor struct {
	app      *App
	clock    keystore.Clock
	findings []cli.Finding
	// store is open and ring is its master keys, once both were found good.
	store keystore.Store
	ring  *credential.Keyring
}

func (d *doctor) ok(check, format string, args ...any) {
	d.findings = append(d.findings, cli.Finding{Check: check, Status: cli.StatusOK, Detail: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(check, detail, advice string) {
	d.findings = append(d.findings, cli.Finding{Check: check, Status: cli.StatusWarn, Detail: detail, Advice: advice})
}

func (d *doctor) fail(check string, err error, advice string) {
	d.findings = append(d.findings, cli.Finding{Check: check, Status: cli.StatusFail, Detail: err.Error(), Advice: advice})
}

// The checks, as they are named to the operator.
const (
	checkConfig    = "configuration"
	checkPolicy    = "policy files"
	checkStore     = "key store"
	checkSchema    = "schema"
	checkWriting   = "writing"
	checkMasterKey = "master key"
	checkClock     = "clock"
	checkServer    = "database server"
	checkRights    = "database rights"
	checkSnapshot  = "snapshot"
)

// diagnose checks what a configuration names. It runs nothing and makes nothing.
func diagnose(ctx context.Context, configPath string) cli.Diagnosis {
	d := &doctor{clock: newClock()}
	config, err := adapted(configPath)
	if err != nil {
		d.fail(checkConfig, err, "correct the configuration")
		return cli.Diagnosis{Findings: d.findings}
	}
	if d.app, err = appOf(config); err != nil {
		d.fail(checkConfig, err, "correct the configuration")
		return cli.Diagnosis{Findings: d.findings}
	}
	admin := d.configuration(configPath, config)
	d.policies(config)
	cctx, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	defer cancel()
	if err := d.app.configure(cctx); err != nil && d.app.opener == nil {
		d.notChecked(checkStore, checkMasterKey) // the configuration's finding says why
		d.clockAlone()
		return cli.Diagnosis{Findings: d.findings, Admin: admin}
	}
	d.app.logger = zap.NewNop()
	d.stores(ctx)
	d.snapshot()
	found := cli.Diagnosis{Findings: d.findings, Admin: admin}
	d.offer(&found)
	return found
}

func (d *doctor) notChecked(checks ...string) {
	for _, c := range checks {
		d.warn(c, "not checked, the configuration is not good", "correct it first")
	}
}

// configuration provisions all of it, as a start would, and returns where Caddy's
// admin endpoint listens.
func (d *doctor) configuration(path string, data []byte) (admin string) {
	var config caddy.Config
	if err := json.Unmarshal(data, &config); err != nil {
		d.fail(checkConfig, err, "correct the configuration")
		return ""
	}
	switch {
	case config.Admin == nil || (config.Admin.Listen == "" && !config.Admin.Disabled):
		admin = caddy.DefaultAdminListen
	case !config.Admin.Disabled:
		admin = caddy.NewReplacer().ReplaceAll(config.Admin.Listen, "")
	}
	// The logs it names are not opened: that would make their files. Nor is what
	// Caddy logs on the way of use here.
	config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{Level: "PANIC"}}}}
	if err := caddy.Validate(&config); err != nil {
		d.fail(checkConfig, err, "correct the configuration")
		return admin
	}
	if !strings.Contains(string(data), `"keyreeve`) {
		d.warn(checkConfig, path+" uses no part of Keyreeve", "is it the right file? add a `keyreeve` block to it")
		return admin
	}
	d.ok(checkConfig, "%s can be run", path)
	return admin
}

// policies reads each policy file on its own, so that every bad one is named.
func (d *doctor) policies(config []byte) {
	names := map[string]bool{}
	for _, name := range d.app.Policy {
		names[name] = true
	}
	gatePolicies(config, names)
	bad := false
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if _, err := loadPolicyFiles([]string{name}); err != nil {
			bad = true
			d.fail(checkPolicy, err, "correct the file, its path (a relative one begins at the working directory) or its permissions")
		}
	}
	switch {
	case bad:
	case len(names) == 0:
		d.ok(checkPolicy, "none is named")
	default:
		d.ok(checkPolicy, "%d can be read", len(names))
	}
}

// gatePolicies adds the policy files that gates name, wherever they stand.
func gatePolicies(config []byte, names map[string]bool) {
	var tree any
	if json.Unmarshal(config, &tree) != nil {
		return
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				walk(one)
			}
		case map[string]any:
			if files, _ := v["policy"].([]any); v["handler"] == "keyreeve" {
				for _, f := range files {
					if name, ok := f.(string); ok {
						names[name] = true
					}
				}
			}
			for _, one := range v {
				walk(one)
			}
		}
	}
	walk(tree)
}

// stores checks the database and what hangs on it.
func (d *doctor) stores(ctx context.Context) {
	if e, ok := d.app.opener.(examiner); ok {
		path, needed, good := d.examined(ctx, e)
		if good && d.app.checkKeyring(path, needed) != nil {
			d.warn(checkStore, path+" was not opened: the master key that it depends on is not at hand", "see the master key")
			good = false
		}
		if !good {
			d.ring = d.masterKey(needed, path) // which opens the snapshot too
			d.clockAlone()
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	d.app.offline = true
	store, err := d.app.openStore(ctx, d.clock)
	if err != nil {
		d.fail(checkStore, err, "make sure that it can be reached and that this user may read and write it")
		d.notChecked(checkMasterKey)
		d.clockAlone()
		return
	}
	d.store = store
	var keys int
	var newest time.Time
	err = store.View(ctx, func(r keystore.Reader) (err error) {
		if _, keys, err = r.Keys(ctx, keystore.KeyQuery{AllCustomers: true}); err == nil {
			newest, err = newestChange(ctx, r)
		}
		return err
	})
	if err != nil {
		d.fail(checkStore, err, "restore a backup if it is damaged")
	} else {
		d.ok(checkStore, "%s answers, %d keys", store.Identity(), keys)
	}
	d.writing(ctx, store)
	if needed, err := store.MasterKeyIDs(ctx); err != nil {
		d.fail(checkMasterKey, err, "restore a backup if the store is damaged")
	} else {
		d.ring = d.masterKey(needed, store.Identity())
	}
	d.clockAgainst(newest)
}

// offer lets the command ask the store itself for what a running server would be
// asked for, where it can be read whole.
func (d *doctor) offer(found *cli.Diagnosis) {
	switch {
	case d.store == nil:
	case d.ring == nil:
		_ = d.store.Close() // read, and written what was undone
	default:
		kind := d.app.opener.(caddy.Module).CaddyModule().ID.Name()
		svc := lifecycle.New(lifecycle.Config{Store: d.store, Keyring: d.ring, Nodes: registeredIn(d.store, kind)})
		found.Store = api.New(svc, func(*http.Request) (lifecycle.Actor, *api.AuthProblem) {
			return lifecycle.Local("doctor", true), nil
		})
		found.Close = d.store.Close
	}
}

// examined looks at a database that is not open yet, and tells which master keys
// it needs; false if there is nothing to open, or nothing that this program may
// open without changing it.
func (d *doctor) examined(ctx context.Context, e examiner) (path string, masterKeys []string, good bool) {
	found, err := e.Examine(ctx)
	path = found.where
	if found.postgres != nil {
		return path, found.masterKeyIDs, d.server(found, err)
	}
	switch {
	case err != nil:
		d.fail(checkStore, err, "make sure that this user may read it; restore a backup if it is damaged")
		return path, nil, false
	case !found.exists:
		d.missing(path)
		return path, nil, false
	case found.schema != found.newest:
		d.warn(checkSchema, fmt.Sprintf("%s has schema %d, this program uses %d and brings it there at its next start", path, found.schema, found.newest),
			"make a backup first: an older program cannot read it then")
		return path, found.masterKeyIDs, false
	}
	d.ok(checkSchema, "%d, the one that this program uses", found.schema)
	if found.mode&0o077 != 0 {
		d.warn(checkStore, fmt.Sprintf("%s was open to others (mode %04o)", path, found.mode), "run: chmod 600 "+path)
	}
	return path, found.masterKeyIDs, true
}

// missing checks that a database that is not there can be made.
func (d *doctor) missing(path string) {
	dir := existing(filepath.Dir(path))
	probe, err := os.CreateTemp(dir, ".keyreeve-doctor-*")
	if err != nil {
		d.fail(checkStore, fmt.Errorf("%s is not there and cannot be made: %w", path, err), "let the server's user write to "+dir)
		return
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		d.fail(checkStore, err, "let the server's user write to "+dir)
		return
	}
	d.warn(checkStore, path+" is not there yet; the first start makes it", "if there should be one, correct the path in `store`")
}

// writing commits a row and its removal, so that the disk is really written to.
func (d *doctor) writing(ctx context.Context, store keystore.Store) {
	_, err := store.Update(ctx, func(tx keystore.Tx) error {
		p := keystore.Preference{Owner: "doctor", Name: "writing", Value: json.RawMessage(`true`)}
		if err := tx.PutPreference(ctx, p); err != nil {
			return err
		}
		p.Value = nil
		return tx.PutPreference(ctx, p)
	})
	switch {
	case errors.Is(err, keystore.ErrFull):
		d.fail(checkWriting, err, "make room on the store's disk")
	case err != nil:
		d.fail(checkWriting, err, "make the store and its directory writable for this user")
	default:
		d.ok(checkWriting, "the store takes changes")
	}
}

// masterKey is nil where it is not good.
func (d *doctor) masterKey(needed []string, identity string) *credential.Keyring {
	ring, err := d.app.keyringFor(identity, needed, false)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(needed) == 0 && d.app.opener.Embedded():
		d.warn(checkMasterKey, "there is none yet; the first start makes one", "keep a copy of it then, apart from the database and its backups")
	case err != nil:
		d.fail(checkMasterKey, err, "restore the master key that the store was made with, readable by the server's user only (mode 0600)")
	case len(needed) == 0:
		d.ok(checkMasterKey, "%s can be read; nothing is known to depend on it", ring.CurrentID())
	default:
		d.ok(checkMasterKey, "%s is the one that the store depends on", strings.Join(needed, ", "))
	}
	return ring
}

// newestChange is the newest time that the store holds.
func newestChange(ctx context.Context, r keystore.Reader) (newest time.Time, err error) {
	events, _, err := r.AuditEvents(ctx, keystore.AuditQuery{AllCustomers: true, Limit: 1, Uncounted: true})
	if err != nil {
		return newest, err
	}
	sessions, _, err := r.ListSessions(ctx, keystore.SessionQuery{AllCustomers: true, Limit: 1})
	if err != nil {
		return newest, err
	}
	for _, e := range events {
		newest = e.At
	}
	for _, s := range sessions {
		if s.Issued.After(newest) {
			newest = s.Issued
		}
	}
	return newest, nil
}

// clockAgainst holds the clock against the newest change: one that went back
// makes tokens and locks last longer than they should.
func (d *doctor) clockAgainst(newest time.Time) {
	now := d.clock.Now()
	if behind := newest.Sub(now.Wall); behind > clockTolerance {
		d.fail(checkClock, fmt.Errorf("it says %s, but the store's newest change is of %s, %s ahead",
			now.Wall.UTC().Format(time.RFC3339), newest.UTC().Format(time.RFC3339), behind.Round(time.Second)), "set it by NTP before the server starts")
		return
	}
	d.clockAlone()
}

func (d *doctor) clockAlone() {
	now := d.clock.Now()
	if keystore.ProcessBoot(now.Boot) {
		d.warn(checkClock, "this system does not name its boot", "a lock starts over whenever the server restarts; nothing else suffers")
		return
	}
	d.ok(checkClock, "it says %s; boot %s", now.Wall.UTC().Format(time.RFC3339), now.Boot)
}
