package caddymodule

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestANodeIsCalledWhatItsEnvironmentSays(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	for set, want := range map[string]string{
		"gate-1": "gate-1", " gate 2\n": "gate 2", "": host, "a\x1b[2Jb": host, "a\xffb": host, "a\u202eb": host,
		strings.Repeat("ä", maxNodeName): strings.Repeat("ä", maxNodeName), strings.Repeat("ä", maxNodeName+1): host,
	} {
		t.Setenv(nodeNameVar, set)
		got, err := nodeName()
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", set)
	}
	t.Setenv(nodeNameVar, "gate-3")
	g := startGate(t, "")
	require.Equal(t, "gate-3", g.nodes()[0].Name)
	require.Equal(t, "gate-3", active.Load().nodeInfo(storeOf()).Name, "of itself it says what the registry does")
}
