package caddymodule

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

var auditor = lifecycle.Local("test", false)

// trail is the events of an action, the newest first.
func trail(t *testing.T, action string) []lifecycle.AuditEvent {
	t.Helper()
	page, err := Service().ListAudit(context.Background(), auditor, lifecycle.AuditFilter{Action: action}, "", lifecycle.Paging{})
	require.NoError(t, err)
	return page.Items
}

func requireProved(t *testing.T) {
	t.Helper()
	out, err := Service().VerifyAudit(context.Background(), auditor, lifecycle.AuditScope{})
	require.NoError(t, err)
	require.True(t, out.OK, "%+v", out)
	require.NotZero(t, out.Events)
}

func TestATrailIsSealedFromTheStartAndStaysProvedOverAChangeOfMasterKey(t *testing.T) {
	dir := t.TempDir()
	older, newer := filepath.Join(dir, "older.key"), filepath.Join(dir, "newer.key")
	_, err := credential.CreateMasterKeyFile(newer)
	require.NoError(t, err)
	g := startGate(t, "master_key_file "+older)
	g.newKey("a", keystore.RoleFullAccess)
	requireProved(t)
	before := trail(t, "key.create")[0].MasterKeyID

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	adminURL := g.adminURL
	for range 4 { // apps start in no fixed order: ours has to come up before the server fails
		g.adminURL = "http://" + taken.Addr().String()
		require.Error(t, g.load("master_key_file "+newer+" "+older))
	}
	g.adminURL = adminURL
	g.newKey("b", keystore.RoleFullAccess)
	require.Equal(t, before, trail(t, "key.create")[0].MasterKeyID, "a configuration that did not come up seals nothing")

	require.NoError(t, g.load("master_key_file "+newer+" "+older))
	g.newKey("c", keystore.RoleFullAccess)
	require.NotEqual(t, before, trail(t, "key.create")[0].MasterKeyID)
	requireProved(t)
}

func TestARetentionIsThatOfTheConfigurationInForce(t *testing.T) {
	clock := withClock(t)
	admin := freeAddress(t)
	g := startEdited(t, "", withAdmin(admin))
	g.newKey("a", keystore.RoleFullAccess)
	clock.Advance(48 * time.Hour)
	g.newKey("b", keystore.RoleFullAccess)
	sweep := func() int {
		active.Load().running.Load().store.keys.Sweep(context.Background())
		return len(trail(t, "key.create"))
	}
	require.Equal(t, 2, sweep(), "kept for ever by default")
	const timed = "keyreeve_store_duration_seconds{operation=trim_audit}"
	before := scrape(t, admin)[timed].value
	require.NoError(t, g.load("audit_retention 25h"))
	require.Equal(t, 1, sweep())
	require.InDelta(t, before+1, scrape(t, admin)[timed].value, 0)
	requireProved(t)
}

func TestALockIsAuditedWithTheRequestThatLocked(t *testing.T) {
	g := startGate(t, "")
	k := g.newKey("a", keystore.RoleFullAccess)
	for range 3 {
		require.Equal(t, http.StatusUnauthorized, g.call(k, "wrong"+credential.NewSecret()))
	}
	locks := trail(t, "key.lock")
	require.Len(t, locks, 1)
	require.Equal(t, k.id, locks[0].Target.ID)
	denial, err := Service().ExplainRequest(context.Background(), auditor, locks[0].RequestID)
	require.NoError(t, err, "it is the id of a request that was refused")
	require.Equal(t, k.id, *denial.Recorded.KeyID)
}

func TestASignOutOverTheGateIsAuditedWithItsRequest(t *testing.T) {
	g := startEdited(t, "", func(s string) string {
		return strings.Replace(s, "\tkeyreeve {\n\t\tcredentials", "\tkeyreeve_auth\n\tkeyreeve {\n\t\tcredentials", 1)
	})
	k := g.newKey("a", keystore.RoleFullAccess)
	token := g.signIn("/signin", url.Values{"client_id": {k.clientID}, "client_secret": {k.secret}})
	require.NotEmpty(t, token)
	req, err := http.NewRequest(http.MethodPost, g.gateURL+"/signout", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	events := trail(t, "session.end")
	require.Len(t, events, 1)
	require.Equal(t, lifecycle.AuditActor{Kind: lifecycle.ActorKey, ID: k.id, Name: "a", Address: "127.0.0.1"}, events[0].Actor)
	require.NotEmpty(t, events[0].RequestID)
	require.Contains(t, string(events[0].After), "sign_out")
	require.NotContains(t, string(events[0].Before)+string(events[0].After), token)
	require.Len(t, trail(t, "signing_key.create"), 1)
	requireProved(t)
}
