package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// shellOf is a command line of somebody: an environment, and a home that starts empty.
type shellOf struct {
	t    *testing.T
	g    *gate
	home string
	env  []string
}

// shell is one that signs in with a key's credential over --url; with no key it is
// that of whoever sits at the machine.
func (g *gate) shell(t *testing.T, k *key) *shellOf {
	t.Helper()
	s := &shellOf{t: t, g: g, home: t.TempDir()}
	s.env = []string{"HOME=" + s.home, "XDG_CONFIG_HOME=" + s.home, "XDG_DATA_HOME=" + s.home, "CADDY_ADMIN=unix/" + g.house.socket()}
	if k != nil {
		s.env = append(s.env, "KEYREEVE_CLIENT_ID="+k.clientID, "KEYREEVE_CLIENT_SECRET="+k.secret)
	}
	return s
}

func (s *shellOf) run(args ...string) result {
	s.t.Helper()
	return s.with("", args...)
}

// with gives the command a standard input.
func (s *shellOf) with(stdin string, args ...string) result {
	s.t.Helper()
	if len(s.env) > 4 {
		args = append(args, "--url", "http://"+s.g.admin)
	}
	return runCLI(s.t, s.env, stdin, args...)
}

func (s *shellOf) ok(args ...string) result {
	s.t.Helper()
	r := s.run(args...)
	require.Zero(s.t, r.code, "%v: %s", args, r.stderr)
	return r
}

// furnished is a gate on whose store every list has something to show.
func furnished(t *testing.T) (*house, *gate, key) {
	t.Helper()
	h := newHouse(t)
	g := h.demo(t, "")
	k := g.create(t, "=cmd", "role_api_read_only")
	g.token(t, k)
	locked := g.create(t, "locked", "role_api_read_only")
	g.fails(t, locked, 3)
	var source struct{ Name string }
	g.administers(t, "POST", "/v1/sources", `{"name":"idp","customer_id":"`+h.customer+`","rule":"locked","max_role_id":"role_api_read_only","owner":"@them"}`, 201, &source)
	return h, g, k
}

func TestEveryListOfTheCLIIsATableJSONYAMLAndCSV(t *testing.T) {
	t.Parallel()
	h, g, k := furnished(t)
	s := g.shell(t, nil)
	for _, list := range []struct{ verb, path, header, first string }{
		{"key list", "/v1/keys", "NAME", "id"},
		{"secret list " + k.id, "/v1/keys/" + k.id + "/secrets", "ID", "id"},
		{"lock list", "/v1/locks", "NAME", "key_id"},
		{"session list", "/v1/sessions", "KEY", "id"},
		{"role list", "/v1/roles", "NAME", "id"},
		{"customer list", "/v1/customers", "NAME", "id"},
		{"microtenant list", "/v1/microtenants", "NAME", "id"},
		{"source list", "/v1/sources", "NAME", "name"},
		{"node list", "/v1/nodes", "NAME", "name"},
		{"policy routes", "/v1/policy/routes", "GATE", "pattern"},
		{"audit list", "/v1/audit-events", "AT", "id"},
	} {
		t.Run(list.verb, func(t *testing.T) {
			s := &shellOf{t: t, g: g, home: s.home, env: s.env}
			args := strings.Fields(list.verb)
			form := func(name string) string { return s.ok(append(args, "-o", name)...).stdout }
			asJSON := form("json")
			var shown struct{ Items []map[string]any }
			require.NoError(t, json.Unmarshal([]byte(asJSON), &shown))
			require.NotEmpty(t, shown.Items)
			var api map[string]any
			g.administers(t, "GET", list.path, "", 200, &api)
			require.Equal(t, shape(api), shape(decoded(t, asJSON)), "JSON is the API's answer")

			var asYAML any
			require.NoError(t, yaml.Unmarshal([]byte(form("yaml")), &asYAML))
			require.Equal(t, shape(decoded(t, asJSON)), shape(asYAML), "YAML is the same in YAML")

			rows, err := csv.NewReader(strings.NewReader(form("csv"))).ReadAll()
			require.NoError(t, err)
			require.Len(t, rows, len(shown.Items)+1, "a header, and a row for each")
			require.Contains(t, rows[0], list.first)
			column := 0
			for rows[0][column] != list.first {
				column++
			}
			for i, item := range shown.Items {
				require.Equal(t, item[list.first], rows[i+1][column])
			}
			for _, row := range rows {
				for _, cell := range row {
					require.NotRegexp(t, `^[=+\-@\t\r]`, cell, "a cell that a spreadsheet evaluates")
				}
			}

			table := s.ok(args...)
			require.Contains(t, strings.Fields(table.stdout)[0], list.header, table.stdout)
			require.Equal(t, len(shown.Items), strings.Count(strings.TrimSpace(table.stdout), "\n"), "a header, and a line for each:\n%s", table.stdout)
			require.NotContains(t, table.stdout, "\x1b", "no colours but on a terminal")
			for _, text := range h.secrets {
				require.NotContains(t, asJSON+table.stdout, text)
			}
		})
	}
	require.Contains(t, s.ok("key", "list", "-o", "csv").stdout, ",'=cmd,", "neutralised")
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v
}

// moment is a time, or a cursor: sealed anew each time.
var moment = regexp.MustCompile(`^(\d{4}-\d\d-\d\dT[\d:.]+Z|[A-Za-z0-9_-]{40,})$`)

// lateNews is told to the store some time after it happened, so perhaps between the
// two answers.
var lateNews = regexp.MustCompile(`^last_(used|tried|seen)_`)

// shape is a value without what differs between two answers to the same question,
// and with the types that JSON and YAML share.
func shape(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			if lateNews.MatchString(name) {
				member = "(later)"
			}
			out[name] = shape(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = shape(v[i])
		}
		return out
	case string:
		return moment.ReplaceAllString(v, "(differs)")
	case nil, bool:
		return v
	case fmt.Stringer: // a time that YAML made of a text
		return "(differs)"
	}
	return fmt.Sprint(v)
}

func TestEachExitCodeOfTheCLIIsGivenForItsReason(t *testing.T) {
	t.Parallel()
	h, g, k := furnished(t)
	local, operator, readonly := g.shell(t, nil), g.shell(t, &h.operator), g.shell(t, &h.readonly)
	stranger := g.shell(t, &key{clientID: "nobody", secret: "a-secret-of-nobody"})
	customer := []string{"--customer", h.customer}
	local.ok(append([]string{"key", "create", "twin", "--role", "role_api_read_only"}, customer...)...)
	local.ok(append([]string{"key", "create", "twin", "--role", "role_api_read_only", "--microtenant", h.microtenant}, customer...)...)
	const list = `{"keys":[]}`
	for _, c := range []struct {
		code  int
		says  string
		shell *shellOf
		stdin string
		args  string
	}{
		{0, "", local, "", "key list"},
		{0, "", operator, "", "key get " + k.id},
		{1, "session_validity_seconds", operator, "", "key edit " + k.id + " --session-validity 1"},
		{1, "unix/nowhere", local, "", "key list --address unix/nowhere"},
		{2, "--nonsense", local, "", "key list --nonsense"},
		{2, "NAME", local, "", "key create"},
		{2, "nonsense", local, "", "key nonsense"},
		{2, "xml", local, "", "key list -o xml"},
		{2, "exclude each other", operator, "", "key list --address localhost:1"},
		{2, "KEYREEVE_CLIENT_ID", local, "", "key list --url http://" + g.admin},
		{2, "--yes", local, "", "key delete " + k.id},
		{4, "invalid_client", stranger, "", "key list"},
		{4, "permission_denied", readonly, "", "key list"},
		{4, "permission_denied", readonly, "version: 1\nkeys:\n  - {name: x, role: role_api_read_only}\n", "apply -f -"},
		{5, "no key has the id", local, "", "key get nothing-of-that-name"},
		{5, "not_found", operator, "", "session end ses_nothing"},
		{5, "not_found", operator, "", "source show nothing"},
		{6, "name_taken", operator, "", "key create twin --role role_api_read_only --customer " + h.customer},
		{6, "2 keys have the name", local, "", "key get twin"},
		{6, "in_use", local, "", "customer delete " + h.customer + " --yes"},
		{6, "predefined", local, "", "role edit role_operator --description x"},
		{6, "revision_mismatch", operator, list, `source push idp -f - --if-match "r0"`},
	} {
		r := c.shell.with(c.stdin, strings.Fields(c.args)...)
		require.Equal(t, c.code, r.code, "%s: %s", c.args, r.stderr)
		require.Contains(t, r.stderr, c.says, c.args)
		if c.code != 0 {
			require.Empty(t, r.stdout, "%s: data where there is none", c.args)
			require.True(t, strings.HasPrefix(r.stderr, "error: "), r.stderr)
		}
	}
	require.Equal(t, 1, local.run("doctor", "--config", h.path("nowhere")).code, "a check failed")
	verdict := local.run("policy", "check", "--key", k.id, "POST", h.applications(), "--exit-code")
	require.Equal(t, 1, verdict.code, "a gate refuses: %s", verdict.stderr)
}

// TestSecretsAreInTheOneOutputThatIsForThem makes keys and secrets in every way the
// CLI has, and looks for them everywhere else.
func TestSecretsAreInTheOneOutputThatIsForThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	s := g.shell(t, &h.operator)
	var everything bytes.Buffer // but what is for a secret
	made := func(r result, only *regexp.Regexp) string {
		t.Helper()
		found := only.FindStringSubmatch(r.stdout)
		require.NotNil(t, found, r.stdout)
		require.Equal(t, 1, strings.Count(r.stdout, found[1]), "once")
		h.secrets = append(h.secrets, found[1])
		everything.WriteString(r.stderr)
		return found[1]
	}
	inForm := map[string]*regexp.Regexp{
		"table": regexp.MustCompile(`(?m)^Client secret\s+(\S+)`), "json": regexp.MustCompile(`"client_secret": ?"([^"]+)"`),
		"yaml": regexp.MustCompile(`(?m)^client_secret: (\S+)`), "csv": regexp.MustCompile(`(?m),([^,\s]{40,})$`),
	}
	var secrets []string
	for form, only := range inForm {
		name := "made-" + form
		secrets = append(secrets, made(s.ok("key", "create", name, "--role", "role_api_read_only", "--customer", h.customer, "-o", form), only))
		secrets = append(secrets, made(s.ok("secret", "rotate", name, "-o", form), only))
		for _, look := range []string{"json", "yaml", "csv", "table"} {
			everything.WriteString(s.ok("key", "get", name, "-o", look).stdout + s.ok("secret", "list", name, "-o", look).stdout)
		}
	}
	state := "version: 1\nkeys:\n  - {name: %s, customer_id: \"" + h.customer + "\", role: role_api_read_only}\n"
	r := s.with(fmt.Sprintf(state, "applied"), "apply", "-f", "-")
	require.Zero(t, r.code, r.stderr)
	secrets = append(secrets, made(r, inForm["json"]))
	out := h.path("secrets.jsonl")
	r = s.with(fmt.Sprintf(state, "applied-too"), "apply", "-f", "-", "--secrets-out", out)
	require.Zero(t, r.code, r.stderr)
	require.Empty(t, r.stdout)
	file, err := os.ReadFile(out)
	require.NoError(t, err)
	info, err := os.Stat(out)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	secrets = append(secrets, made(result{stdout: string(file), stderr: r.stderr}, inForm["json"]))
	require.NotEqual(t, 0, s.with(fmt.Sprintf(state, "third"), "apply", "-f", "-", "--secrets-out", out).code, "an existing file is not written over")

	for _, args := range []string{"key list", "audit list --all -o json", "audit export", "audit export --format csv", "export", "export -o json", "session list -o json", "doctor"} {
		r := s.run(strings.Fields(args)...)
		everything.WriteString(r.stdout + r.stderr)
	}
	for _, secret := range append(secrets, h.operator.secret) {
		require.NotContains(t, everything.String(), secret)
		require.NotContains(t, everything.String(), url.QueryEscape(secret))
	}
	left, err := os.ReadDir(s.home)
	require.NoError(t, err)
	require.Empty(t, left, "the CLI leaves nothing in a home")
}

func TestASecretIsNoFlagAndIsNotRepeated(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2-hunter2"
	for _, args := range [][]string{
		{"key", "list", "--client-secret=" + secret}, {"key", "list", "--secret=" + secret}, {"key", "list", "--password=" + secret},
		{"key", "create", "x", "--role", "role_operator", "--client-secret=" + secret}, {"secret", "rotate", "x", "--secret=" + secret},
		{"key", "list", "--url", "https://id:" + secret + "@admin.example.com"}, {"key", "list", "--url", "https://admin.example.com/?client_secret=" + secret},
		{"key", "list", "--url", "https://admin.example.com/#" + secret},
	} {
		r := runCLI(t, nil, "", args...)
		require.Equal(t, 2, r.code, "%v: %s", args[:2], r.stderr)
		require.NotContains(t, r.stdout+r.stderr, secret)
	}
}
