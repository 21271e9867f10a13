package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// exampleFile is a file of the example.
func exampleFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(exampleDir, name))
	require.NoError(t, err)
	return string(text)
}

// variables are those that a Caddyfile takes from the environment.
func variables(caddyfile string) (names []string) {
	for _, found := range regexp.MustCompile(`\{\$([A-Z_]+)[:}]`).FindAllStringSubmatch(caddyfile, -1) {
		names = append(names, found[1])
	}
	return names
}

// composeFile is what is looked at of a compose file.
type composeFile struct {
	Services map[string]struct {
		Image       string
		User        string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		CapAdd      []string `yaml:"cap_add"`
		Privileged  bool
		SecurityOpt []string       `yaml:"security_opt"`
		DependsOn   map[string]any `yaml:"depends_on"`
		Environment map[string]string
		Command     any
		Ports       []string
		Secrets     []string
		Networks    []string
		Volumes     []string
		Healthcheck any
	}
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]any
	Secrets  map[string]struct{ File string }
}

func TestTheExamplesComposeFileRefersOnlyToWhatThereIs(t *testing.T) {
	var c composeFile
	require.NoError(t, yaml.Unmarshal([]byte(exampleFile(t, "compose.yaml")), &c))
	dir := t.TempDir()
	require.NoError(t, exec.Command("sh", filepath.Join(exampleDir, "secrets.sh"), filepath.Join(dir, "secrets")).Run())
	for name, s := range c.Secrets {
		require.FileExists(t, filepath.Join(dir, s.File), "secrets.sh makes no %s", name)
	}
	for name, s := range c.Services {
		require.Regexp(t, `^[\w.-]+:[\w.-]*[\w-]$`, s.Image, name)
		require.NotContains(t, s.Image, "latest", name)
		require.Regexp(t, `^[1-9]\d*:[1-9]\d*$`, s.User, "%s is nobody's superuser", name)
		require.True(t, s.ReadOnly && !s.Privileged && len(s.CapAdd) == 0, name)
		require.Equal(t, []string{"ALL"}, s.CapDrop, name)
		require.Equal(t, []string{"no-new-privileges:true"}, s.SecurityOpt, name)
		for other := range s.DependsOn {
			require.Contains(t, c.Services, other, name)
		}
		for _, network := range s.Networks {
			require.Contains(t, c.Networks, network, name)
		}
		for _, secret := range s.Secrets {
			require.Contains(t, c.Secrets, secret, name)
		}
		for _, port := range s.Ports {
			require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s publishes %s", name, port)
		}
		for _, volume := range s.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(from, ".") {
				require.FileExists(t, filepath.Join(exampleDir, from), name)
			} else if !filepath.IsAbs(from) {
				require.Contains(t, c.Volumes, from, name)
			}
		}
	}
	require.Empty(t, c.Services["database"].Ports)
	require.NotNil(t, c.Services["database"].Healthcheck)
	require.True(t, c.Networks["database"].Internal)

	known := variables(exampleFile(t, "Caddyfile"))
	for _, name := range []string{"gate-1", "gate-2", "gate-3"} {
		gate := c.Services[name]
		require.Contains(t, gate.DependsOn, "grants", name)
		for variable := range gate.Environment {
			require.Contains(t, known, variable, name)
		}
		for _, found := range regexp.MustCompile(`/run/credentials/keyreeve\.service\}/([\w.-]+)`).FindAllStringSubmatch(exampleFile(t, "Caddyfile"), -1) {
			require.Contains(t, gate.Secrets, found[1], name)
		}
		require.Contains(t, gate.Volumes, name+":/var/lib/keyreeve", "a snapshot of its own")
	}
	for _, found := range regexp.MustCompile(`\{\$KEYREEVE_SECRETS\}/([\w.-]+)`).FindAllStringSubmatch(exampleFile(t, "owner.Caddyfile"), -1) {
		require.Contains(t, c.Services["migrate"].Secrets, found[1])
	}
}

func TestTheExamplesUnitGivesTheGateWhatItsCaddyfileNames(t *testing.T) {
	unit, caddyfile := exampleFile(t, "keyreeve.service"), exampleFile(t, "Caddyfile")
	var loaded, named []string
	for _, found := range regexp.MustCompile(`(?m)^LoadCredential=([\w.-]+):`).FindAllStringSubmatch(unit, -1) {
		loaded = append(loaded, found[1])
	}
	for _, found := range regexp.MustCompile(`/run/credentials/([\w.-]+)\}/([\w.-]+)`).FindAllStringSubmatch(caddyfile, -1) {
		require.Equal(t, "keyreeve.service", found[1])
		named = append(named, found[2])
	}
	slices.Sort(named)
	require.ElementsMatch(t, loaded, slices.Compact(named))
	known := variables(caddyfile)
	for line := range strings.Lines(exampleFile(t, "gate.env")) {
		if name, _, set := strings.Cut(line, "="); set && !strings.HasPrefix(line, "#") {
			require.Contains(t, known, name)
		}
	}
	for _, line := range []string{"DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
		"StateDirectory=keyreeve", "RuntimeDirectory=keyreeve", "Restart=on-failure", "Environment=KEYREEVE_SECRETS=%d"} {
		require.Contains(t, unit, "\n"+line+"\n")
	}
	if analyze, err := exec.LookPath("systemd-analyze"); err == nil { // where there is a service manager
		file := filepath.Join(t.TempDir(), "keyreeve.service")
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(unit, "/usr/local/bin/keyreeve", "/bin/true")), 0o600))
		out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
		require.NoError(t, err, string(out))
		require.NotContains(t, string(out), "Unknown", string(out))
	}
}

func TestTheExamplesImageIsBuiltByTheGoOfThisModule(t *testing.T) {
	module, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	needs := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)
	has := regexp.MustCompile(`(?m)^FROM golang:(\d+\.\d+)\.\d+ `).FindStringSubmatch(exampleFile(t, "Dockerfile"))
	require.Len(t, has, 2)
	require.Equal(t, string(needs[1]), has[1])
}

func TestWhatTheDocumentOnScaleWatchesIsMeasured(t *testing.T) {
	scale, err := os.ReadFile("../../docs/scale.md")
	require.NoError(t, err)
	metrics, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	found := regexp.MustCompile(`keyreeve_[a-z_]+(_total|_seconds|_revisions|_refusing|_lost|_nodes)`).FindAllString(string(scale), -1)
	require.Greater(t, len(found), 5)
	for _, name := range found {
		require.Contains(t, string(metrics), "`"+name+"`")
	}
}
