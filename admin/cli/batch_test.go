package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func (h *house) state(t *testing.T, ref string) string {
	t.Helper()
	var k key
	require.NoError(t, json.Unmarshal([]byte(h.mustKey(t, "get", ref, "-o", "json").out), &k))
	return k.State
}

// external makes a key and gives it to an external source.
func (h *house) external(t *testing.T, name string) {
	t.Helper()
	k := h.create(t, name, "--role", "role_api_read_only", "--customer", "acme")
	_, err := h.store.Update(t.Context(), func(tx keystore.Tx) error {
		err := tx.PutSource(t.Context(), &keystore.Source{CustomerID: "acme", Name: "idp", Owner: "IdP team", Rule: keystore.SourceReadOnly, MaxRoleID: keystore.RoleOperator})
		if err != nil {
			return err
		}
		stored, err := tx.Key(t.Context(), k.ID)
		if err != nil {
			return err
		}
		stored.Source = "idp"
		return tx.PutKey(t.Context(), stored)
	})
	require.NoError(t, err)
}

func TestSeveralKeysAreDoneInOneRequestAndRefusalsTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, name := range []string{"a", "b"} {
		h.create(t, name, "--role", "role_api_read_only", "--customer", "acme")
	}
	h.external(t, "theirs")
	dry := h.key(t, "disable", "a", "b", "theirs", "--dry-run")
	require.Equal(t, ExitConflict, dry.code)
	require.Contains(t, dry.errOut, "2 would be done, 1 refused")
	require.Contains(t, dry.out, "would be done")
	require.Equal(t, "active", h.state(t, "a"))

	got := h.key(t, "disable", "a", "b", "theirs")
	require.Equal(t, ExitConflict, got.code)
	require.Contains(t, got.errOut, "1 of 3 keys refused")
	require.Contains(t, got.out, "managed_externally")
	require.Contains(t, got.out, "IdP team")
	require.Equal(t, []string{"disabled", "disabled", "active"}, []string{h.state(t, "a"), h.state(t, "b"), h.state(t, "theirs")})

	records, err := csv.NewReader(strings.NewReader(h.mustKey(t, "enable", "a", "b", "-o", "csv").out)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"id", "status", "code", "detail"}, records[0])
	require.Len(t, records, 3)
	require.Equal(t, "200", records[1][1])
	var answered map[string]any
	require.NoError(t, json.Unmarshal([]byte(h.mustKey(t, "unlock", "a", "b", "-o", "json").out), &answered))
	require.EqualValues(t, 2, answered["succeeded"])
	h.mustKey(t, "delete", "a", "b", "--yes")
	require.Equal(t, ExitNotFound, h.key(t, "get", "a").code)
}

func TestADryRunOfOneKeyChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "a", "--role", "role_api_read_only", "--customer", "acme")
	require.Contains(t, h.mustKey(t, "delete", "a", "--dry-run").errOut, "nothing was changed", "and asks nothing")
	require.Equal(t, "active", h.state(t, "a"))
}

func TestAKeyOfAnExternalSourceIsRefusedHere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.external(t, "theirs")
	got := h.key(t, "disable", "theirs")
	require.Equal(t, ExitConflict, got.code)
	require.Contains(t, got.errOut, "IdP team")
	h.mustKey(t, "disable", "theirs", "--here")
	require.Equal(t, "disabled", h.state(t, "theirs"))
	require.Regexp(t, `Refused here\s+yes`, h.mustKey(t, "get", "theirs").out)
	h.mustKey(t, "enable", "theirs", "--here")
	require.Equal(t, "active", h.state(t, "theirs"))
}

func TestSeveralKeysAreAllFoundOrNothingIsDone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.create(t, "a", "--role", "role_api_read_only", "--customer", "acme")
	require.Equal(t, ExitNotFound, h.key(t, "disable", "a", "nobody").code)
	same := h.key(t, "disable", "a", a.ClientID)
	require.Equal(t, ExitUsage, same.code)
	require.Contains(t, same.errOut, "are the same key")
	require.Equal(t, "active", h.state(t, "a"))
	many := []string{"disable"}
	for i := range maxBatch + 1 {
		many = append(many, fmt.Sprintf("k%d", i))
	}
	require.Equal(t, ExitUsage, h.key(t, many...).code)
}

func TestListFiltersReachTheAPI(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "prod", "--role", "role_api_read_only", "--customer", "acme", "--label", "stage=prod", "--label", `of=a,b\c`, "--expires", "2098-01-01")
	h.create(t, "test", "--role", "role_api_read_only", "--customer", "acme", "--microtenant", "emea", "--label", "stage=test", "--expires", "2099-01-01")
	h.external(t, "theirs")
	names := func(args ...string) (names []string) {
		var list struct{ Items []key }
		require.NoError(t, json.Unmarshal([]byte(h.mustKey(t, append([]string{"list", "-o", "json"}, args...)...).out), &list))
		for _, k := range list.Items {
			names = append(names, k.Name)
		}
		return names
	}
	for _, c := range []struct {
		args string
		want []string
	}{
		{"--label stage=prod", []string{"prod"}},
		{"--label stage", []string{"prod", "test"}},
		{`--label stage --label of=a,b\c`, []string{"prod"}},
		{"--expires-before 2098-06-01", []string{"prod"}},
		{"--created-after 2026-01-02T03:04:05Z", nil},
		{"--created-before 2026-01-03", []string{"prod", "test", "theirs"}},
		{"--never-used", []string{"prod", "test", "theirs"}},
		{"--never-used=false", nil},
		{"--locked", nil},
		{"--locked=false --microtenant null", []string{"prod", "theirs"}},
		{"--source idp", []string{"theirs"}},
		{"--source null --sort -expires_at,name", []string{"test", "prod"}},
	} {
		require.Equal(t, c.want, names(strings.Split(c.args, " ")...), c.args)
	}
	require.Equal(t, ExitError, h.key(t, "list", "--created-after", "soon").code)
	require.Contains(t, complete(t, "key", "list", "--sort", ""), "-last_used_at")
	require.Equal(t, []string(nil), complete(t, "key", "list", "--label", ""))
}
