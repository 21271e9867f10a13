package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// policyServer answers for one key, one role and a gate that denies.
type policyServer struct {
	answer string
	asked  map[string]any // the body of the check
	query  string
}

const deniedAnswer = `{"key":{"id":"key_1","name":"ci\u001b[2J","client_id":"kr1","customer_id":"acme","microtenant_id":"emea"},
"role":{"id":"role_1","name":"Reader"},
"results":[{"gate":{"number":1,"name":"api.example.com","listen":[":443"],"hosts":[],"shadow":true},
"decision":{"allow":false,"status":403,"code":"permission_denied","detail":"=cmd"},
"steps":[{"step":"path","ok":true,"detail":"plain"},{"step":"source","ok":null,"detail":"not known"},{"step":"role","ok":false,"detail":"lacks it"}],
"route":{"pattern":"/a/{id}","methods":["GET","PUT"],"resource":"things","action":"read","origin":"p.yaml:1"},
"needed":{"resource":"things","group":null,"action":"read"},"grants":[],
"rules_tried":[{"pattern":"/a/{id}","methods":["GET","PUT"],"origin":"p.yaml:1","matched":true,"outcome":"taken","why":"matches"}],"rules_total":7}]}`

func (p *policyServer) start(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch strings.TrimPrefix(r.URL.Path, "/keyreeve") {
		case "/v1/keys/key_1":
			_, _ = io.WriteString(w, `{"id":"key_1","name":"ci","client_id":"kr1"}`)
		case keysPath:
			_, _ = io.WriteString(w, `{"items":[],"next_cursor":null,"total":0}`)
		case "/v1/roles":
			_, _ = io.WriteString(w, `{"items":[{"id":"role_1","name":"Reader"}],"next_cursor":null,"total":1}`)
		case policyRoutesPath:
			p.query = r.URL.RawQuery
			_, _ = io.WriteString(w, `{"items":[{"gate":{"number":1,"name":"api.example.com"},"pattern":"/a","methods":["GET","PUT"],"public":false,"resource":"things",
				"group":"g","action":"read","origin":"p.yaml:1"},{"gate":{"number":2,"name":"x"},"pattern":"/h","methods":["*"],"public":true,"origin":"p.yaml:2"}],"next_cursor":null,"total":2}`)
		case policyCheckPath:
			p.asked = nil
			_ = json.NewDecoder(r.Body).Decode(&p.asked)
			_, _ = io.WriteString(w, p.answer)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func TestPolicyCheckAsksForWhatItsFlagsSay(t *testing.T) {
	t.Parallel()
	server := &policyServer{answer: deniedAnswer}
	address := server.start(t)
	ask := func(args ...string) result {
		return run(t, Env{}, nil, append([]string{"policy", "--address", address}, args...)...)
	}
	got := ask("check", "--key", "key_1", "--microtenant", "emea", "--from", "192.0.2.1", "--gate", "1", "GET", "/a/1?x=y")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, map[string]any{"key_id": "key_1", "method": "GET", "path": "/a/1?x=y", "microtenant_id": "emea", "source_address": "192.0.2.1", "gate": "1"}, server.asked)
	got = ask("check", "--role", "Reader", "get", "/a/1")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, map[string]any{"role_id": "role_1", "method": "get", "path": "/a/1"}, server.asked, "methods are case-sensitive, so they go out as they are")
	got = ask("explain", "req-1")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, map[string]any{"request_id": "req-1"}, server.asked)
	got = ask("routes", "--gate", "2", "-q", "a b", "--resource", "things")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, "gate=2&q=a+b&resource=things", server.query)
	require.Contains(t, got.out, "things:read")
	require.Contains(t, got.out, "public")
	require.Equal(t, ExitNotFound, ask("check", "--role", "Nobody", "GET", "/").code)
}

func TestPolicyAnswersAreWrittenForPeopleAndPrograms(t *testing.T) {
	t.Parallel()
	server := &policyServer{answer: deniedAnswer}
	address := server.start(t)
	ask := func(args ...string) result {
		return run(t, Env{}, nil, append([]string{"policy", "check", "--address", address, "--key", "key_1", "GET", "/a/1"}, args...)...)
	}
	require.Equal(t, strings.Join([]string{
		"key ci\ufffd[2J (kr1), customer acme, microtenant emea",
		"role Reader (role_1)",
		"",
		"gate 1 api.example.com (shadow: lets everything through)",
		"DENIED 403 permission_denied: =cmd",
		"├─ path       ok  plain",
		"├─ source     -   not known",
		"├─ role       NO  lacks it",
		"└─ rules tried: 1 of 7",
		"   └─ taken     GET,PUT /a/{id} (p.yaml:1)",
		"                matches",
		"",
	}, "\n"), ask().out)
	require.Equal(t, deniedAnswer+"\n", ask("-o", "json").out)
	require.Contains(t, ask("-o", "yaml").out, "code: permission_denied")
	require.Equal(t, "gate,gate_name,allow,status,code,detail,methods,pattern,resource,action\n"+
		"1,api.example.com,false,403,permission_denied,'=cmd,GET PUT,/a/{id},things,read\n", ask("-o", "csv").out)
}

func TestPolicyCheckExitsZeroUnlessAskedOtherwise(t *testing.T) {
	t.Parallel()
	denied, allowed := &policyServer{answer: deniedAnswer}, &policyServer{answer: strings.NewReplacer(
		`"allow":false,"status":403,"code":"permission_denied","detail":"=cmd"`, `"allow":true,"status":null,"code":"allowed","detail":""`).Replace(deniedAnswer)}
	for _, c := range []struct {
		server *policyServer
		args   []string
		code   int
	}{
		{denied, nil, ExitOK}, {denied, []string{"--exit-code"}, ExitError}, {allowed, []string{"--exit-code"}, ExitOK},
	} {
		got := run(t, Env{}, nil, append([]string{"policy", "check", "--address", c.server.start(t), "--key", "key_1", "GET", "/a/1"}, c.args...)...)
		require.Equal(t, c.code, got.code, got.errOut)
		require.NotEmpty(t, got.out, "the answer is shown either way")
		require.Equal(t, c.code == ExitError, strings.Contains(got.errOut, "gate 1 api.example.com"), got.errOut)
	}
	require.Contains(t, run(t, Env{}, nil, "policy", "check", "--address", allowed.start(t), "--key", "key_1", "GET", "/a/1").out, "\nALLOWED\n")
}

func TestAnExplanationSaysWhetherItWouldStillBeDenied(t *testing.T) {
	t.Parallel()
	recorded := `{"recorded":{"request_id":"r","time":"2026-05-01T12:00:00Z","gate":"api.example.com","shadow":true,"method":"GET","path":"/a/1","path_cut":CUT,
		"microtenant_id":"7","source_address":null,"decision":{"allow":false,"status":401,"code":"invalid_client","detail":"wrong secret"}}CHANGED,"results":RESULTS}`
	results := deniedAnswer[strings.Index(deniedAnswer, `"results":`)+len(`"results":`) : len(deniedAnswer)-1]
	for _, c := range []struct{ cut, changed, results, says string }{
		{"false", `,"changed":true`, results, "now it is different:"},
		{"false", `,"changed":false`, results, "now it is the same:"},
		{"false", "", results, "now, with a right credential:"},
		{"true", "", "[]", "no present decision"},
	} {
		server := &policyServer{answer: strings.NewReplacer("CUT", c.cut, "CHANGED", c.changed, "RESULTS", c.results).Replace(recorded)}
		got := run(t, Env{}, nil, "policy", "explain", "--address", server.start(t), "r")
		require.Zero(t, got.code, got.errOut)
		require.True(t, strings.HasPrefix(got.out, "recorded 2026-05-01 12:00:00Z at gate api.example.com, from -\n  GET /a/1"), got.out)
		require.Contains(t, got.out, "DENIED 401 invalid_client: wrong secret\n  let through all the same")
		require.Contains(t, got.out, c.says)
	}
}

func TestWrongUsageOfPolicyAsksNothing(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"check", "GET", "/"}, {"check", "--key", "a", "--role", "b", "GET", "/"}, {"check", "--key", "a", "GET"}, {"check", "--key", "a", "GET", "/", "x"},
		{"explain"}, {"explain", ""}, {"routes", "x"}, {"test"},
	} {
		server := &policyServer{answer: deniedAnswer}
		got := run(t, Env{}, nil, append([]string{"policy", "--address", server.start(t)}, args...)...)
		require.Equal(t, ExitUsage, got.code, "%v: %s", args, got.errOut)
		require.Empty(t, got.out)
		require.Nil(t, server.asked)
	}
}
