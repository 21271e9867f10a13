package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// checks are the outcomes of a doctor's JSON, by check.
func checks(t *testing.T, text string) map[string]Finding {
	t.Helper()
	var out struct {
		Checks []Finding
		Failed *int
	}
	require.NoError(t, json.Unmarshal([]byte(text), &out), text)
	found, failed := map[string]Finding{}, 0
	for _, f := range out.Checks {
		found[f.Check] = f
		require.NotEmpty(t, f.Detail)
		if f.Status == StatusFail {
			failed++
		}
		if f.Status != StatusOK {
			require.NotEmpty(t, f.Advice, "%s says what to do", f.Check)
		}
	}
	require.Equal(t, failed, *out.Failed)
	return found
}

// now is an environment whose clock is the server's.
func now() Env { return Env{Now: time.Now} }

func TestTheDoctorFindsAWellServer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := run(t, now(), nil, "doctor", "--address", h.address, "-o", "json")
	require.Zero(t, got.code, got.errOut)
	found := checks(t, got.out)
	require.Contains(t, found["server store"].Detail, "there is no key yet")
	require.Contains(t, found["server writing"].Detail, "not tried")

	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	before := h.mustKey(t, "get", "ci", "-o", "json").out
	for name, f := range checks(t, run(t, now(), nil, "doctor", "--address", h.address, "-o", "json").out) {
		require.Equal(t, StatusOK, f.Status, "%s: %s", name, f.Detail)
	}
	require.Equal(t, before, h.mustKey(t, "get", k.ID, "-o", "json").out, "nothing was changed")
	got = run(t, now(), nil, "doctor", "--address", h.address)
	require.Zero(t, got.code)
	require.Contains(t, got.out, "ok    server writing  the store takes changes\n")
	require.Empty(t, got.errOut)
}

func TestTheDoctorNamesWhatIsWrongWithAServer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	h.lock(t, k)
	late := Env{Now: func() time.Time { return time.Now().Add(5 * time.Minute) }}
	got := run(t, late, nil, "doctor", "--address", h.address, "-o", "json")
	require.Zero(t, got.code, "a warning is no failure")
	found := checks(t, got.out)
	require.Equal(t, StatusWarn, found["server clock"].Status)
	require.Contains(t, found["server clock"].Detail, "5m")
	require.Equal(t, StatusWarn, found["locks"].Status)
	require.Contains(t, found["locks"].Advice, "lock unlock")

	require.NoError(t, h.store.Close())
	got = run(t, now(), nil, "doctor", "--address", h.address, "-o", "json")
	require.Equal(t, ExitError, got.code)
	require.Equal(t, StatusFail, checks(t, got.out)["server store"].Status)
	require.Equal(t, "error: 1 of 3 checks failed\n", got.errOut)
}

func TestTheDoctorTellsWhatOneMayDo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.role(t, "Reader", policy.Permissions{"keyreeve/keys": policy.View, "keyreeve/locks": policy.View})
	reader := h.create(t, "reader", "--role", role, "--customer", "acme")
	stranger := h.create(t, "stranger", "--role", "role_api_read_only", "--customer", "acme")
	remote := func(k key) result {
		vars := map[string]string{"KEYREEVE_CLIENT_ID": k.ClientID, "KEYREEVE_CLIENT_SECRET": k.ClientSecret}
		return run(t, now(), vars, "doctor", "--url", "http://"+h.address+"/site", "-o", "json")
	}
	require.Equal(t, StatusWarn, checks(t, remote(reader).out)["server writing"].Status)
	require.Equal(t, StatusWarn, checks(t, remote(stranger).out)["server store"].Status)
	stranger.ClientSecret = "wrong"
	got := remote(stranger)
	require.Equal(t, ExitError, got.code)
	require.Equal(t, StatusFail, checks(t, got.out)["admin endpoint"].Status)

	readOnly := httptest.NewServer(http.StripPrefix("/keyreeve", api.New(h.service, func(*http.Request) (lifecycle.Actor, *api.AuthProblem) {
		return lifecycle.Local("test", true), nil
	})))
	t.Cleanup(readOnly.Close)
	local := run(t, now(), nil, "doctor", "--address", strings.TrimPrefix(readOnly.URL, "http://"), "-o", "json")
	require.Contains(t, checks(t, local.out)["server writing"].Advice, "local_admin full")
}

func TestTheDoctorLooksIntoAConfiguration(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	diagnosis := Diagnosis{Findings: []Finding{{Check: "key store", Status: StatusOK, Detail: "fine"}}, Admin: h.address}
	env := now()
	env.Diagnose = func(_ context.Context, path string) Diagnosis {
		require.Equal(t, "Caddyfile", path)
		return diagnosis
	}
	found := checks(t, run(t, env, nil, "doctor", "--config", "Caddyfile", "-o", "json").out)
	require.Equal(t, StatusOK, found["key store"].Status)
	require.Equal(t, StatusOK, found["admin endpoint"].Status)
	require.Equal(t, StatusOK, found["server store"].Status, "the server that runs it is looked at too")

	for admin, want := range map[string]Status{"": StatusWarn, "127.0.0.1:1": StatusWarn, "nonsense": StatusFail} {
		diagnosis.Admin = admin
		found := checks(t, run(t, env, nil, "doctor", "--config", "Caddyfile", "-o", "json").out)
		require.Equal(t, want, found["admin endpoint"].Status, admin)
	}
	diagnosis = Diagnosis{Findings: []Finding{{Check: "master key", Status: StatusFail, Detail: "two\nlines \x1b[2J", Advice: "mend it"}}}
	got := run(t, env, nil, "doctor", "--config", "Caddyfile")
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.out, "fail  master key      two; lines ")
	require.Contains(t, got.out, "-> mend it")
	require.NotContains(t, got.out, "\x1b")
	require.Contains(t, run(t, env, nil, "doctor", "--config", "Caddyfile", "-o", "csv").out, "check,status,detail,advice\nmaster key,fail,")
	require.Contains(t, run(t, env, nil, "doctor", "--config", "Caddyfile", "-o", "yaml").out, "status: fail")

	require.Equal(t, ExitUsage, run(t, env, nil, "doctor", "--config", "Caddyfile", "--address", h.address).code)
	require.Equal(t, ExitUsage, run(t, now(), nil, "doctor", "--config", "Caddyfile").code, "a build without it")
	require.Equal(t, ExitUsage, run(t, env, nil, "doctor", "-o", "xml").code)
}

// served is the admin API of another service on the house's store, acting as local.
func (h *house) served(t *testing.T, cfg lifecycle.Config) (address string) {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = h.store
	}
	handler := api.New(lifecycle.New(cfg), func(*http.Request) (lifecycle.Actor, *api.AuthProblem) { return here, nil })
	server := httptest.NewServer(http.StripPrefix("/keyreeve", handler))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestTheDoctorTellsOfNodesThatDoNotFollowTheStore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		states []string
		want   Status
		says   string
	}{
		{[]string{lifecycle.NodeServing, lifecycle.NodeServing}, StatusOK, "2, all serving"},
		{[]string{lifecycle.NodeServing, lifecycle.NodeLagging}, StatusWarn, "gate-1 is lagging since"},
		{[]string{lifecycle.NodeRefusing, lifecycle.NodeLagging}, StatusFail, "gate-0 is refusing since"},
		{[]string{lifecycle.NodeServing, lifecycle.NodeStopped}, StatusOK, "1 serving, 1 stopped"},
	} {
		var nodes []lifecycle.Node
		for i, state := range c.states {
			nodes = append(nodes, lifecycle.Node{ID: fmt.Sprint(i), Name: fmt.Sprintf("gate-%d", i), State: state})
		}
		address := h.served(t, lifecycle.Config{Keyring: h.ring, Nodes: func(context.Context) ([]lifecycle.Node, error) { return nodes, nil }})
		got := run(t, now(), nil, "doctor", "--address", address, "-o", "json")
		f := checks(t, got.out)["nodes"]
		require.Equal(t, c.want, f.Status, c.states)
		require.Contains(t, f.Detail, c.says)
		require.Equal(t, c.want == StatusFail, got.code == ExitError)
	}
}

func TestTheDoctorTellsOfVersionsThatDiffer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	nodes := []lifecycle.Node{{ID: "1", Name: "a", State: "serving", Version: "v1.2.0"}, {ID: "2", Name: "b", State: "serving", Version: "v1.3.0"},
		{ID: "3", Name: "c", State: "serving", Version: "v1.3.0"}, {ID: "4", Name: "d", State: "stopped", Version: "v1.1.0"}}
	address := h.served(t, lifecycle.Config{Keyring: h.ring, Nodes: func(context.Context) ([]lifecycle.Node, error) { return nodes, nil }})
	f := checks(t, run(t, now(), nil, "doctor", "--address", address, "-o", "json").out)["nodes"]
	require.Equal(t, StatusWarn, f.Status)
	require.Contains(t, f.Detail, "3 serving, 1 stopped; versions differ: v1.2.0 (1); v1.3.0 (2)")
}

func TestTheDoctorTellsOfARestoredStore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	address, nodes := h.amongNodes(t)
	nodes.Restore(keystore.Restore{Noticed: h.clock.Now().Wall, From: 99, To: 42, Replayed: 3})
	got := run(t, now(), nil, "doctor", "--address", address, "-o", "json")
	require.Equal(t, ExitError, got.code)
	f := checks(t, got.out)["store history"]
	require.Equal(t, StatusFail, f.Status)
	require.Contains(t, f.Detail, "from revision 99")
	require.Contains(t, f.Advice, "node accept-restore")
}

func TestTheDoctorTellsOfSourcesThatNoLongerPush(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	look := func(after time.Duration) Finding {
		env := Env{Now: func() time.Time { return h.clock.Now().Wall.Add(after) }}
		return checks(t, run(t, env, nil, "doctor", "--address", h.address, "-o", "json").out)["sources"]
	}
	require.Equal(t, "there is no external source", look(0).Detail)
	_, _, err := h.service.CreateSource(t.Context(), here, lifecycle.NewSource{Name: "idp", CustomerID: "acme", Rule: keystore.SourceReadOnly, MaxRoleID: keystore.RoleReadOnly})
	require.NoError(t, err)
	f := look(0)
	require.Equal(t, StatusWarn, f.Status)
	require.Contains(t, f.Detail, "idp has never pushed its list")
	_, _, err = h.service.PushSourceKeys(t.Context(), here, lifecycle.SourceRef{Name: "idp", CustomerID: "acme"}, lifecycle.SourcePush{}, nil)
	require.NoError(t, err)
	require.Equal(t, StatusOK, look(8*24*time.Hour).Status)
	f = look(8*24*time.Hour + time.Minute)
	require.Equal(t, StatusWarn, f.Status)
	require.Contains(t, f.Detail, "idp pushed its list last on 2026-01-02")
}

func TestTheDoctorHasTheAuditTrailVerified(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	well := checks(t, run(t, now(), nil, "doctor", "--address", h.address, "-o", "json").out)["audit trail"]
	require.Equal(t, StatusOK, well.Status, well.Detail)
	require.Contains(t, well.Detail, "3 events, none changed")
	other, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	address := h.served(t, lifecycle.Config{Keyring: other})
	got := run(t, now(), nil, "doctor", "--address", address, "-o", "json")
	require.Equal(t, ExitError, got.code)
	f := checks(t, got.out)["audit trail"]
	require.Equal(t, StatusFail, f.Status)
	require.Contains(t, f.Detail, "customer acme, event ")
	require.Contains(t, f.Detail, "unknown_master_key")
}

func TestTheDoctorAsksTheStoreItselfWhereNoServerRuns(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	closed := 0
	env := now()
	env.Diagnose = func(context.Context, string) Diagnosis {
		return Diagnosis{Admin: "127.0.0.1:1", Store: h.handler, Close: func() error { closed++; return nil }}
	}
	found := checks(t, run(t, env, nil, "doctor", "--config", "Caddyfile", "-o", "json").out)
	require.Equal(t, StatusWarn, found["admin endpoint"].Status)
	require.Equal(t, StatusOK, found["audit trail"].Status, found["audit trail"].Detail)
	require.Equal(t, StatusOK, found["sources"].Status)
	require.Equal(t, 1, closed)
}
