package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/cli"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// startOrders runs a gate over orders and files, and a second one that only watches.
func startOrders(t *testing.T) (g *gateTest, watched string) {
	t.Helper()
	watched = freeAddress(t)
	g = startEdited(t, "", func(text string) string {
		text = strings.Replace(text, "route * /things/{rest...} things\n", `route * /things/{rest...} things
		route GET,POST /c/{customerId}/orders orders
		route GET /c/{customerId}/Special special
		route GET /c/{customerId}/{any} broad
		route GET /files/{name...} files {
			encoded allow
		}
`, 1)
		return text + fmt.Sprintf("http://one.example.com:%[1]s, http://two.example.com:%[1]s {\n\tkeyreeve {\n\t\tshadow\n\t\troute GET /c/{all...} other\n\t}\n\trespond ok\n}\n",
			watched[strings.LastIndex(watched, ":")+1:])
	})
	return g, watched
}

// raw sends a request whose target goes out byte for byte.
func raw(t *testing.T, address, method, target, host string, k testKey) (status int, body string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+address, http.NoBody)
	require.NoError(t, err)
	if k.clientID != "" {
		r.SetBasicAuth(k.clientID, k.secret)
	}
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nConnection: close\r\n\r\n", method, target, host, r.Header.Get("Authorization"))
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(data)
}

type refusalBody struct {
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
}

func refusalOf(t *testing.T, body string) (r refusalBody) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(body), &r), body)
	return r
}

func TestACheckSaysWhatTheGateThenDoes(t *testing.T) {
	g, _ := startOrders(t)
	address := g.gateURL[len("http://"):]
	ctx, local := context.Background(), lifecycle.Local("test", false)
	readonly := g.newKey("readonly", keystore.RoleReadOnly)
	role, _, err := Service().CreateRole(ctx, local, lifecycle.NewRole{Name: "Clerk", CustomerID: lifecycle.Some("c1"), Permissions: policy.Permissions{"orders": policy.Create}})
	require.NoError(t, err)
	_, _, err = Service().CreateMicrotenant(ctx, local, lifecycle.NewMicrotenant{ID: "m1", CustomerID: "c1", Name: "M"})
	require.NoError(t, err)
	make := func(in lifecycle.NewKey) testKey {
		in.CustomerID = "c1"
		made, _, err := Service().CreateKey(ctx, local, in)
		require.NoError(t, err)
		return testKey{id: made.ID, clientID: made.ClientID, secret: made.ClientSecret}
	}
	keys := []testKey{
		readonly, g.newKey("full", keystore.RoleFullAccess), make(lifecycle.NewKey{Name: "clerk", RoleID: role.ID}),
		make(lifecycle.NewKey{Name: "tenant", RoleID: keystore.RoleFullAccess, MicrotenantID: lifecycle.Some("m1")}),
		make(lifecycle.NewKey{Name: "off", RoleID: keystore.RoleFullAccess, Enabled: lifecycle.Some(false)}),
		make(lifecycle.NewKey{Name: "elsewhere", RoleID: keystore.RoleFullAccess, AllowedCIDRs: []string{"198.51.100.0/24"}}),
	}
	targets := []string{
		"/c/c1/orders", "/c/c2/orders", "/c/c1/orders?microtenantId=m1", "/c/c1/orders?microtenantId=m2", "/c/c1/orders?microtenantId=null",
		"/c/c1/orders?microtenantID=m1", "/c/c1/orders?access_token=x", "/c/c1/orders?x=1#y", "/c/c1/orders#y", "/c/c1/Orders", "/c/c1/orders/", "/c/c1/special", "/c/c1/Special", "/c/c1/%53pecial",
		"/c/c1/x", "/c//x", "/c/c1/../c2/orders", "/files/a%2Fb", "/files/a;b", "/files/%2e%2e/b", "/healthz", "/healthz/", "/", "/nowhere", "/things/",
	}
	reached := map[string]int{}
	for _, k := range keys {
		for _, method := range []string{"GET", "POST", "DELETE", "BREW"} {
			for _, target := range targets {
				answer, err := Service().CheckPolicy(ctx, local, lifecycle.PolicyCheck{KeyID: k.id, Method: method, Target: target, SourceAddress: "127.0.0.1", Gate: "127.0.0.1"})
				require.NoError(t, err)
				said := answer.Results[0].Decision
				reached[said.Code]++
				came := g.reached.Load()
				status, body := raw(t, address, method, target, address, k)
				if said.Allow {
					require.Equal(t, 200, status, "%s %s %s", method, target, body)
					require.Equal(t, came+1, g.reached.Load(), "it came through to the upstream")
					continue
				}
				require.Equal(t, *said.Status, status, "%s %s", method, target)
				got := refusalOf(t, body)
				require.Equal(t, got.Code, said.Code, "%s %s", method, target)

				explained, err := Service().ExplainRequest(ctx, local, got.RequestID)
				require.NoError(t, err)
				require.Equal(t, got.Code, explained.Recorded.Decision.Code)
				if got.Code != policy.InvalidRequest.Code() { // what was in the query is not kept
					require.NotNil(t, explained.Changed, "%s %s", method, target)
					require.False(t, *explained.Changed, "%s %s: %+v", method, target, explained.Results)
				}
			}
		}
	}
	for _, r := range []policy.Reason{policy.Allowed, policy.Public, policy.AmbiguousPath, policy.InvalidRequest, policy.InvalidClient, policy.NoRoute,
		policy.AmbiguousQuery, policy.MicrotenantRequired, policy.TenantMismatch, policy.PermissionDenied} {
		require.Positive(t, reached[r.Code()], "never reached: %s", r)
	}
}

func TestADenialIsExplainedByItsRequestIDOverReloads(t *testing.T) {
	g, watched := startOrders(t)
	ctx, local := context.Background(), lifecycle.Local("test", false)
	k := g.newKey("a", keystore.RoleReadOnly)
	address := g.gateURL[len("http://"):]
	_, body := raw(t, address, "POST", "/c/c1/orders?secret=hidden-in-the-query", address, k)
	denied := refusalOf(t, body)
	_, body = raw(t, address, "GET", "/c/c1/orders", address, testKey{clientID: k.clientID, secret: "a-wrong-secret"})
	wrong := refusalOf(t, body)
	_, body = raw(t, address, "GET", "/c/c1/orders", address, testKey{clientID: "claimed-and-unknown", secret: "its-secret"})
	unknown := refusalOf(t, body)
	_, body = raw(t, address, "GET", "/files/"+strings.Repeat("x", 2000), address, testKey{})
	long := refusalOf(t, body)
	status, _ := raw(t, watched, "GET", "/c/c1/orders", "two.example.com", k)
	require.Equal(t, 200, status, "the second gate only watches")
	require.NoError(t, g.load("max_stale 6m"))

	explain := func(id string) lifecycle.PolicyAnswer {
		t.Helper()
		answer, err := Service().ExplainRequest(ctx, local, id)
		require.NoError(t, err)
		return answer
	}
	answer := explain(denied.RequestID)
	require.Equal(t, k.id, *answer.Recorded.KeyID)
	require.Equal(t, "GET,POST /c/{customerId}/orders", *answer.Recorded.Route)
	require.Equal(t, "127.0.0.1", *answer.Recorded.SourceAddress)
	require.False(t, *answer.Changed)
	answer = explain(wrong.RequestID)
	require.Equal(t, k.id, *answer.Recorded.KeyID)
	require.Equal(t, "wrong secret", answer.Recorded.Decision.Detail)
	require.Nil(t, answer.Changed)
	require.Nil(t, explain(unknown.RequestID).Recorded.KeyID)
	answer = explain(long.RequestID)
	require.True(t, answer.Recorded.PathCut)
	require.Len(t, answer.Recorded.Path, maxDeniedPath)
	require.Empty(t, answer.Results)

	kept := &active.Load().running.Load().store.denials
	text := fmt.Sprintf("%+v %+v", kept.proven.ring, kept.unknown.ring)
	for _, secret := range []string{"hidden", "a-wrong-secret", "claimed", "its-secret", k.secret} {
		require.NotContains(t, text, secret)
	}
	_, err := Service().ExplainRequest(ctx, local, "00000000-0000-0000-0000-000000000000")
	var refused *lifecycle.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, lifecycle.NotFound, refused.Kind)
}

func TestAShadowGatesDenialIsMarked(t *testing.T) {
	g, watched := startOrders(t)
	k := g.newKey("a", keystore.RoleReadOnly)
	status, _ := raw(t, watched, "DELETE", "/c/c1/orders", "one.example.com", k)
	require.Equal(t, 200, status)
	ring := active.Load().running.Load().store.denials.proven.ring
	last := ring[len(ring)-1]
	answer, err := Service().ExplainRequest(context.Background(), lifecycle.Local("test", false), last.RequestID)
	require.NoError(t, err)
	require.True(t, answer.Recorded.Shadow)
	require.Equal(t, "no_route", answer.Recorded.Decision.Code)
	require.Equal(t, "one.example.com", answer.Results[0].Gate.Name)
	require.True(t, answer.Results[0].Gate.Shadow)
}

func TestGatesAreNamedByWhereTheyStand(t *testing.T) {
	g, watched := startOrders(t)
	var names []string
	for _, gate := range active.Load().running.Load().gatekeeper.Gates() {
		names = append(names, gate.Name)
	}
	// srv0 and srv1 are the adapter's, by address; the first gate is without a host.
	require.ElementsMatch(t, []string{"127.0.0.1", "one.example.com"}, names)
	gates := active.Load().running.Load().gatekeeper.Gates()
	for _, gate := range gates {
		if gate.Name == "one.example.com" {
			require.Equal(t, []string{"one.example.com", "two.example.com"}, gate.Hosts)
			require.Equal(t, []string{watched[strings.LastIndex(watched, ":"):]}, gate.Listen)
		}
	}
	require.NotEmpty(t, g.gateURL)
}

func TestTheOldestDenialMakesRoomForTheNewest(t *testing.T) {
	t.Parallel()
	var d denials
	_, ok := d.find("0")
	require.False(t, ok)
	d.add(lifecycle.Denial{RequestID: "of a key"}, true)
	for i := range denialsKept + 3 {
		d.add(lifecycle.Denial{RequestID: fmt.Sprint(i)}, false)
	}
	d.add(lifecycle.Denial{RequestID: "7", Gate: "second"}, false)
	d.add(lifecycle.Denial{RequestID: "8", Gate: "second", At: time.Unix(2, 0)}, true)
	d.add(lifecycle.Denial{RequestID: "8", Gate: "first", At: time.Unix(1, 0)}, false)
	for id, want := range map[string]bool{"0": false, "3": false, "4": false, "5": true, fmt.Sprint(denialsKept + 2): true, "of a key": true} {
		_, ok := d.find(id)
		require.Equal(t, want, ok, id)
	}
	found, _ := d.find("7")
	require.Equal(t, "second", found.Gate, "the newest of one request")
	found, _ = d.find("8")
	require.Equal(t, "second", found.Gate, "also where one gate knew the caller and another did not")
	require.Len(t, d.unknown.ring, denialsKept)
	require.LessOrEqual(t, unsafe.Sizeof(d.unknown.ring[0]), uintptr(320), "the stated memory")
}

// fenceBehind is the first block of a language under a heading of a page.
func fenceBehind(t *testing.T, page, heading, language string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), heading+"\n")
	require.True(t, found, heading)
	_, rest, found = strings.Cut(rest, "```"+language+"\n")
	require.True(t, found, language)
	block, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	return block
}

func TestTheExplanationInTheDocsIsWhatTheCommandPrints(t *testing.T) {
	const page = "../docs/policy.md"
	path := filepath.Join(t.TempDir(), "policy.yaml")
	require.NoError(t, os.WriteFile(path, []byte(fenceBehind(t, page, "## The policy file", "yaml")), 0o600))
	g := startEdited(t, "", func(text string) string {
		return strings.Replace(text, "route * /things/{rest...} things\n\t\tpublic GET /healthz", "policy "+path, 1)
	})
	ctx, local := context.Background(), lifecycle.Local("test", false)
	g.newKey("other", keystore.RoleReadOnly) // makes the customer
	role := func(name string, p policy.Permissions) string {
		made, _, err := Service().CreateRole(ctx, local, lifecycle.NewRole{Name: name, CustomerID: lifecycle.Some("c1"), Permissions: p})
		require.NoError(t, err)
		return made.ID
	}
	sales := role("Sales", policy.Permissions{"sales": policy.Full})
	made, _, err := Service().CreateKey(ctx, local, lifecycle.NewKey{Name: "ci-deploy", RoleID: sales, CustomerID: "c1"})
	require.NoError(t, err)
	asking, _, err := Service().CreateKey(ctx, local, lifecycle.NewKey{Name: "helpdesk", CustomerID: "c1", RoleID: role("Helpdesk", policy.Permissions{"keyreeve/keys": policy.View})})
	require.NoError(t, err)

	var out, errOut bytes.Buffer
	vars := map[string]string{"KEYREEVE_CLIENT_ID": asking.ClientID, "KEYREEVE_CLIENT_SECRET": asking.ClientSecret}
	root := &cobra.Command{Use: "keyreeve"}
	root.AddCommand(cli.Commands(cli.Env{Stdout: &out, Stderr: &errOut, Getenv: func(name string) string { return vars[name] }})...)
	command := strings.Fields(fenceBehind(t, page, "## Explaining a decision", "sh"))
	root.SetArgs(append(command[1:], "--url", g.adminURL))
	require.NoError(t, root.ExecuteContext(ctx), errOut.String())
	printed := strings.NewReplacer(made.ClientID, "kr1example", sales, "role_sales", "1 127.0.0.1", "1 api.example.com").Replace(out.String())
	require.Equal(t, fenceBehind(t, page, "## Explaining a decision", "text"), printed)
}
