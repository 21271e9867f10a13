package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/test/openapi"
)

var (
	update = flag.Bool("update", false, "write docs/openapi.json anew, unless that breaks clients")
	breaks = flag.Bool("break", false, "with -update: even if that breaks clients")
)

const committed = "../../docs/openapi.json"

// TestTheCommittedDescriptionIsWhatIsServed fails on any difference, and names
// those that break whoever was written for what is committed.
func TestTheCommittedDescriptionIsWhatIsServed(t *testing.T) {
	t.Parallel()
	var served bytes.Buffer
	require.NoError(t, json.Indent(&served, New(lifecycle.New(lifecycle.Config{}), nil).spec, "", "  "))
	served.WriteByte('\n')
	before, err := os.ReadFile(committed)
	if os.IsNotExist(err) && *update {
		before = served.Bytes()
	} else {
		require.NoError(t, err)
	}
	faults, err := openapi.Breaking(before, served.Bytes())
	require.NoError(t, err)
	if !*breaks {
		require.Empty(t, faults, "this breaks clients (-update -break accepts it):\n%s", strings.Join(faults, "\n"))
	}
	if *update {
		require.NoError(t, os.WriteFile(committed, served.Bytes(), 0o644))
		return
	}
	require.Equal(t, string(before), served.String(), "docs/openapi.json is not what is served: run this test with -update")
}
