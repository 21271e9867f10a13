package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is that of the checkout, where xcaddy.toml and go.mod are.
const root = "../.."

// required is the version of a module in go.mod, "" if it is not required.
func required(t *testing.T, module string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(module) + ` (v\S+)`).FindSubmatch(text)
	if m == nil {
		return ""
	}
	return string(m[1])
}

func TestTheDeclaredVersionsAreGoMods(t *testing.T) {
	t.Parallel()
	b, err := readBuild(filepath.Join(root, "xcaddy.toml"))
	require.NoError(t, err)
	require.Equal(t, required(t, "github.com/caddyserver/caddy/v2"), b.caddyVersion)
	require.Equal(t, dependency{module: "github.com/keyreeve/keyreeve", replacement: "."}, b.plugins[0])
	for _, d := range append(b.plugins[1:], b.replacements...) {
		if v := required(t, d.module); v != "" && d.version != "" {
			require.Equal(t, v, d.version, d.module)
		}
	}
	require.Empty(t, required(t, "github.com/caddyserver/xcaddy"), "a tool, not a part")
}

func TestTheDryRunPrintsTheCommand(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	require.Zero(t, run([]string{"-n", "-C", root}, &out, &errOut), errOut.String())
	require.Equal(t, `cd ../.. && CGO_ENABLED=0 XCADDY_GO_BUILD_FLAGS='-trimpath '\''-ldflags=-s -w'\''' `+
		`go run github.com/caddyserver/xcaddy/cmd/xcaddy@v0.4.7 build `+required(t, "github.com/caddyserver/caddy/v2")+
		` --with github.com/keyreeve/keyreeve=. --output bin/caddy`+"\n", out.String())
	require.Empty(t, errOut.String())
}

// declare writes an xcaddy.toml with modules beside it.
func declare(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for _, module := range []string{"here", "fork"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, module), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, module, "go.mod"), []byte("module x\n"), 0o600))
	}
	name := filepath.Join(dir, "xcaddy.toml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func TestEverythingDeclaredBecomesAnArgument(t *testing.T) {
	t.Parallel()
	name := declare(t, `
caddy_version = "v2.11.9-beta.1"
output = "out dir/it's caddy"
build_flags = ["-tags=a b", "-ldflags=-X main.who='me'"]

[[plugins]]
module = "github.com/keyreeve/keyreeve"
version = "v1.2.3"
[[plugins]]
module = "example.com/other/v2"
version = "v2.0.0"
replacement = "./here"
[[plugins]]
module = "example.com/third"

[[replacements]]
module = "golang.org/x/net"
replacement = "example.com/net@v0.1.0"
[[replacements]]
module = "golang.org/x/text"
version = "v0.43.0"
replacement = "./fork"
`)
	b, err := readBuild(name)
	require.NoError(t, err)
	c := b.command(".")
	require.Equal(t, []string{"CGO_ENABLED=0", `XCADDY_GO_BUILD_FLAGS='-tags=a b' '-ldflags=-X main.who='\''me'\'''`}, c.env)
	require.Equal(t, []string{"go", "run", "github.com/caddyserver/xcaddy/cmd/xcaddy@v0.4.7", "build", "v2.11.9-beta.1",
		"--with", "github.com/keyreeve/keyreeve@v1.2.3", "--with", "example.com/other/v2@v2.0.0=./here", "--with", "example.com/third",
		"--replace", "golang.org/x/net=example.com/net@v0.1.0", "--replace", "golang.org/x/text@v0.43.0=./fork",
		"--output", "out dir/it's caddy"}, c.args)

	// A shell reads the printed line as these very words.
	printed := strings.Replace(c.String(), " go run ", " env printf '%s\\n' ", 1)
	shell, err := exec.Command("sh", "-c", printed).Output()
	require.NoError(t, err)
	require.Equal(t, strings.Join(c.args[2:], "\n")+"\n", string(shell))
	shell, err = exec.Command("sh", "-c", strings.Replace(c.String(), " go run ", " printenv XCADDY_GO_BUILD_FLAGS #", 1)).Output()
	require.NoError(t, err)
	require.Equal(t, strings.TrimPrefix(c.env[1], "XCADDY_GO_BUILD_FLAGS=")+"\n", string(shell))
}

func TestWithoutFlagsXcaddysOwnStand(t *testing.T) {
	t.Parallel()
	b, err := readBuild(declare(t, "caddy_version = \"v2.11.9\"\noutput = \"caddy\"\n[[plugins]]\nmodule = \"example.com/a\"\n"))
	require.NoError(t, err)
	require.Equal(t, []string{"CGO_ENABLED=0"}, b.command(".").env)
}

func TestWhatIsWrongIsNamedWithItsLine(t *testing.T) {
	t.Parallel()
	const head, plugin = "caddy_version = \"v2.11.9\"\noutput = \"caddy\"\n", "[[plugins]]\nmodule = \"example.com/a\"\n"
	for _, c := range []struct{ name, text, want string }{
		{"not TOML", head + "output is caddy\n", ":3: expected"},
		{"a name twice", head + "output = \"b\"\n" + plugin, ":3: Key 'output' has already been defined"},
		{"nothing", "", ":1: caddy_version: is missing"},
		{"no output", "caddy_version = \"v2.11.9\"\n" + plugin, ":1: output: is missing"},
		{"no plugins", head, ":1: plugins: is missing"},
		{"no module", head + "\n[[plugins]]\nversion = \"v1.0.0\"\n", ":4: plugins[0].module: is missing"},
		{"no module in the second", head + plugin + "\n[[plugins]]\nversion = \"v1.0.0\"\n", ":6: plugins[1].module: is missing"},
		{"an empty value", "caddy_version = \"\"\noutput = \"a\"\n" + plugin, ":1: caddy_version: is empty"},
		{"an unknown name", head + "build_flag = [\"-x\"]\n" + plugin, ":3: build_flag: is unknown, expected caddy_version"},
		{"a name in another case", "Caddy_Version = \"v2.11.9\"\n" + head + plugin, ":1: Caddy_Version: is unknown"},
		{"an unknown table", head + plugin + "[extra]\na = 1\n", ":5: extra: is unknown"},
		{"an unknown name in a plugin", head + plugin + plugin[:11] + "\nmodule = \"example.com/b\"\npath = \".\"\n", ":7: plugins[1].path: is unknown, expected module, version, replacement"},
		{"a number for a string", "caddy_version = 2\noutput = \"a\"\n" + plugin, ":1: caddy_version: is a whole number, expected a string"},
		{"a string for a list", head + "build_flags = \"-x\"\n" + plugin, ":3: build_flags: is a string, expected a list"},
		{"a number in a list", head + "build_flags = [\"-x\", 3]\n" + plugin, ":3: build_flags: holds a whole number"},
		{"one table for several", head + "[plugins]\nmodule = \"example.com/a\"\n", ":3: plugins: is one table, expected tables, each begun by [[plugins]]"},
		{"plugins as a list of strings", head + "plugins = [\"example.com/a\"]\n", ":3: plugins: is a list, expected tables"},
		{"a date", head + "build_flags = 2020-01-01\n" + plugin, ":3: build_flags: is a date or time"},
		{"a branch for a version", "caddy_version = \"master\"\noutput = \"a\"\n" + plugin, ":1: caddy_version: \"master\" is no released version"},
		{"latest for a version", head + plugin + "version = \"latest\"\n", ":5: plugins[0].version: \"latest\" is no released version"},
		{"a flag for a module", head + "[[plugins]]\nmodule = \"--output=x\"\n", ":4: plugins[0].module: \"--output=x\" is no module path"},
		{"a URL for a module", head + "[[plugins]]\nmodule = \"https://example.com/a\"\n", ":4: plugins[0].module: "},
		{"a version in a module", head + "[[plugins]]\nmodule = \"example.com/a@v1.0.0\"\n", ":4: plugins[0].module: "},
		{"a plugin twice", head + plugin + plugin, ":6: plugins[1].module: example.com/a is declared twice"},
		{"a flag for the output", "caddy_version = \"v2.11.9\"\noutput = \"--pgo\"\n" + plugin, ":2: output: \"--pgo\" would be taken for a flag"},
		{"an output flag", head + "build_flags = [\"-o=x\"]\n" + plugin, ":3: build_flags: holds \"-o=x\"; where the program goes is said by output"},
		{"a flag's value apart", head + "build_flags = [\"-tags\", \"a\"]\n" + plugin, ":3: build_flags: holds \"a\", expected flags"},
		{"a replacement that is none", head + plugin + "replacement = \"fork\"\n", ":5: plugins[0].replacement: \"fork\" is neither a directory"},
		{"a directory without a module", head + plugin + "replacement = \"./none\"\n", ":5: plugins[0].replacement: ./none holds no Go module"},
		{"a directory xcaddy cannot take", head + plugin + "replacement = \"./a b\"\n", ":5: plugins[0].replacement: \"./a b\" holds a space"},
		{"a replacement of nothing", head + plugin + "[[replacements]]\nmodule = \"example.com/b\"\n", ":5: replacements[0].replacement: is missing"},
		{"plugins as inline tables", head + "plugins = [{module = \"example.com/a\"}]\n", ":3: plugins: is a list, expected tables"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name := declare(t, c.text)
			_, err := readBuild(name)
			require.ErrorContains(t, err, name+c.want)
		})
	}
}

func TestAllThatIsWrongIsToldAtOnce(t *testing.T) {
	t.Parallel()
	_, err := readBuild(declare(t, "caddy_version = 1\noutputs = \"a\"\n[[plugins]]\n"))
	require.Len(t, strings.Split(err.Error(), "\n"), 4)
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	good := declare(t, "caddy_version = \"v2.11.9\"\noutput = \"caddy\"\n[[plugins]]\nmodule = \"example.com/a\"\n")
	bad := declare(t, "caddy_version = 2\n")
	for _, c := range []struct {
		name        string
		args        []string
		code        int
		out, errOut string
	}{
		{"help teaches", []string{"-help"}, 0, "[[plugins]]", ""},
		{"long help too", []string{"--help"}, 0, "-file name", ""},
		{"a good file", []string{"-n", "-file", good}, 0, " go run " + xcaddy + " build v2.11.9 --with example.com/a --output caddy", ""},
		{"a file by its directory", []string{"-n", "-C", filepath.Dir(good)}, 0, "cd " + quote(filepath.Dir(good)) + " && ", ""},
		{"a bad file", []string{"-n", "-file", bad}, 1, "", ":1: caddy_version: is a whole number"},
		{"a bad file is not run", []string{"-file", bad}, 1, "", ":1: caddy_version"},
		{"no file", []string{"-C", t.TempDir()}, 1, "", "root of the checkout"},
		{"an unknown flag", []string{"-x"}, 2, "", "-help"},
		{"an argument", []string{"-n", "build"}, 2, "", `unexpected argument "build"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			require.Equal(t, c.code, run(c.args, &out, &errOut))
			require.Contains(t, out.String(), c.out)
			require.Contains(t, errOut.String(), c.errOut)
			if c.code != 0 {
				require.Empty(t, out.String())
			}
		})
	}
}

func TestAFailedBuildExitsOneAndShowsItsCommand(t *testing.T) {
	t.Parallel()
	err := command{dir: t.TempDir(), env: []string{"A=b c"}, args: []string{"sh", "-c", "exit 3"}}.run(os.Stdout, os.Stderr)
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "A='b c' sh -c 'exit 3'")
}
