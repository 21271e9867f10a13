package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestTheCallsOfAKeyAreShownByTheHourWithThoseThatHadNone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k, other := h.key("k", keystore.RoleReadOnly), h.key("other", keystore.RoleReadOnly)
	hour := h.clock.Now().Wall.Truncate(time.Hour)
	for back, calls := range map[int]int64{24: 1000, 23: 1, 1: 20, 0: 300, -1: 4000} { // -1: of a clock that was set back
		require.NoError(t, h.store.Use(h.ctx, nil, keystore.Calls{KeyID: k.ID, Hour: hour.Add(-time.Duration(back) * time.Hour), Calls: calls},
			keystore.Calls{KeyID: other.ID, Hour: hour, Calls: 7}))
	}
	usage, err := h.KeyUsage(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Len(t, usage.Hours, 24)
	require.EqualValues(t, 321, usage.Calls24h)
	for i, u := range usage.Hours {
		require.Equal(t, hour.Add(time.Duration(i-23)*time.Hour), u.From)
		require.Equal(t, map[int]int64{0: 1, 22: 20, 23: 300}[i], u.Calls)
	}
	h.clock.Advance(time.Hour)
	usage, err = h.KeyUsage(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.EqualValues(t, 4320, usage.Calls24h)
}

func TestUsageIsForWhoMayReadTheKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	usage, err := h.KeyUsage(h.ctx, h.actor("reader", h.role("Reader", policy.Permissions{"keyreeve/keys": policy.View})), k.ID)
	require.NoError(t, err)
	require.Zero(t, usage.Calls24h)
	require.Len(t, usage.Hours, 24, "one never called has hours too")
	_, err = h.KeyUsage(h.ctx, h.actor("warden", h.role("Warden", policy.Permissions{"keyreeve/locks": policy.Full})), k.ID)
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	stranger := h.actor("stranger", h.role("Stranger", policy.Permissions{"keyreeve/keys": policy.View}), func(k *NewKey) { k.CustomerID = "umbrella" })
	_, err = h.KeyUsage(h.ctx, stranger, k.ID)
	requireRefused(t, err, NotFound, CodeNotFound, "")
	_, err = h.KeyUsage(h.ctx, local, "key_none")
	requireRefused(t, err, NotFound, CodeNotFound, "")
}
