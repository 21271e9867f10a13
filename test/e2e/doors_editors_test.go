package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// editorsKey is a fresh key, made over the admin API.
func (g *gate) editorsKey(t *testing.T, name string) key {
	t.Helper()
	return g.create(t, name, "role_api_read_only")
}

// asOperator is a request of the operator to an address, written out.
func (g *gate) asOperator(method, target, body string, headers ...string) string {
	kind := "application/json"
	if method == "PATCH" {
		kind = "application/merge-patch+json"
	}
	lines := append([]string{g.house.operator.basic(), "Content-Type: " + kind, "Content-Length: " + itoa(len(body))}, headers...)
	return request(method, target, lines...) + body
}

// count is how many audit events there are of an action on a record.
func (g *gate) count(t *testing.T, action, target string) int {
	t.Helper()
	var page struct{ Total int }
	g.administers(t, "GET", "/v1/audit-events?action="+action+"&target_id="+target, "", 200, &page)
	return page.Total
}

func TestOfTwoEditorsWithTheSameETagExactlyOneWins(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	k := g.editorsKey(t, "edited")
	api, zpa := "/v1/keys/"+k.id, "/mgmtconfig/v1/admin/customers/"+h.customer+"/apiKeys/"+k.id
	for round := range 20 {
		now := g.api(t, "GET", api, "")
		match := "If-Match: " + now.header.Get("ETag")
		mine, theirs := fmt.Sprintf("mine %d", round), fmt.Sprintf("theirs %d", round)
		// Every other round, one of the two comes in by the ZPA face.
		address, other := g.admin, g.asOperator("PATCH", api, `{"name":"`+theirs+`"}`, match)
		if round%2 == 1 {
			address, other = g.address, g.asOperator("PUT", zpa, `{"name":"`+theirs+`","roleId":"role_api_read_only","enabled":true}`, match)
		}
		answers := atOnce(t, [2]string{g.admin, g.asOperator("PATCH", api, `{"name":"`+mine+`"}`, match)}, [2]string{address, other})
		require.Len(t, answers, 2)
		won := slices.IndexFunc(answers, func(a answer) bool { return a.status < 300 })
		require.GreaterOrEqual(t, won, 0, "round %d: %v", round, answers)
		lost := answers[1-won]
		require.Equal(t, 412, lost.status, "round %d: %s", round, lost.body)
		require.Contains(t, strings.ReplaceAll(lost.body, ".", "_"), "revision_mismatch")
		var shown struct{ Name string }
		after := g.api(t, "GET", api, "")
		require.NoError(t, json.Unmarshal([]byte(after.body), &shown))
		require.Equal(t, []string{mine, theirs}[won], shown.Name, "what the winner wrote stands")
		require.Equal(t, answers[won].header.Get("ETag"), after.header.Get("ETag"))
		require.Equal(t, round+1, g.count(t, "key.update", k.id))
	}
}

// atOnce sends each request to its address, all but the last byte of it first, so
// that they meet in the server.
func atOnce(t *testing.T, requests ...[2]string) []answer {
	t.Helper()
	answers, faults := make([]answer, len(requests)), make([]error, len(requests))
	var group sync.WaitGroup
	var ready sync.WaitGroup
	ready.Add(len(requests))
	for i, r := range requests {
		group.Add(1)
		go func() {
			defer group.Done()
			answers[i], faults[i] = exchangeLate(r[0], r[1], &ready)
		}()
	}
	group.Wait()
	for _, err := range faults {
		require.NoError(t, err)
	}
	return answers
}

func exchangeLate(address, raw string, ready *sync.WaitGroup) (answer, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err == nil {
		defer conn.Close()
		_, err = io.WriteString(conn, raw[:len(raw)-1])
	}
	ready.Done()
	if err != nil {
		return answer{}, err
	}
	ready.Wait()
	if _, err = io.WriteString(conn, raw[len(raw)-1:]); err != nil {
		return answer{}, err
	}
	if err = conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	method, _, _ := strings.Cut(raw, " ")
	return readAnswer(bufio.NewReader(conn), method)
}

func TestARequestSentAgainAfterADroppedConnectionMakesOneKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	zpa := "/mgmtconfig/v1/admin/customers/" + h.customer + "/apiKeys"
	for name, door := range map[string]struct{ address, target, body string }{
		"API":      {g.admin, "/v1/keys", `{"name":"%s","role_id":"role_api_read_only","customer_id":"` + h.customer + `"}`},
		"ZPA face": {g.address, zpa, `{"name":"%s","roleId":"role_api_read_only","enabled":true}`},
	} {
		for round := range 10 {
			// Odd rounds hang up at once; even ones when the key is there, so that
			// what was lost is the answer and nothing else.
			atLeast := round % 2
			called := fmt.Sprintf("%s %d", name, round)
			raw := g.asOperator("POST", door.target, fmt.Sprintf(door.body, called), "Idempotency-Key: "+strings.ReplaceAll(called, " ", "-"))
			conn, err := net.DialTimeout("tcp", door.address, patience)
			require.NoError(t, err)
			_, err = io.WriteString(conn, raw)
			require.NoError(t, err)
			if atLeast == 0 {
				require.Eventually(t, func() bool { return len(g.called(t, called)) == 1 }, patience, patience/1000)
			}
			require.NoError(t, conn.Close())
			g.repeated(t, door.address, raw, called, atLeast == 0)
		}
	}
}

// called are the ids of the keys of a name.
func (g *gate) called(t *testing.T, name string) (ids []string) {
	t.Helper()
	var page struct {
		Items []struct{ ID, Name string }
	}
	g.administers(t, "GET", "/v1/keys?page_size=500&q="+strings.ReplaceAll(name, " ", "%20"), "", 200, &page)
	for _, k := range page.Items {
		if k.Name == name {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// repeated sends a request again until it is no longer under way. done says that it
// is known to have been carried out before.
func (g *gate) repeated(t *testing.T, address, raw, called string, done bool) {
	t.Helper()
	var again answer
	require.Eventually(t, func() bool {
		again = send(t, address, raw)
		return again.status != 409
	}, patience, patience/1000)
	require.Equal(t, 201, again.status, again.body)
	replayed := again.header.Get("Idempotency-Replayed") == "true"
	if done {
		require.True(t, replayed, "%s: it was carried out before", called)
	}
	var out map[string]any
	require.NoError(t, json.Unmarshal([]byte(again.body), &out))
	require.Equal(t, []string{out["id"].(string)}, g.called(t, called), "one key")
	require.Equal(t, 1, g.count(t, "key.create", out["id"].(string)))
	for _, member := range []string{"client_secret", "clientSecret"} {
		if secret, there := out[member].(string); there {
			require.False(t, replayed, "a replay returns no secret")
			g.house.secrets = append(g.house.secrets, secret)
		}
	}
	// The secret that was lost is replaced by one that can be had.
	rotated := send(t, g.admin, g.asOperator("POST", "/v1/keys/"+out["id"].(string)+"/secrets", `{"previous_expires_in":0}`))
	require.Equal(t, 201, rotated.status, rotated.body)
	g.works(t, g.house.parseKey(t, rotated.body))
}
