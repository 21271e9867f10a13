package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata/adapt")

// adapt turns a Caddyfile into JSON; name is what origins and messages call it.
func adapt(name, text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": name})
	return config, err
}

// provision does what `caddy validate` does with a configuration.
func provision(config []byte) error {
	var c caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &c); err != nil {
		return err
	}
	c.Admin = &caddy.AdminConfig{Disabled: true}
	return caddy.Validate(&c)
}

func fixtures(t *testing.T, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, paths, pattern)
	texts := make(map[string]string, len(paths))
	for _, p := range paths {
		text, err := os.ReadFile(p)
		require.NoError(t, err)
		texts[p] = string(text)
	}
	return texts
}

func TestCaddyfileAdaptsToItsGoldenJSONWhichValidates(t *testing.T) {
	for path, text := range fixtures(t, "testdata/adapt/*.caddyfile") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".caddyfile"), func(t *testing.T) {
			config, err := adapt(path, text)
			require.NoError(t, err)
			var pretty bytes.Buffer
			require.NoError(t, json.Indent(&pretty, config, "", "  "))
			pretty.WriteByte('\n')
			// An import's origin holds the directory that the test runs in.
			dir, err := os.Getwd()
			require.NoError(t, err)
			got := strings.ReplaceAll(pretty.String(), dir+"/", "")

			golden := strings.TrimSuffix(path, ".caddyfile") + ".json"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "run `go test ./caddymodule -update` to make it")
			require.Equal(t, string(want), got)
			require.NoError(t, provision(want), "the golden must be a configuration that Caddy takes")
		})
	}
}

// blocks are the blocks of the Caddyfile's syntax, each with a Caddyfile around it.
var blocks = map[string]string{
	"keyreeve (app)": "{\n\tkeyreeve {\n\t\t%s\n\t}\n}\n",
	"lockout":        "{\n\tkeyreeve {\n\t\tlockout {\n\t\t\t%s\n\t\t}\n\t}\n}\n",
	"sessions":       "{\n\tkeyreeve {\n\t\tsessions {\n\t\t\t%s\n\t\t}\n\t}\n}\n",
	"cache":          "{\n\tkeyreeve {\n\t\tcache {\n\t\t\t%s\n\t\t}\n\t}\n}\n",
	"store postgres": "{\n\tkeyreeve {\n\t\tmaster_key {env.KEYREEVE_MASTER_KEY}\n\t\tstore postgres postgres://db.example.com/keyreeve {\n\t\t\t%s\n\t\t}\n\t}\n}\n",
	"keyreeve":       "http://api.example.com {\n\tkeyreeve {\n\t\t%s\n\t}\n}\n",
	"route":          "http://api.example.com {\n\tkeyreeve {\n\t\troute GET /{customerId} orders {\n\t\t\t%s\n\t\t}\n\t}\n}\n",
	"public":         "http://api.example.com {\n\tkeyreeve {\n\t\tpublic GET /healthz {\n\t\t\t%s\n\t\t}\n\t}\n}\n",
	"keyreeve_admin": "http://admin.example.com {\n\tkeyreeve_admin {\n\t\t%s\n\t}\n}\n",
}

var expectedWords = regexp.MustCompile(`unknown word "no_such_word" in \S+: expected (.*), at `)

// wordsOf asks the parser which words a block has: it names them when it meets
// one that it does not know.
func wordsOf(t *testing.T, block string) []string {
	t.Helper()
	_, err := adapt("Caddyfile", fmt.Sprintf(blocks[block], "no_such_word"))
	require.Error(t, err)
	found := expectedWords.FindStringSubmatch(err.Error())
	require.NotNil(t, found, err.Error())
	return regexp.MustCompile(`, | or `).Split(found[1], -1)
}

func TestGoldensHoldEveryWordOfTheSyntax(t *testing.T) {
	var all strings.Builder
	for _, text := range fixtures(t, "testdata/adapt/*.caddyfile") {
		all.WriteString(text)
	}
	for block := range blocks {
		for _, word := range wordsOf(t, block) {
			require.Regexp(t, `(?m)^\s+`+word+`\b`, all.String(), "%s of %s", word, block)
		}
	}
}

var wanted = regexp.MustCompile(`(?m)^# (adapt|load): (.*)$`)

func TestWrongCaddyfileIsAnErrorThatNamesLineAndFix(t *testing.T) {
	for path, text := range fixtures(t, "testdata/errors/*.caddyfile") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".caddyfile"), func(t *testing.T) {
			want := wanted.FindAllStringSubmatch(text, -1)
			require.NotEmpty(t, want, "the fixture says nothing of the error")
			config, err := adapt(filepath.Base(path), text)
			if want[0][1] == "load" {
				require.NoError(t, err, "expected to be found only when the configuration is loaded")
				err = provision(config)
			}
			require.Error(t, err)
			for _, w := range want {
				require.Contains(t, err.Error(), w[2])
			}
			require.NotContains(t, err.Error(), "Secret", "an error must not repeat what may be a secret")
		})
	}
}

func TestEveryOptionRefusesSurplusArgumentsAndBlocks(t *testing.T) {
	for block, around := range blocks {
		for _, word := range wordsOf(t, block) {
			t.Run(block+"/"+word, func(t *testing.T) {
				// No option takes this many arguments and this block as well.
				_, err := adapt("Caddyfile", fmt.Sprintf(around, word+" \x01 \x01 \x01 \x01 {\n\x01\n}"))
				require.Error(t, err)
				require.Regexp(t, `Caddyfile:\d+`, err.Error())
				require.Contains(t, err.Error(), "expected")
			})
		}
	}
}

func TestJSONRefusesUnknownFields(t *testing.T) {
	for field, config := range map[string]string{
		"mac_stale":  `{"apps":{"keyreeve":{"mac_stale":"5m"}}}`,
		"tries":      `{"apps":{"keyreeve":{"lockout":{"tries":3}}}}`,
		"pool":       `{"apps":{"keyreeve":{"store":{"module":"postgres","pool":8}}}}`,
		"file":       `{"apps":{"keyreeve":{"store":{"module":"sqlite","file":"x.db"}}}}`,
		"shadows":    site(`{"handler":"keyreeve","shadows":true}`),
		"ressource":  site(`{"handler":"keyreeve","routes":[{"methods":["GET"],"path":"/","ressource":"x"}]}`),
		"issuer":     site(`{"handler":"keyreeve_auth","issuer":"https://auth.example.com"}`),
		"page_title": site(`{"handler":"keyreeve_admin","page_title":"x"}`),
	} {
		require.ErrorContains(t, provision([]byte(config)), `unknown field "`+field+`"`)
	}
}

// site is a configuration of one server with one handler.
func site(handler string) string {
	return `{"apps":{"http":{"servers":{"a":{"listen":["127.0.0.1:0"],"routes":[{"handle":[` + handler + `]}]}}}}}`
}

// What a Caddyfile's parser refuses, JSON must not get past Provision.
func TestJSONIsHeldToTheSameRules(t *testing.T) {
	app := func(fields string) string { return `{"apps":{"keyreeve":{` + fields + `}}}` }
	for name, c := range map[string]struct{ config, want string }{
		"literal master key":      {app(`"master_key":["8kZxSecretMaterial"]`), "master_key 1: expected a placeholder"},
		"two sorts of master key": {app(`"master_key":["{env.A}"],"master_key_file":["b"]`), "expected only one of them"},
		"local_admin":             {app(`"local_admin":"yes"`), `local_admin "yes": expected full, read or off`},
		"max_stale":               {app(`"max_stale":-1`), "max_stale -1ns: expected 0 or more"},
		"audit_retention":         {app(`"audit_retention":"1h"`), "audit_retention 1h0m0s: expected at least 24h, or 0 for ever"},
		"lockout mode":            {app(`"lockout":{"mode":"lax"}`), `lockout mode "lax": expected strict or guard`},
		"lockout attempts":        {app(`"lockout":{"attempts":-1}`), "lockout attempts -1: expected at least 1"},
		"source_prefix":           {app(`"lockout":{"source_prefix":[32]}`), "lockout source_prefix [32]: expected"},
		"validity":                {app(`"sessions":{"max_validity":"25h"}`), "sessions max_validity 25h0m0s: expected"},
		"existing_tokens":         {app(`"lockout":{"existing_tokens":"yes"}`), `lockout existing_tokens "yes": expected refuse or allow`},
		"issuer":                  {app(`"sessions":{"issuer":"auth.example.com"}`), `sessions issuer "auth.example.com": expected a URL`},
		"issuer with a query":     {app(`"sessions":{"issuer":"https://auth.example.com/?a"}`), "expected a URL"},
		"empty audience":          {app(`"sessions":{"audience":[""]}`), "sessions audience: expected"},
		"max_per_key":             {app(`"sessions":{"max_per_key":-1}`), "sessions max_per_key -1: expected at least 1"},
		"algorithm":               {app(`"sessions":{"algorithm":"HS256"}`), `sessions algorithm "HS256": expected EdDSA, ES256 or RS256`},
		"tokens":                  {app(`"cache":{"tokens":-1}`), "cache: keys, tokens"},
		"cache":                   {app(`"cache":{"keys":-5}`), "cache: keys"},
		"postgres without a dsn":  {app(`"store":{"module":"postgres"},"master_key":["{env.A}"]`), "store postgres: a dsn is required"},
		"few connections":         {app(`"store":{"module":"postgres","dsn":"postgres:///k","max_conns":2},"master_key":["{env.A}"]`), "max_conns 2: expected at least 5"},
		"no master key":           {app(`"store":{"module":"postgres","dsn":"postgres:///k"}`), "master_key is required with this store"},
		"part of a password":      {app(`"store":{"module":"postgres","dsn":"postgres://gate:My/Secret@h/k"},"master_key":["{env.A}"]`), "written %40 and %2F"},
		"unknown store":           {app(`"store":{"module":"mysql"}`), "keyreeve.stores.mysql"},
		"credentials":             {site(`{"handler":"keyreeve","credentials":["digest"]}`), `credentials "digest": expected`},
		"header is logged":        {site(`{"handler":"keyreeve","credentials":["header"]}`), "unsafe_logs_filtered"},
		"cors":                    {site(`{"handler":"keyreeve","cors":["app.example.com"]}`), `cors "app.example.com": expected an origin`},
		"identity":                {site(`{"handler":"keyreeve","identity":"on"}`), `identity "on": expected headers, assertion or off`},
		"error_format":            {site(`{"handler":"keyreeve","error_format":"xml"}`), `error_format "xml": expected problem, zpa or caddy`},
		"route without a line":    {site(`{"handler":"keyreeve","routes":[{"methods":["GET"],"path":"/a","resource":"a"},{"methods":["GET"],"path":"b","resource":"a"}]}`), `route 2: path pattern "b" must begin with a slash`},
		"admin":                   {site(`{"handler":"keyreeve_admin","api":"yes"}`), `api "yes": expected on or off`},
		"page":                    {site(`{"handler":"keyreeve_admin","page":"yes"}`), `page "yes": expected on or off`},
		"face":                    {site(`{"handler":"keyreeve_admin","zpa_api":"yes"}`), `zpa_api "yes": expected on or off`},
	} {
		t.Run(name, func(t *testing.T) {
			err := provision([]byte(c.config))
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "Secret")
		})
	}
}

func TestGatesOfOneConfigurationShareOneApp(t *testing.T) {
	text, err := os.ReadFile("testdata/adapt/shared_app.caddyfile")
	require.NoError(t, err)
	config, err := adapt("Caddyfile", string(text))
	require.NoError(t, err)
	var c caddy.Config
	require.NoError(t, json.Unmarshal(config, &c))
	ctx, err := caddy.ProvisionContext(&c)
	require.NoError(t, err)
	app, err := ctx.App("keyreeve")
	require.NoError(t, err)
	// The app's own policy and that of each of the three gates, which all have its route.
	sets := app.(*App).sets
	require.Len(t, sets, 4)
	for _, set := range sets {
		require.True(t, set.HasResource("orders"))
	}
	require.Equal(t, "sales", app.(*App).groupOf("orders"))
	require.NoError(t, app.(*App).Cleanup())
}
