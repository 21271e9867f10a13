package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/postgres"
	"github.com/keyreeve/keyreeve/session"
)

// onPostgres makes a gate's Caddyfile use a PostgreSQL store; options are more of the
// app's block.
func onPostgres(t testing.TB, dsn func() string, options ...string) func(string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", filepath.Join(dir, "data"))
	key := filepath.Join(dir, "master.key")
	_, err := credential.CreateMasterKeyFile(key)
	require.NoError(t, err)
	return func(s string) string {
		line := s[strings.Index(s, "store sqlite"):]
		line = line[:strings.Index(line, "\n")]
		return strings.Replace(s, line, fmt.Sprintf("store postgres %q\n\t\tmaster_key_file %s\n\t\t%s", dsn(), key, strings.Join(options, "\n\t\t")), 1)
	}
}

func fixed(text string) func() string { return func() string { return text } }

func emptyDatabase(t testing.TB) (server *pgtest.Server, name, dsn string) {
	t.Helper()
	server = pgtest.Shared(t)
	name = server.NewDatabase(t)
	return server, name, server.DSN(pgtest.Superuser, name)
}

func storeOf() *sharedStore { return active.Load().running.Load().store }

func TestAGateOnPostgreSQLKeepsItsKeysOverReloadsAndStarts(t *testing.T) {
	_, _, dsn := emptyDatabase(t)
	g := startEdited(t, "", onPostgres(t, fixed(dsn)))
	k := g.newKey("a", keystore.RoleFullAccess)
	require.Equal(t, 200, g.call(k, k.secret))
	nodes := g.nodes()
	require.Len(t, nodes, 1)
	require.Equal(t, []any{true, "serving", "postgres"}, []any{nodes[0].Self, nodes[0].State, nodes[0].Store})
	before := storeOf()
	require.NoError(t, g.load("max_stale 90s"))
	require.Same(t, before, storeOf(), "a reload keeps the store")
	require.EqualValues(t, 90, g.nodes()[0].MaxStaleSeconds)
	require.Equal(t, 200, g.call(k, k.secret))
	require.NoError(t, caddy.Stop())
	require.NoError(t, g.load(""))
	require.NotSame(t, before, storeOf())
	require.Equal(t, 200, g.call(k, k.secret))
	require.Equal(t, nodes[0].ID, g.nodes()[0].ID, "a node that has a snapshot is the same node again")
}

func TestValidatingAConfigurationConnectsToNothing(t *testing.T) {
	edit := onPostgres(t, fixed("postgres://gate@127.0.0.1:1/keyreeve"))
	g := &gateTest{t: t, dir: t.TempDir(), gateURL: "http://127.0.0.1:0", adminURL: "http://127.0.0.2:0"}
	g.upstream = newUpstream(t)
	config, err := adapt("Caddyfile", edit(g.caddyfile("")))
	require.NoError(t, err)
	require.NoError(t, provision(config))
	require.NoDirExists(t, os.Getenv("XDG_DATA_HOME"))
}

// secondNode is the app that Caddy runs once more beside it, with another dsn: to the same
// database, for who knows that.
func secondNode(t *testing.T, dsn string) *App {
	t.Helper()
	app := &App{StoreRaw: json.RawMessage(fmt.Sprintf(`{"module":"postgres","dsn":%q}`, dsn)), MasterKeyFile: active.Load().MasterKeyFile}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	require.NoError(t, app.configure(ctx))
	require.NoError(t, app.Start())
	t.Cleanup(func() { require.NoError(t, errors.Join(app.Stop(), app.Cleanup())) })
	return app
}

func TestTwoWaysToOneDatabaseAreTwoNodes(t *testing.T) {
	server, name, dsn := emptyDatabase(t)
	first := startEdited(t, "", onPostgres(t, fixed(dsn)))
	k := first.newKey("a", keystore.RoleFullAccess)
	app := active.Load()
	one := app.running.Load().store

	other := secondNode(t, server.DSNBy(server.Address(), pgtest.Superuser, name))
	two := other.running.Load().store
	require.NotSame(t, one, two)
	require.NotEqual(t, one.keys.NodeID(), two.keys.NodeID(), "one must not confirm for the other")
	nodes, err := other.nodes(two)(t.Context())
	require.NoError(t, err)
	require.Len(t, nodes, 2)

	_, _, err = two.keys.Look(t.Context(), k.clientID, two.clock.Now())
	require.NoError(t, err)
	rev, err := one.keys.Update(t.Context(), func(tx keystore.Tx) error { return tx.DeleteKey(t.Context(), k.id) })
	require.NoError(t, err)
	p := one.keys.Propagate(t.Context(), rev, 20*time.Second)
	require.Empty(t, p.Pending)
	require.Equal(t, 2, p.Confirmed)
	_, _, err = two.keys.Look(t.Context(), k.clientID, two.clock.Now())
	require.ErrorIs(t, err, keystore.ErrNotFound, "confirmed is seen")
}

func TestASessionThatWasEndedIsOverOnEveryNodeOnceThatIsAnswered(t *testing.T) {
	server, name, dsn := emptyDatabase(t)
	edit := onPostgres(t, fixed(dsn))
	g := startEdited(t, "", func(s string) string { return edit(withAuth(s)) })
	k := g.newKey("a", keystore.RoleOperator)
	here := active.Load().running.Load() // a second app takes that place
	other := secondNode(t, server.DSNBy(server.Address(), pgtest.Superuser, name)).running.Load()
	everywhere := 0
	credentials := url.Values{"client_id": {k.clientID}, "client_secret": {k.secret}}
	for path, send := range map[string]func(token string) (*http.Request, error){
		"/signout": func(token string) (*http.Request, error) {
			r, err := http.NewRequest(http.MethodPost, g.gateURL+"/signout", http.NoBody)
			r.Header.Set("Authorization", "Bearer "+token)
			return r, err
		},
		"/oauth2/v1/revoke": func(token string) (*http.Request, error) {
			r, err := http.NewRequest(http.MethodPost, g.gateURL+"/oauth2/v1/revoke", strings.NewReader("token="+token))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.SetBasicAuth(k.clientID, k.secret)
			return r, err
		},
	} {
		for range 5 {
			token := g.signIn("/signin", credentials)
			claims, err := here.tokens.Verify(t.Context(), token, here.store.clock.Now())
			require.NoError(t, err)
			require.False(t, other.store.keys.SessionEnded(claims.ID))
			r, err := send(token)
			require.NoError(t, err)
			resp, err := client.Do(r)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Less(t, resp.StatusCode, 300, path)
			if resp.Header.Get("Keyreeve-Propagation") == "confirmed=2; pending=0" {
				require.True(t, other.store.keys.SessionEnded(claims.ID), path)
				everywhere++
				continue
			}
			require.Equal(t, "confirmed=1; pending=1", resp.Header.Get("Keyreeve-Propagation"), "a busy machine may take more than two seconds")
		}
	}
	require.Positive(t, everywhere)
	v := g.atPage()
	require.Equal(t, 303, v.enter(k, k.secret))
	began := time.Now()
	status, _, _ := v.ask("/keyreeve/logout", url.Values{})
	took := time.Since(began)
	require.Equal(t, 303, status)
	p := here.store.keys.Propagate(t.Context(), here.store.keys.Position(), 0)
	require.True(t, len(p.Pending) == 0 || took >= keystore.RevokingWait, "the answer came once there were none: after %s, %v", took, p.Pending)
}

func TestASessionThatIsOverHereIsAnsweredToBeOverOnceItIsOnTheOtherNodesToo(t *testing.T) {
	server, name, dsn := emptyDatabase(t)
	edit := onPostgres(t, fixed(dsn))
	g := startEdited(t, "", func(s string) string { return edit(withAuth(s)) })
	k := g.newKey("a", keystore.RoleOperator)
	run := active.Load().running.Load() // a second app takes that place
	other := secondNode(t, server.DSNBy(server.Address(), pgtest.Superuser, name)).running.Load()
	for door, end := range map[string]func(token string) error{
		"/oauth2/v1/revoke": func(token string) error {
			r, err := http.NewRequest(http.MethodPost, g.gateURL+"/oauth2/v1/revoke", strings.NewReader("token="+token))
			if err != nil {
				return err
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.SetBasicAuth(k.clientID, k.secret)
			resp, err := client.Do(r)
			if err != nil {
				return err
			}
			return resp.Body.Close()
		},
		"the page": func(token string) error {
			return (&pageDoor{run}).SignOut(httptest.NewRequest(http.MethodPost, "/keyreeve/logout", http.NoBody), token)
		},
	} {
		token := g.signIn("/signin", url.Values{"client_id": {k.clientID}, "client_secret": {k.secret}})
		claims, err := run.tokens.Verify(t.Context(), token, run.store.clock.Now())
		require.NoError(t, err)
		decision := other.store.keys.Begin() // begun before the end, so that the other node does not confirm it
		_, err = run.tokens.Revoke(t.Context(), claims, session.Ending{Reason: "another"})
		require.NoError(t, err)
		_, err = run.tokens.Verify(t.Context(), token, run.store.clock.Now())
		require.ErrorIs(t, err, session.ErrEnded)
		began, answered := time.Now(), make(chan struct{})
		go func() {
			defer close(answered)
			err = end(token)
		}()
		select {
		case <-answered:
			require.GreaterOrEqual(t, time.Since(began), keystore.RevokingWait, door)
		case <-time.After(time.Second):
		}
		other.store.keys.End(decision)
		<-answered
		require.NoError(t, err, door)
	}
}

func TestAGateStartsAndReloadsWithTheStoreOutOfReach(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	name := server.NewDatabase(t)
	edit := onPostgres(t, fixed(server.DSNBy(server.Address(), pgtest.Superuser, name)))
	g := startEdited(t, "", edit)
	k := g.newKey("a", keystore.RoleFullAccess)
	other := g.newKey("b", keystore.RoleFullAccess)
	require.Equal(t, 200, g.call(k, k.secret))
	before := storeOf()

	server.Stop(t)
	require.Eventually(t, func() bool { _, _, lost := before.keys.Followed(); return lost }, 30*time.Second, 20*time.Millisecond)
	require.NoError(t, g.load("max_stale 4m"), "a reload needs no store")
	require.Same(t, before, storeOf())
	require.Equal(t, 200, g.call(k, k.secret), "what is known is served")
	require.Equal(t, 503, g.call(other, other.secret), "what is not is not guessed")

	require.NoError(t, caddy.Stop())
	require.NoError(t, g.load(""), "nor does a start")
	require.Equal(t, 200, g.call(k, k.secret), "from the snapshot")
	require.NoError(t, caddy.Stop())
	require.NoError(t, os.RemoveAll(os.Getenv("XDG_DATA_HOME")))
	require.NoError(t, g.load(""))
	require.Equal(t, 503, g.call(k, k.secret), "nothing is known, and nobody is let in")

	server.Start(t)
	require.Eventually(t, func() bool { return g.call(k, k.secret) == 200 }, 30*time.Second, 50*time.Millisecond)
	require.Equal(t, 200, g.call(other, other.secret))
}

func TestWhatIsWrongAndNotMerelyOutOfReachIsAnErrorAtStart(t *testing.T) {
	server, name, dsn := emptyDatabase(t)
	good := server.DSNBy(server.Address(), pgtest.Superuser, name)
	now := dsn
	g := startEdited(t, "", onPostgres(t, func() string { return now }))
	k := g.newKey("a", keystore.RoleFullAccess)
	wrongPassword := strings.Replace(good, server.Password(), "not-"+server.Password(), 1)
	refused := func(why string) {
		t.Helper()
		err := g.load("")
		require.Error(t, err)
		require.ErrorContains(t, err, why)
		require.NotContains(t, err.Error(), server.Password())
		require.Equal(t, 200, g.call(k, k.secret), "the configuration before still runs")
	}
	now = wrongPassword
	refused("password authentication failed")
	now = strings.Replace(good, "/"+name, "/nowhere", 1)
	refused("does not exist")
	now = good + "?sslmode=require"
	refused("TLS")
	// The same way to the same database, with another password: noticed before the good one is left.
	now = good
	require.NoError(t, g.load(""))
	now = wrongPassword
	refused("password authentication failed")
	now = dsn
	require.NoError(t, g.load(""))
	server.Exec(t, "SELECT 1")
	c, err := postgres.Examine(t.Context(), postgres.Options{DSN: dsn})
	require.NoError(t, err)
	require.NotEmpty(t, c.MasterKeyIDs)
	g.edit = onPostgres(t, fixed(dsn)) // with a master key of its own
	refused("wrong master key")
}

func TestAGateServesWithNoMoreThanTheGrantedRights(t *testing.T) {
	server, name, dsn := emptyDatabase(t)
	server.CreateUser(t, "least")
	t.Cleanup(func() { runSQL(t, server.DSN(pgtest.Superuser, name), "DROP OWNED BY least; DROP ROLE least") })
	now := dsn
	g := startEdited(t, "", onPostgres(t, func() string { return now }))
	script, err := os.ReadFile("../docs/postgres-grants.sql")
	require.NoError(t, err)
	runSQL(t, dsn, strings.ReplaceAll(string(script), `:"gate"`, "least"))
	before := storeOf()
	now = server.DSN("least", name)
	require.NoError(t, g.load(""))
	require.Same(t, before, storeOf(), "the same database")
	k := g.newKey("a", keystore.RoleOperator)
	require.Equal(t, 200, g.call(k, k.secret))
	for range 3 {
		require.Equal(t, 401, g.call(k, "wrong"))
	}
	require.Equal(t, 401, g.call(k, k.secret), "locked")
	require.NoError(t, caddy.Stop())
	require.NoError(t, g.load(""), "it starts with them too")
	require.Equal(t, 401, g.call(k, k.secret), "still locked")
	require.Len(t, g.nodes(), 1)
	require.Equal(t, "serving", g.nodes()[0].State)
}

func TestTheDSNComesFromAFileAndItsPasswordIsShownNowhere(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	root := server.ServeTLS(t)
	name := server.NewDatabase(t)
	dsn := server.DSNBy(server.Address(), pgtest.Superuser, name) + "?sslmode=verify-full&sslrootcert=" + root
	dir := t.TempDir()
	file, log, admin := filepath.Join(dir, "dsn"), filepath.Join(dir, "log"), freeAddress(t)
	require.NoError(t, os.WriteFile(file, []byte(dsn+"\n"), 0o600))
	edit := onPostgres(t, fixed("{file."+file+"}"))
	g := startEdited(t, "", func(s string) string {
		s = strings.Replace(s, "level ERROR", "level DEBUG\n\t\toutput file "+log, 1)
		return withAdmin(admin)(edit(s))
	})
	k := g.newKey("a", keystore.RoleOperator)
	require.Equal(t, 200, g.call(k, k.secret))
	found, err := postgres.Examine(t.Context(), postgres.Options{DSN: dsn})
	require.NoError(t, err)
	require.Contains(t, found.TLS, "TLS 1.")

	shown := map[string]string{}
	for _, path := range []string{"/config/", "/metrics", "/keyreeve/v1/nodes", "/keyreeve/v1/me", "/keyreeve/v1/audit-events"} {
		resp, err := do(newRequest(t, "http://"+admin+path))
		require.NoError(t, err)
		shown[path] = bodyOf(t, resp)
		require.Equal(t, http.StatusOK, resp.StatusCode, path)
	}
	server.Stop(t)
	require.Eventually(t, func() bool { _, _, lost := storeOf().keys.Followed(); return lost }, 30*time.Second, 20*time.Millisecond)
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	shown["log"] = string(text)
	require.Contains(t, shown["log"], "cannot be followed")
	for where, text := range shown {
		require.NotContains(t, text, server.Password(), where)
	}
	require.Contains(t, shown["/config/"], "{file."+file+"}")
}

func newUpstream(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	return s
}

func runSQL(t *testing.T, dsn, text string) {
	t.Helper()
	c, err := pgx.Connect(context.Background(), dsn) // also in a clean-up
	require.NoError(t, err)
	defer c.Close(context.Background())
	_, err = c.Exec(context.Background(), text)
	require.NoError(t, err)
}

func newRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	return r
}

func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(text)
}
