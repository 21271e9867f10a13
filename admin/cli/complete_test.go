package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// complete is what the shell is told could follow args.
func complete(t *testing.T, args ...string) []string {
	t.Helper()
	got := run(t, Env{}, nil, append([]string{"__complete"}, args...)...)
	require.Zero(t, got.code, got.errOut)
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	require.Equal(t, ":4", lines[len(lines)-1], "never files")
	var words []string
	for _, l := range lines[:len(lines)-1] {
		word, _, _ := strings.Cut(l, "\t")
		words = append(words, word)
	}
	return words
}

func TestTheShellCompletesWhatFlagsTake(t *testing.T) {
	t.Parallel()
	nowhere := "--address=127.0.0.1:1"
	for _, c := range []struct {
		args string
		want []string
	}{
		{"key list -o ", forms},
		{"doctor --output ", forms},
		{"lock list --output ", forms},
		{"key list --state ", states},
		{"session list --state ", sessionStates},
		{"role list --sort ", []string{"name", "-name"}},
		{"key create x " + nowhere + " --role ", []string{"role_operator", "role_api_full_access", "role_api_read_only"}},
		{"key get " + nowhere + " ", nil},
		{"key create ", nil},
		{"session end ", nil},
	} {
		require.Equal(t, c.want, complete(t, strings.Split(c.args, " ")...), c.args)
	}
	require.Subset(t, complete(t, ""), []string{"key", "lock", "session", "role", "doctor"})
	require.Equal(t, []string{"get", "list", "unlock"}, complete(t, "lock", ""))
}

func TestTheShellCompletesRolesAndKeysThatThereAre(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	at := "--address=" + h.address
	require.Equal(t, []string{"role_api_full_access", "role_api_read_only", "role_operator"}, complete(t, "key", "edit", at, "--role", ""))
	require.Equal(t, []string{k.ID}, complete(t, "key", "disable", at, ""))
	require.Equal(t, []string{k.ID}, complete(t, "lock", "get", at, ""))
	require.Equal(t, []string{k.ID}, complete(t, "session", "list", at, "--key", ""))
	require.Empty(t, complete(t, "lock", "get", at, k.ID, ""), "one argument is enough")
}
