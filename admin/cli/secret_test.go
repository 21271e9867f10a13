package cli

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// secret runs a `secret` command over the local reach.
func (h *house) secret(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, Env{}, nil, append([]string{"secret", "--address", h.address}, args...)...)
}

func (h *house) mustSecret(t *testing.T, args ...string) result {
	t.Helper()
	got := h.secret(t, args...)
	require.Zero(t, got.code, got.errOut)
	return got
}

// secrets reads the list of a key's secrets.
func (h *house) secrets(t *testing.T, ref string) []secretItem {
	t.Helper()
	var list struct{ Items []secretItem }
	require.NoError(t, json.Unmarshal([]byte(h.mustSecret(t, "list", ref, "-o", "json").out), &list))
	return list.Items
}

func TestRotateShowsTheNewSecretOnceInEveryForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	for form, secret := range map[string]func(out string) string{
		"json": func(out string) string {
			var k key
			require.NoError(t, json.Unmarshal([]byte(out), &k))
			return k.ClientSecret
		},
		"csv": func(out string) string {
			records, err := csv.NewReader(strings.NewReader(out)).ReadAll()
			require.NoError(t, err)
			require.Equal(t, "client_secret", records[0][len(records[0])-1])
			return records[1][len(records[1])-1]
		},
		"table": func(out string) string {
			_, after, _ := strings.Cut(out, "Client secret")
			return strings.Fields(after)[0]
		},
	} {
		got := h.mustSecret(t, "rotate", "ci", "--previous-expires-in", "0", "-o", form)
		fresh := secret(got.out)
		require.True(t, credential.CheckSecret(fresh), form)
		require.Contains(t, got.out, k.ClientID, "the client ID stays")
		require.NotContains(t, got.errOut, "krs_")
		require.Contains(t, got.errOut, "only this once")
		require.NotContains(t, h.mustSecret(t, "list", "ci").out, "krs_")
	}
	var states []string
	for _, s := range h.secrets(t, "ci") {
		states = append(states, s.State)
	}
	require.Equal(t, []string{"live", "retired", "retired", "retired"}, states)
}

func TestTheOverlapOfARotationIsSaidInManyWays(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) // where the store's clock stands
	for flag, want := range map[string]time.Duration{"": 24 * time.Hour, "90": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "never": -1} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
			args := []string{"rotate", k.ID}
			if flag != "" {
				args = append(args, "--previous-expires-in", flag)
			}
			got := h.mustSecret(t, args...)
			old := h.secrets(t, "ci")[1]
			if want < 0 {
				require.Equal(t, "live", old.State)
				require.Contains(t, got.errOut, "until it is retired")
				return
			}
			require.Equal(t, start.Add(want).Format(time.RFC3339), old.ExpiresAt)
			require.Contains(t, got.errOut, old.ID+" stays good until "+shortTime(old.ExpiresAt))
		})
	}
}

func TestASecretInUseIsRetiredByForceAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	h.mustSecret(t, "rotate", "ci")
	old := h.secrets(t, "ci")[1].ID
	used := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	require.NoError(t, h.store.Use(t.Context(), []keystore.Use{{KeyID: k.ID, SecretID: old, At: used, Address: "192.0.2.7"}}))
	require.Contains(t, h.mustSecret(t, "list", "ci").out, "2026-01-02 03:00:00Z from 192.0.2.7")
	got := h.secret(t, "retire", "ci", old)
	require.Equal(t, ExitConflict, got.code)
	require.Contains(t, got.errOut, "192.0.2.7")
	require.Contains(t, h.mustSecret(t, "retire", "ci", old, "--force").errOut, "is retired")
	require.Equal(t, "retired", h.secrets(t, "ci")[1].State)
	h.mustSecret(t, "retire", "ci", old)
}

func TestRefusalsOfSecretsHaveTheirExitCodes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	h.mustSecret(t, "rotate", "ci")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{ExitConflict, "too_many_secrets", []string{"rotate", "ci"}},
		{ExitNotFound, "nobody", []string{"rotate", "nobody"}},
		{ExitNotFound, "no such secret", []string{"retire", "ci", "sec_none"}},
		{ExitUsage, "SECRET is missing", []string{"retire", "ci"}},
		{ExitUsage, "not the id of a secret", []string{"retire", "ci", "krs/x"}},
		{ExitUsage, "whole seconds", []string{"rotate", "ci", "--previous-expires-in", "soon"}},
		{ExitUsage, "whole seconds", []string{"rotate", "ci", "--previous-expires-in", "1500ms"}},
		{ExitError, "previous_expires_in", []string{"rotate", "ci", "--previous-expires-in", "31d"}},
		{ExitError, "previous_expires_in", []string{"rotate", "ci", "--previous-expires-in", "-1"}},
	} {
		got := h.secret(t, c.args...)
		require.Equal(t, c.code, got.code, "%v: %s", c.args, got.errOut)
		require.Contains(t, got.errOut, c.says)
		require.Empty(t, got.out)
	}
}

func TestSecretVerbsTeachByExample(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"list", "rotate", "retire"} {
		got := run(t, Env{}, nil, "secret", verb, "--help")
		require.Zero(t, got.code)
		require.Contains(t, got.out, "keyreeve secret "+verb)
		require.NotContains(t, got.out, "PROGRAM")
	}
}
