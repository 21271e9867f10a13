package keyreeve_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve"
)

// childEnv tells this test binary that it is the child of a test.
const childEnv = "KEYREEVE_TEST_VALIDATES_EXAMPLE"

// unset is every variable that the example reads; its defaults are to be tested.
var unset = []string{
	"KEYREEVE_CADDY_ADMIN", "KEYREEVE_DB", "KEYREEVE_POLICY", "KEYREEVE_GATE_PORT", "KEYREEVE_GATE_HOST",
	"KEYREEVE_UPSTREAM", "KEYREEVE_ISSUER", "KEYREEVE_ADMIN_PORT", "KEYREEVE_ADMIN_HOST",
}

// Caddy fixes its directories when the process starts, so the validation is done
// in a process of its own, whose directories are new and empty.
func TestValidatingTheExampleCreatesNothing(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		validateExample(t)
		return
	}
	binary, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	child := exec.Command(binary, "-test.run=^TestValidatingTheExampleCreatesNothing$", "-test.v")
	child.Env = append(os.Environ(), childEnv+"=1")
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"} {
		sub := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(sub, 0o700))
		child.Env = append(child.Env, name+"="+sub)
	}
	child.Dir = filepath.Join(dir, "work")
	policyFile := filepath.Join(child.Dir, "examples", "zpa", "policy.yaml")
	require.NoError(t, os.MkdirAll(filepath.Dir(policyFile), 0o700))
	require.NoError(t, os.WriteFile(policyFile, keyreeve.ExamplePolicy, 0o600))

	before := listing(t, dir)
	output, err := child.CombinedOutput()
	require.NoError(t, err, string(output))
	require.Contains(t, string(output), "--- PASS")
	require.Equal(t, before, listing(t, dir), "nothing is created, neither in Caddy's directories nor in the working directory")
}

// validateExample does what `keyreeve validate --config Caddyfile.example` does.
func validateExample(t *testing.T) {
	for _, name := range unset {
		require.NoError(t, os.Unsetenv(name))
	}
	require.Contains(t, caddy.AppDataDir(), os.Getenv("XDG_DATA_HOME"))
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(keyreeve.ExampleCaddyfile, map[string]any{"filename": "Caddyfile.example"})
	require.NoError(t, err)
	require.Empty(t, warnings, "the example is formatted and has nothing doubtful")
	var config caddy.Config
	require.NoError(t, caddy.StrictUnmarshalJSON(adapted, &config))
	require.NoError(t, caddy.Validate(&config))
}

// listing is every file and directory below dir.
func listing(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	}))
	return names
}

func TestEmbeddedFilesAreThoseOfTheRepository(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("examples/zpa/policy.yaml")
	require.NoError(t, err)
	require.Equal(t, string(file), string(keyreeve.ExamplePolicy))
	file, err = os.ReadFile("Caddyfile.example")
	require.NoError(t, err)
	require.Equal(t, string(file), string(keyreeve.ExampleCaddyfile))
}
