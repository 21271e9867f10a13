package lifecycle

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// guess counts wrong secrets of a key, a second apart, each by its fingerprint.
func (h *house) guess(keyID string, fingerprints ...uint64) {
	h.Helper()
	for _, f := range fingerprints {
		_, err := h.store.Count(h.ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: keyID, Address: "192.0.2.9", Fingerprint: f}})
		require.NoError(h, err)
		h.clock.Advance(time.Second)
	}
}

func TestTheLatestWrongSecretsAreShownByLettersNewestFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	lock, err := h.GetLock(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.NotNil(t, lock.RecentFailures, "[] and not null")
	require.Empty(t, lock.RecentFailures)

	start := h.clock.Now().Wall
	h.guess(k.ID, 9, 4, 9)
	lock, err = h.GetLock(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.True(t, lock.Locked)
	address := "192.0.2.9"
	require.Equal(t, []FailedTry{
		{At: start.Add(2 * time.Second), Address: &address, Secret: "A"},
		{At: start.Add(time.Second), Address: &address, Secret: "B"},
		{At: start, Address: &address, Secret: "A"},
	}, lock.RecentFailures)
	require.Equal(t, PatternDifferent, lock.Pattern())

	_, err = h.Unlock(h.ctx, local, k.ID, "", nil)
	require.NoError(t, err)
	h.guess(k.ID, 4)
	lock, err = h.GetLock(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, "A", lock.RecentFailures[0].Secret, "what was cleared is known no more")
}

func TestThePatternOfWrongSecrets(t *testing.T) {
	t.Parallel()
	for letters, want := range map[string]string{
		"": "", "A": "", "-": "", "--": "", "A-": "", "AA": PatternRepeated, "A-A": PatternRepeated, "AB": PatternDifferent, "AAAB": PatternDifferent, "A--B": PatternDifferent,
	} {
		var l KeyLock
		for letter := range strings.SplitSeq(letters, "") {
			l.RecentFailures = append(l.RecentFailures, FailedTry{Secret: strings.Trim(letter, "-")})
		}
		require.Equal(t, want, l.Pattern(), letters)
	}
}

func TestWhyAKeyWasUnlockedIsInTheTrail(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	h.guess(k.ID, 1, 1, 1)
	_, err := h.Unlock(h.ctx, local, k.ID, "cafe\u0301: the new secret\nwas not deployed", nil)
	require.NoError(t, err)
	_, err = h.Unlock(h.ctx, local, k.ID, "", nil)
	require.NoError(t, err)
	events := h.trail(local, AuditFilter{TargetID: k.ID, Action: "key.unlock"})
	require.Len(t, events, 2)
	var with, without map[string]any
	for _, e := range events {
		var after map[string]any
		require.NoError(t, json.Unmarshal(e.After, &after))
		if _, has := after["reason"]; has {
			with = after
			require.Contains(t, e.Changes, "reason")
		} else {
			without = after
		}
	}
	require.Equal(t, map[string]any{"locked": false, "failed_attempts": 0.0, "locked_until": nil, "reason": "café: the new secret\nwas not deployed"}, with)
	require.Equal(t, map[string]any{"locked": false, "failed_attempts": 0.0, "locked_until": nil}, without, "as ever")

	h.guess(k.ID, 1)
	for _, bad := range []string{strings.Repeat("x", MaxReason+1), "a\u202eb", "a\x00b", "a\xffb"} {
		_, err = h.Unlock(h.ctx, local, k.ID, bad, nil)
		requireRefused(t, err, Invalid, CodeValidation, "reason")
	}
	lock, err := h.GetLock(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, 1, lock.FailedAttempts, "nothing was done")
	_, err = h.Unlock(h.ctx, local, k.ID, strings.Repeat("ä", MaxReason), nil)
	require.NoError(t, err)
}
