package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// do runs a command over the local reach.
func (h *house) do(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, Env{}, nil, append(args, "--address", h.address)...)
}

func (h *house) must(t *testing.T, args ...string) result {
	t.Helper()
	got := h.do(t, args...)
	require.Zero(t, got.code, got.errOut)
	return got
}

// write makes a file with this text.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestASourceIsMadeShownChangedAndDeleted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := h.must(t, "source", "create", "idp", "--customer", "acme", "--owner", "Identity team", "--rule", "read_only", "--max-role", "API Read Only")
	require.Contains(t, got.out, "Identity team")
	require.Contains(t, h.must(t, "source", "list").out, "role_api_read_only")
	require.Contains(t, h.must(t, "source", "list", "-o", "csv").out, "idp,acme,Identity team,read_only,role_api_read_only,0,,,")

	h.must(t, "source", "edit", "idp", "--owner", "", "--rule", "locked")
	var item sourceItem
	require.NoError(t, json.Unmarshal([]byte(h.must(t, "source", "show", "idp", "-o", "json").out), &item))
	require.Equal(t, []string{"", "locked", "role_api_read_only"}, []string{item.Owner, item.Rule, item.MaxRoleID})

	require.Equal(t, ExitNotFound, h.do(t, "source", "show", "idp", "--customer", "globex").code)
	require.Equal(t, ExitUsage, h.do(t, "source", "edit", "idp").code)
	require.Equal(t, ExitUsage, h.do(t, "source", "create", "x").code)
	require.Equal(t, ExitUsage, h.do(t, "source", "delete", "idp").code)
	require.Equal(t, ExitConflict, h.do(t, "source", "create", "idp", "--customer", "acme", "--rule", "locked", "--max-role", "role_api_read_only").code)
	h.must(t, "source", "delete", "idp", "--yes")
	require.Equal(t, ExitNotFound, h.do(t, "source", "show", "idp").code)
}

func TestAListIsPushedFromYAMLAndJSON(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.must(t, "source", "create", "idp", "--customer", "acme", "--rule", "locked", "--max-role", "role_api_read_only")
	list := write(t, `
keys:
  - client_id: ci
    name: deploys
    role_id: role_api_read_only
    expires_at: 2099-01-01T00:00:00Z
    secret_sha256: `+sha("one")+`
  - {client_id: cd, name: delivers, role_id: role_api_read_only, secret_sha256: `+sha("two")+`}
`)
	would := h.must(t, "source", "push", "idp", "-f", list, "--dry-run")
	require.Contains(t, would.errOut, "would write: 2 created, 0 updated, 0 unchanged, 0 removed")
	require.Contains(t, would.out, "created")
	require.Contains(t, h.must(t, "key", "list", "--source", "idp", "-o", "json").out, `"total":0`)
	did := h.must(t, "source", "push", "idp", "-f", list)
	require.Contains(t, did.errOut, "wrote: 2 created")
	again := h.must(t, "source", "push", "idp", "-f", list)
	require.Contains(t, again.errOut, "2 unchanged")
	require.Empty(t, again.out, "a table leaves out what stayed")

	bare := write(t, `[{"client_id":"ci","name":"renamed","role_id":"role_api_read_only"}]`)
	require.Equal(t, ExitConflict, h.do(t, "source", "push", "idp", "-f", bare, "--max-removals", "0").code)
	require.Equal(t, ExitConflict, h.do(t, "source", "push", "idp", "-f", bare, "--if-match", `"r1"`).code)
	changed := h.must(t, "source", "push", "idp", "-f", bare, "-o", "csv")
	require.Contains(t, changed.out, "result,client_id,id\nupdated,ci,key_")
	require.Contains(t, changed.out, "removed,cd,key_")

	bad := h.do(t, "source", "push", "idp", "-f", write(t, `keys: [{client_id: x, name: x, role: y}]`))
	require.Equal(t, ExitError, bad.code)
	require.Contains(t, bad.errOut, "keys[0].role")
	require.Equal(t, ExitError, h.do(t, "source", "push", "idp", "-f", write(t, "just text")).code)
	require.Equal(t, ExitError, h.do(t, "source", "push", "idp", "-f", filepath.Join(t.TempDir(), "none")).code)
	require.Equal(t, ExitUsage, h.do(t, "source", "push", "idp").code)
}
