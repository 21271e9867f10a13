package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shownKey is what the admin API tells of a key's last use and of its secrets.
type shownKey struct {
	LastUsedAt      *time.Time `json:"last_used_at"`
	LastUsedAddress *string    `json:"last_used_address"`
	LastUsedRoute   *string    `json:"last_used_route"`
}

type shownSecret struct {
	State            string  `json:"state"`
	LastTriedAddress *string `json:"last_tried_address"`
	LastUsedAddress  *string `json:"last_used_address"`
}

// administers asks the admin API as the operator and reads its answer.
func (g *gate) administers(t *testing.T, method, path, body string, status int, into any) {
	t.Helper()
	headers := []string{g.house.operator.basic(), "Content-Type: application/json", "Content-Length: " + itoa(len(body))}
	a := send(t, g.admin, request(method, path, headers...)+body)
	require.Equal(t, status, a.status, a.body)
	require.NoError(t, json.Unmarshal([]byte(a.body), into), a.body)
}

func (g *gate) shown(t *testing.T, k key) (s shownKey) {
	t.Helper()
	g.administers(t, "GET", "/v1/keys/"+k.id, "", 200, &s)
	return s
}

func TestACallThroughTheGateShowsAsLastUse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	k := g.create(t, "nightly", "role_api_read_only")
	require.Nil(t, g.shown(t, k).LastUsedAt)
	began := time.Now().Add(-time.Second)
	require.Equal(t, 200, g.get(t, h.applications(), bearer(g.token(t, k))).status)
	const route = "/mgmtconfig/v1/admin/customers/{customerId}/application"
	var shown shownKey
	require.Eventually(t, func() bool { // it is stored behind the requests
		shown = g.shown(t, k)
		return shown.LastUsedRoute != nil
	}, patience, 50*time.Millisecond)
	require.Equal(t, []string{route, "127.0.0.1"}, []string{*shown.LastUsedRoute, *shown.LastUsedAddress})
	require.WithinRange(t, *shown.LastUsedAt, began, time.Now())
	require.Contains(t, g.cli(t, "key", "get", "nightly"), "from 127.0.0.1 on "+route)
	require.Contains(t, g.cli(t, "node", "list"), "serving")

	last := g.create(t, "last", "role_api_read_only")
	require.Equal(t, 200, g.get(t, h.applications(), last.basic()).status)
	g = g.restart(t, "")
	require.Equal(t, route, *g.shown(t, last).LastUsedRoute, "what was not stored yet was at the end")
	for _, called := range []key{k, last} { // a sign-in is no call
		var usage struct {
			Calls int `json:"calls_24h"`
			Hours []struct{ Calls int }
		}
		g.administers(t, "GET", "/v1/keys/"+called.id+"/usage", "", 200, &usage)
		require.Equal(t, 1, usage.Calls)
		require.Equal(t, 1, usage.Hours[22].Calls+usage.Hours[23].Calls, "the hour may have ended meanwhile")
	}
	require.Contains(t, g.cli(t, "key", "usage", "nightly", "-o", "csv"), k.id+",")
}

func TestASecretThatWasRotatedAwayShowsAsTriedAndIsTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.run(t, &site{global: "debug", gate: "policy " + h.policyFile(t), upstream: newUpstream(t).url})
	k := g.create(t, "lagging", "role_api_read_only")
	var rotated struct {
		ClientSecret string `json:"client_secret"`
	}
	g.administers(t, "POST", "/v1/keys/"+k.id+"/secrets", `{"previous_expires_in":0}`, 201, &rotated)
	h.secrets = append(h.secrets, rotated.ClientSecret)
	for range 5 { // more than lock
		g.isRefused(t, k)
	}
	renewed := k
	renewed.secret = rotated.ClientSecret
	g.works(t, renewed)
	require.Contains(t, g.Said(), "retired secret used")
	require.Contains(t, g.Said(), "keyreeve.retired_secret_used", "Caddy logs each event at level DEBUG")
	require.Eventually(t, func() bool {
		var list struct{ Items []shownSecret }
		g.administers(t, "GET", "/v1/keys/"+k.id+"/secrets", "", 200, &list)
		require.Len(t, list.Items, 2)
		now, old := list.Items[0], list.Items[1]
		require.Equal(t, []string{"live", "retired"}, []string{now.State, old.State})
		require.Nil(t, now.LastTriedAddress)
		return old.LastTriedAddress != nil && *old.LastTriedAddress == "127.0.0.1" && now.LastUsedAddress != nil
	}, patience, 50*time.Millisecond)
}
