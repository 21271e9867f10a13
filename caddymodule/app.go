// Package caddymodule is Keyreeve's face to Caddy: the app, the handlers, their
// Caddyfile syntax and life cycle. It holds no rules of its own.
package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/admin/page"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
	"github.com/keyreeve/keyreeve/session/authn"
)

func init() {
	caddy.RegisterModule(new(App))
}

// readyWithin is how long a request waits for the store to open. Apps start in
// no fixed order, so the first requests can be earlier than the store.
const readyWithin = 5 * time.Second

// Values of local_admin.
const (
	localAdminFull = "full"
	localAdminRead = "read"
	localAdminOff  = "off"
)

// App keeps the keys: one store, its caches and locks, shared by every handler
// of the configuration and kept over reloads.
type App struct {
	// Where keys are kept: a module of the namespace `keyreeve.stores`.
	// Default: `sqlite` in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=keyreeve.stores inline_key=module"`

	// Files with the master keys that verifiers depend on, one each; placeholders
	// are replaced. The first is the current one, the others are still read.
	// Default for an embedded store: one made once (mode 0600) at
	// `keyreeve/master.key` in Caddy's configuration directory. Keep it apart from
	// the database and its backups.
	MasterKeyFile []string `json:"master_key_file,omitempty"`

	// The master keys themselves, as placeholders such as `{env.KEYREEVE_MASTER_KEY}`.
	// Instead of files.
	MasterKey []string `json:"master_key,omitempty"`

	// What happens after wrong secrets.
	Lockout *LockoutConfig `json:"lockout,omitempty"`

	// The lifetime of sessions.
	Sessions *SessionsConfig `json:"sessions,omitempty"`

	// The bounds of the caches.
	Cache *CacheConfig `json:"cache,omitempty"`

	// How long known keys are served while the store is out of reach. 0 refuses as
	// soon as the loss is noticed. Default: 5m.
	MaxStale *caddy.Duration `json:"max_stale,omitempty"`

	// The file from which this node is started again while the store is out of reach, its
	// journal beside it; placeholders are replaced. Or `off`. It holds what the cache holds,
	// encrypted under a key from the master key: verifiers, no secrets and no tokens.
	// Default: in Caddy's data directory, `keyreeve/snapshot-` and a name for the store;
	// `off` for an embedded store.
	Snapshot string `json:"snapshot,omitempty"`

	// What Caddy's own admin endpoint may do under `/keyreeve/`: `full` (over
	// loopback or a unix socket only), `read` or `off`. Default: `full`.
	LocalAdmin string `json:"local_admin,omitempty"`

	// How long audit events are kept, at least 24h; what is kept stays provable.
	// 0 is for ever. Default: 0.
	AuditRetention caddy.Duration `json:"audit_retention,omitempty"`

	// Policy files that every gate obeys besides its own.
	Policy []string `json:"policy,omitempty"`

	opener   StoreOpener
	settings authn.Settings
	sizes    cacheSizes
	sessions session.Settings
	files    []*policy.File
	sets     []*policy.Set // the app's own, then each gate's
	gates    []*Gate       // as they were provisioned
	logger   *zap.Logger
	events   *emitter

	// offline: the store was opened for a command, and no request is decided on. visit
	// is that command's, nil otherwise.
	offline bool
	visit   *visit
	// shared names this configuration's share of the store, once it holds one.
	shared  string
	running atomic.Pointer[running]
	opened  chan struct{}
	// previous was active before this app, to be so again if the configuration
	// does not come up as a whole.
	previous *App
}

// running is what a started app offers to its handlers.
type running struct {
	store  *sharedStore
	ring   *credential.Keyring
	tokens *session.Tokens
	auth   *authn.Authenticator
	keys   *lifecycle.Service
	// gatekeeper answers administrators for the gates.
	gatekeeper *gatekeeper
	api        *api.API     // on a site
	face       http.Handler // the ZPA-compatible one, on a site
	page       *page.Page   // on a site
	local      http.Handler // on Caddy's own admin endpoint, acting as `local`
	// noteFailure is the app's.
	noteFailure func(*http.Request, *authn.Result)
}

// active is the app of the configuration in force, for Caddy's admin endpoint:
// its routers are made before the apps and never cleaned up.
var active atomic.Pointer[App]

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keyreeve", New: func() caddy.Module { return new(App) }}
}

// Provision reads the configuration. It opens and creates nothing: it also runs
// for a configuration that is only validated.
func (a *App) Provision(ctx caddy.Context) error {
	var err error
	if a.events, err = newEmitter(ctx); err != nil {
		return err
	}
	if err := registerMetrics(ctx); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if err := a.configure(ctx); err != nil {
		return err
	}
	if p, ok := a.opener.(*PostgresStore); ok && p.passwordInClear() {
		a.logger.Warn(passwordInClear)
	}
	return nil
}

// configure reads the app's own configuration: all that is needed of it where no
// other app is around, as on the command line.
func (a *App) configure(ctx caddy.Context) (err error) {
	a.logger = ctx.Logger()
	a.opened = make(chan struct{})
	if len(a.StoreRaw) == 0 {
		a.StoreRaw = json.RawMessage(`{"module":"sqlite"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("key store: %w", err)
	}
	a.opener = mod.(StoreOpener)
	if a.settings, err = a.Lockout.settings(); err != nil {
		return err
	}
	a.settings.MaxStale = defaultMaxStale
	if a.MaxStale != nil {
		a.settings.MaxStale = time.Duration(*a.MaxStale)
	}
	if a.settings.MaxStale < 0 {
		return fmt.Errorf("max_stale %s: expected 0 or more", a.settings.MaxStale)
	}
	if a.sessions, err = a.Sessions.settings(); err != nil {
		return err
	}
	if a.sizes, err = a.Cache.sizes(); err != nil {
		return err
	}
	if err := checkAuditRetention(a.AuditRetention); err != nil {
		return err
	}
	if err := a.checkSnapshot(); err != nil {
		return err
	}
	switch a.LocalAdmin {
	case "":
		a.LocalAdmin = localAdminFull
	case localAdminFull, localAdminRead, localAdminOff:
	default:
		return fmt.Errorf("local_admin %q: expected full, read or off", a.LocalAdmin)
	}
	if err := a.checkMasterKeys(); err != nil {
		return err
	}
	if !a.opener.Embedded() && len(a.MasterKey)+len(a.MasterKeyFile) == 0 {
		return errNoMasterKey
	}
	return a.loadPolicy()
}

func (a *App) loadPolicy() error {
	var err error
	if a.files, err = loadPolicyFiles(a.Policy); err != nil {
		return err
	}
	set, err := policy.Compile(a.files, nil)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	a.sets = []*policy.Set{set}
	return nil
}

// groupOf is the group of a resource in the first policy that gives it one. The
// sets are complete before the app starts.
func (a *App) groupOf(resource string) string {
	for _, set := range a.sets {
		if group := set.GroupOf(resource); group != "" {
			return group
		}
	}
	return ""
}

// Start opens the store, or joins the configuration before this one in using it.
func (a *App) Start() error {
	// From here on, so that whoever comes to the admin endpoint meanwhile waits.
	a.previous = active.Swap(a)
	if err := a.start(); err != nil {
		return errors.Join(err, a.Stop())
	}
	return nil
}

func (a *App) start() error {
	identity, err := a.opener.Identity()
	if err != nil {
		return err
	}
	// Another snapshot is another node, where there may be several.
	key := identity
	if path := a.snapshotPath(identity); path != "" && !a.opener.Embedded() {
		key += " snapshot " + path
	}
	shared, err := a.openShared(key, identity)
	if err != nil {
		return err
	}
	a.shared = key
	ring, err := a.join(shared)
	if err != nil {
		a.release()
		return err
	}
	a.tune(shared, ring)
	sessions := a.sessions
	sessions.MaxStale = a.settings.MaxStale
	tokens := session.NewTokens(shared.keys, ring, shared.tokens, sessions)
	auth := authn.New(shared.keys, ring, tokens, a.settings)
	auth.RequestID = requestIDIn
	propagation := shared.keys.Propagate
	if a.offline {
		a.visit = newVisit(shared.keys.Store())
		if _, registered := keystore.As[keystore.Registry](shared.keys.Store()); !registered {
			propagation = a.visit.propagation
		}
	}
	keeper := &gatekeeper{store: shared, auth: auth, gates: a.placeGates()}
	run := &running{
		store:      shared,
		ring:       ring,
		tokens:     tokens,
		auth:       auth,
		gatekeeper: keeper,
		keys: lifecycle.New(lifecycle.Config{
			Store: shared.keys, Keyring: ring, GroupOf: a.groupOf,
			DefaultValidity: a.sessions.DefaultValidity, MaxValidity: a.sessions.MaxValidity,
			Lockout:   func() policy.Lockout { return a.settings.Lockout },
			Notify:    a.events.administered,
			FlushUses: shared.keys.FlushUses, Nodes: a.nodes(shared),
			Gatekeeper: keeper, Propagation: propagation,
		}),
	}
	run.noteFailure = a.noteFailure
	run.api = a.newAPI(run, run.authenticate)
	run.face = a.newFace(run)
	run.page = a.newPage(run)
	run.local = a.localAPI(run)
	a.running.Store(run)
	close(a.opened)
	if _, _, lost := shared.keys.Followed(); !lost { // else it was told that it is out of reach
		a.logger.Info("key store ready", zap.String("store", identity), zap.Int64("revision", int64(shared.keys.Position())))
	}
	return nil
}

// tune applies this configuration to what it shares with others.
func (a *App) tune(shared *sharedStore, ring *credential.Keyring) {
	shared.force.Store(&inForce{app: a, ring: ring, way: a.way()})
	a.reconnect(shared)
	shared.keys.Store().SealAudit(ring)
	shared.keys.Resize(a.sizes.CacheSizes)
	shared.tokens.Resize(a.sizes.tokens)
	shared.keys.SetLockout(a.settings.Lockout)
	shared.keys.SetAuditRetention(time.Duration(a.AuditRetention))
	if !a.offline {
		shared.keys.Join(a.nodeInfo(shared), a.settings.MaxStale)
	}
}

// Stop leaves the admin endpoint: to the next configuration, which has taken it
// already, or back to the one before where this one did not come up.
func (a *App) Stop() error {
	previous := a.previous
	a.previous = nil
	if !active.CompareAndSwap(a, previous) {
		// Nothing is handed back to what has ended.
		if next := active.Load(); next != nil && next.previous == a {
			next.previous = nil
		}
		return nil
	}
	if previous != nil {
		if run := previous.running.Load(); run != nil {
			previous.tune(run.store, run.ring)
		}
	}
	return nil
}

// Cleanup gives up this configuration's share of the store.
func (a *App) Cleanup() error { return a.release() }

func (a *App) release() error {
	if a.shared == "" {
		return nil
	}
	_, err := runtimes.Delete(a.shared)
	a.shared = ""
	return err
}

// ready is the running state, waited for while the store opens; nil if it does not.
func (a *App) ready(ctx context.Context) *running {
	if r := a.running.Load(); r != nil {
		return r
	}
	timer := time.NewTimer(readyWithin)
	defer timer.Stop()
	select {
	case <-a.opened:
	case <-timer.C:
	case <-ctx.Done():
	}
	return a.running.Load()
}

// Service is the key administration of the configuration in force; nil if none
// is running. It is for programs that run Caddy in their own process.
func Service() *lifecycle.Service {
	if a := active.Load(); a != nil {
		if r := a.running.Load(); r != nil {
			return r.keys
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
