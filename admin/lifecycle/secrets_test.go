package lifecycle

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
	"github.com/keyreeve/keyreeve/session/authn"
)

// door lets clients of a house in by their secret, as the gate does.
func (h *house) door() func(clientID, secret string) bool {
	h.Helper()
	keys, err := keystore.OpenCached(h.ctx, h.store, h.clock, keystore.CacheSizes{Keys: 100, Unknown: 100}, zap.NewNop())
	require.NoError(h, err)
	h.Cleanup(func() { require.NoError(h, keys.Close()) })
	verified, err := session.NewVerified(100)
	require.NoError(h, err)
	h.Cleanup(verified.Close)
	tokens := session.NewTokens(keys, h.cfg.Keyring, verified, session.Settings{
		Issuer: "urn:test", DefaultValidity: time.Hour, MaxValidity: time.Hour, MaxPerKey: 10, Algorithm: session.EdDSA})
	auth := authn.New(keys, h.cfg.Keyring, tokens, authn.Settings{Lockout: policy.DefaultLockout(), MaxStale: 1000 * time.Hour})
	cfg := h.cfg
	cfg.Store, cfg.FlushUses = keys, keys.FlushUses
	h.Service = New(cfg)
	from := func() netip.Addr { return netip.MustParseAddr("192.0.2.7") }
	return func(clientID, secret string) bool {
		return auth.Peek(h.ctx, clientID, secret, from, h.clock.Now()).Allow
	}
}

func TestAKeyWhoseClockWentBackCanStillBeChanged(t *testing.T) {
	h := newHouse(t)
	k := h.key("a", keystore.RoleFullAccess)
	for range 3 {
		h.rotate(k.ID, Rotation{PreviousExpiresIn: Some[int64](60)})
		h.clock.Advance(61 * time.Second)
	}
	h.clock.StepWall(-time.Hour)
	require.Equal(t, 2, h.live(k.ID), "what a new secret took the place of stays over, the last one before it need not")
	_, _, err := h.UpdateKey(h.ctx, local, k.ID, KeyPatch{Enabled: Some(false)}, nil)
	require.NoError(t, err)
	_, err = h.EndKeySessions(h.ctx, local, k.ID, nil)
	require.NoError(t, err)
	list, err := h.ListSecrets(h.ctx, local, k.ID)
	require.NoError(t, err)
	states := map[string]int{}
	for _, s := range list.Items {
		states[s.State]++
		require.Nil(t, s.RetiredAt, "nobody ended one by hand")
	}
	require.Equal(t, map[string]int{SecretLive: 1, SecretExpiring: 1, SecretExpired: 2}, states)
}

func (h *house) rotate(keyID string, in Rotation) RotatedSecret {
	h.Helper()
	r, _, err := h.RotateSecret(h.ctx, local, keyID, in, nil)
	require.NoError(h, err)
	return r
}

// live counts the secrets of a key that could be used now, as stored.
func (h *house) live(keyID string) (n int) {
	h.Helper()
	require.NoError(h, h.store.View(h.ctx, func(r keystore.Reader) error {
		k, err := r.Key(h.ctx, keyID)
		if err != nil {
			return err
		}
		for i := range k.Secrets {
			if k.Secrets[i].Live(r.Now().Wall) {
				n++
			}
		}
		return nil
	}))
	return n
}

func (h *house) use(keyID, secretID string) {
	h.Helper()
	require.NoError(h, h.store.Use(h.ctx, []keystore.Use{{KeyID: keyID, SecretID: secretID, At: h.clock.Now().Wall, Address: "192.0.2.7"}}))
}

func TestThePreviousSecretWorksUntilItsEndAndNotAfter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in Rotation
		// works is how long; -1 is for good.
		works time.Duration
	}{
		"a day if nothing is said":  {Rotation{}, 24 * time.Hour},
		"as long as said":           {Rotation{Some(int64(90))}, 90 * time.Second},
		"not at all":                {Rotation{Some(int64(0))}, 0},
		"thirty days at most":       {Rotation{Some(int64(2592000))}, 30 * 24 * time.Hour},
		"until retired, with null":  {Rotation{Null[int64]()}, -1},
		"a second is a second long": {Rotation{Some(int64(1))}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			old := h.key("k", keystore.RoleReadOnly)
			opens := h.door()
			require.True(t, opens(old.ClientID, old.ClientSecret))
			now := h.rotate(old.ID, c.in)
			require.Equal(t, old.ClientID, now.ClientID, "the client ID stays")
			require.NotEqual(t, old.ClientSecret, now.ClientSecret)
			require.True(t, opens(now.ClientID, now.ClientSecret))
			switch {
			case c.works < 0:
				h.clock.Advance(400 * time.Hour)
				require.True(t, opens(old.ClientID, old.ClientSecret))
			case c.works > 0:
				require.True(t, opens(old.ClientID, old.ClientSecret))
				h.clock.Advance(c.works - time.Millisecond)
				require.True(t, opens(old.ClientID, old.ClientSecret), "to the last millisecond")
				h.clock.Advance(time.Millisecond)
				fallthrough
			default:
				require.False(t, opens(old.ClientID, old.ClientSecret))
			}
			require.True(t, opens(now.ClientID, now.ClientSecret))
		})
	}
}

func TestAnOverlapOnlyEverShortens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	first := k.Secrets[0].ID
	second := h.rotate(k.ID, Rotation{Some(int64(60))})
	_, err := h.RetireSecret(h.ctx, local, k.ID, second.Secret.ID, false, nil)
	require.NoError(t, err)
	for _, longer := range []Optional[int64]{Some(int64(3600)), Null[int64](), {}} {
		_, _, err := h.RotateSecret(h.ctx, local, k.ID, Rotation{longer}, nil)
		if longer.Has() {
			require.NoError(t, err)
		} else {
			requireRefused(t, err, Conflict, CodeTooManySecrets, "")
		}
		list, err := h.ListSecrets(h.ctx, local, k.ID)
		require.NoError(t, err)
		at := slices.IndexFunc(list.Items, func(s KeySecret) bool { return s.ID == first })
		require.Equal(t, h.clock.Now().Wall.Add(time.Minute), *list.Items[at].ExpiresAt)
	}
}

func TestAThirdLiveSecretIsRefusedAndTheWayOutNamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	opens := h.door()
	second := h.rotate(k.ID, Rotation{})
	_, _, err := h.RotateSecret(h.ctx, local, k.ID, Rotation{}, nil)
	requireRefused(t, err, Conflict, CodeTooManySecrets, "")
	require.ErrorContains(t, err, k.Secrets[0].ID)
	require.ErrorContains(t, err, second.Secret.ID)
	require.ErrorContains(t, err, "previous_expires_in 0")
	require.True(t, opens(k.ClientID, k.ClientSecret), "and nothing happened to either")
	require.True(t, opens(k.ClientID, second.ClientSecret))

	third := h.rotate(k.ID, Rotation{Some(int64(0))})
	for secret, works := range map[string]bool{k.ClientSecret: false, second.ClientSecret: false, third.ClientSecret: true} {
		require.Equal(t, works, opens(k.ClientID, secret), "after a leak every older one ends")
	}
	require.Len(t, third.Secrets, 1)
}

func TestARetiredSecretEndsAtOnceAndIsRemembered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	opens := h.door()
	now := h.rotate(k.ID, Rotation{Null[int64]()})
	first := k.Secrets[0].ID
	_, err := h.RetireSecret(h.ctx, local, k.ID, first, false, nil)
	require.NoError(t, err)
	require.False(t, opens(k.ClientID, k.ClientSecret))
	require.True(t, opens(k.ClientID, now.ClientSecret))

	before, err := h.GetKey(h.ctx, local, k.ID)
	require.NoError(t, err)
	_, err = h.RetireSecret(h.ctx, local, k.ID, first, false, nil)
	require.NoError(t, err, "again is no error")
	after, err := h.GetKey(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, before, after, "and changes nothing")
	_, err = h.RetireSecret(h.ctx, local, k.ID, "sec_none", true, nil)
	requireRefused(t, err, NotFound, CodeNotFound, "")

	other := h.key("other", keystore.RoleReadOnly)
	_, err = h.RetireSecret(h.ctx, local, k.ID, other.Secrets[0].ID, true, nil)
	requireRefused(t, err, NotFound, CodeNotFound, "")
	require.True(t, opens(other.ClientID, other.ClientSecret))

	list, err := h.ListSecrets(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, []string{SecretLive, SecretRetired}, statesOf(list))
	require.Equal(t, h.clock.Now().Wall, *list.Items[1].RetiredAt)
	require.Equal(t, []Secret{{ID: now.Secret.ID, Hint: now.Secret.Hint, CreatedAt: now.Secret.CreatedAt}}, after.Secrets, "a key shows the live ones")
	h.clock.Advance(keystore.RetiredSecretMemory)
	list, err = h.ListSecrets(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, []string{SecretLive}, statesOf(list))
}

func statesOf(list KeySecrets) (states []string) {
	for _, s := range list.Items {
		states = append(states, s.State)
	}
	return states
}

func TestSecretsAreListedWithTheirStateAndUse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	first := k.Secrets[0].ID
	h.clock.Advance(time.Hour)
	second := h.rotate(k.ID, Rotation{Some(int64(3600))})
	h.use(k.ID, first)
	list, err := h.ListSecrets(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, []string{SecretLive, SecretExpiring}, statesOf(list))
	require.Equal(t, 2, list.Total)
	require.Equal(t, second.Secret, list.Items[0])
	require.Equal(t, []any{first, h.clock.Now().Wall, "192.0.2.7"}, []any{list.Items[1].ID, *list.Items[1].LastUsedAt, *list.Items[1].LastUsedAddress})
	h.clock.Advance(time.Hour)
	require.NoError(t, h.store.Use(h.ctx, []keystore.Use{{KeyID: k.ID, SecretID: first, At: h.clock.Now().Wall, Address: "192.0.2.8", Retired: true}}))
	list, err = h.ListSecrets(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, []string{SecretLive, SecretExpired}, statesOf(list))
	require.Equal(t, []any{h.clock.Now().Wall, "192.0.2.8"}, []any{*list.Items[1].LastTriedAt, *list.Items[1].LastTriedAddress})
}

func TestASecretInUseIsRetiredByForceAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	h.rotate(k.ID, Rotation{Null[int64]()})
	first := k.Secrets[0].ID
	h.use(k.ID, first)
	h.clock.Advance(InUseWithin - time.Millisecond)
	_, err := h.RetireSecret(h.ctx, local, k.ID, first, false, nil)
	requireRefused(t, err, Conflict, CodeSecretInUse, "")
	require.ErrorContains(t, err, "2026-01-02T03:04:05Z from 192.0.2.7")
	require.Equal(t, 2, h.live(k.ID))
	_, err = h.RetireSecret(h.ctx, local, k.ID, first, true, nil)
	require.NoError(t, err)
	require.Equal(t, 1, h.live(k.ID))

	fresh := h.rotate(k.ID, Rotation{Null[int64]()})
	h.use(k.ID, fresh.Secret.ID)
	h.clock.Advance(InUseWithin)
	_, err = h.RetireSecret(h.ctx, local, k.ID, fresh.Secret.ID, false, nil)
	require.NoError(t, err, "seven days later it is not in use")
}

func TestUsesNotYetStoredAreSeenBeforeASecretIsRetired(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	cfg := h.cfg
	cfg.FlushUses = func(context.Context) error { h.use(k.ID, k.Secrets[0].ID); return nil }
	h.Service = New(cfg)
	_, err := h.RetireSecret(h.ctx, local, k.ID, k.Secrets[0].ID, false, nil)
	requireRefused(t, err, Conflict, CodeSecretInUse, "")
	down := errors.New("disk gone")
	cfg.FlushUses = func(context.Context) error { return down }
	h.Service = New(cfg)
	_, err = h.RetireSecret(h.ctx, local, k.ID, k.Secrets[0].ID, false, nil)
	require.ErrorIs(t, err, down, "what is not known is not taken for unused")
	_, err = h.RetireSecret(h.ctx, local, k.ID, k.Secrets[0].ID, true, nil)
	require.NoError(t, err)
}

func TestNoOperationEverLeavesMoreThanTwoLiveSecrets(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		h := newHouse(t)
		k := h.key("k", keystore.RoleReadOnly)
		dice := rand.New(rand.NewPCG(seed, 7))
		for range 60 {
			switch dice.IntN(4) {
			case 0, 1:
				in := []Optional[int64]{{}, Null[int64](), Some(int64(0)), Some(int64(1 + dice.IntN(7200)))}[dice.IntN(4)]
				_, _, err := h.RotateSecret(h.ctx, local, k.ID, Rotation{in}, nil)
				if err != nil {
					requireRefused(t, err, Conflict, CodeTooManySecrets, "")
				}
			case 2:
				list, err := h.ListSecrets(h.ctx, local, k.ID)
				require.NoError(t, err)
				_, err = h.RetireSecret(h.ctx, local, k.ID, list.Items[dice.IntN(len(list.Items))].ID, true, nil)
				require.NoError(t, err)
			case 3:
				h.clock.Advance(time.Duration(dice.IntN(7200)) * time.Second)
			}
			require.LessOrEqual(t, h.live(k.ID), keystore.MaxLiveSecrets, "seed %d", seed)
		}
	}
}

func TestAKeyRemembersABoundedNumberOfPastSecrets(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	var last RotatedSecret
	for range maxPastSecrets + 3 {
		h.clock.Advance(time.Second)
		last = h.rotate(k.ID, Rotation{Some(int64(0))})
	}
	list, err := h.ListSecrets(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, maxPastSecrets+1, list.Total)
	require.Equal(t, last.Secret.ID, list.Items[0].ID)
	require.True(t, slices.IsSortedFunc(list.Items, func(a, b KeySecret) int { return b.CreatedAt.Compare(a.CreatedAt) }), "the newest are kept")
}

func TestAnOverlapOutOfRangeIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	for _, seconds := range []int64{-1, 2592001, 1 << 62} {
		_, _, err := h.RotateSecret(h.ctx, local, k.ID, Rotation{Some(seconds)}, nil)
		requireInvalid(t, err, "previous_expires_in", FieldRange)
	}
	require.Equal(t, 1, h.live(k.ID))
}

func TestSecretsAreRotatedAndRetiredWithinOnesOwnRights(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	admin := h.role("Admin", policy.Permissions{"logs": policy.View, "keyreeve/keys": policy.Full})
	reader := h.role("Reader", policy.Permissions{"logs": policy.View, "keyreeve/keys": policy.View})
	a := h.actor("admin", admin)
	equal, stronger := h.key("equal", admin), h.key("stronger", keystore.RoleFullAccess)
	foreign, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "f", RoleID: admin, CustomerID: "umbrella"})
	require.NoError(t, err)
	external := h.external("theirs", admin)
	for _, c := range []struct {
		name  string
		actor Actor
		key   string
		kind  ErrorKind
		code  string
	}{
		{"beyond its rights", a, stronger.ID, Forbidden, CodeExceedsRights},
		{"of another customer", a, foreign.ID, NotFound, CodeNotFound},
		{"that is not there", a, "key_none", NotFound, CodeNotFound},
		{"of an external source", a, external, Conflict, CodeManaged},
		{"with a reader's role", h.actor("reader", reader), equal.ID, Forbidden, CodePermissionDenied},
		{"by a local reader", Local("l", true), equal.ID, Forbidden, CodePermissionDenied},
	} {
		_, _, err := h.RotateSecret(h.ctx, c.actor, c.key, Rotation{}, nil)
		requireRefused(t, err, c.kind, c.code, "")
		_, err = h.RetireSecret(h.ctx, c.actor, c.key, "sec_any", true, nil)
		requireRefused(t, err, c.kind, c.code, "")
	}
	_, err = h.ListSecrets(h.ctx, a, foreign.ID)
	requireRefused(t, err, NotFound, CodeNotFound, "")
	_, err = h.ListSecrets(h.ctx, a, stronger.ID)
	require.NoError(t, err, "looking is no edit")
	rotated, _, err := h.RotateSecret(h.ctx, a, equal.ID, Rotation{}, nil)
	require.NoError(t, err)
	_, _, err = h.RotateSecret(h.ctx, a, equal.ID, Rotation{Some(int64(0))}, func(r keystore.Revision) bool { return r != rotated.Revision })
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	_, err = h.RetireSecret(h.ctx, a, equal.ID, rotated.Secret.ID, true, func(r keystore.Revision) bool { return r != rotated.Revision })
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	_, _, err = h.RotateSecret(h.ctx, a, a.ID, Rotation{}, nil)
	require.NoError(t, err, "one's own secret")
}

// external is the id of a key of an external source of acme, owned by the IdP team.
func (h *house) external(name, roleID string) string {
	h.Helper()
	return h.externalKey(name, roleID).ID
}

func (h *house) externalKey(name, roleID string) CreatedKey {
	h.Helper()
	k := h.key(name, roleID)
	_, err := h.store.Update(h.ctx, func(tx keystore.Tx) error {
		err := tx.PutSource(h.ctx, &keystore.Source{CustomerID: "acme", Name: "idp", Owner: "IdP team", Rule: keystore.SourceReadOnly, MaxRoleID: keystore.RoleOperator})
		if err != nil {
			return err
		}
		stored, err := tx.Key(h.ctx, k.ID)
		if err != nil {
			return err
		}
		stored.Source = "idp"
		return tx.PutKey(h.ctx, stored)
	})
	require.NoError(h, err)
	return k
}

func TestRotationsAndRetirementsAreAuditedWithoutSecrets(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	var told []string
	cfg := h.cfg
	cfg.Notify = func(_ context.Context, e Event) { told = append(told, e.Action+" "+e.TargetID) }
	h.Service = New(cfg)
	rotated := h.rotate(k.ID, Rotation{})
	_, err := h.RetireSecret(h.ctx, local, k.ID, k.Secrets[0].ID, false, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"key.rotate " + k.ID, "secret.retire " + k.ID}, told)
	require.NoError(t, h.store.View(h.ctx, func(r keystore.Reader) error {
		events, _, err := r.AuditEvents(h.ctx, keystore.AuditQuery{CustomerID: "acme", TargetID: k.ID, Limit: 2})
		require.NoError(t, err)
		for _, e := range events {
			text := string(e.Before) + string(e.After)
			require.Contains(t, text, rotated.Secret.ID)
			for _, secret := range []string{k.ClientSecret, rotated.ClientSecret} {
				require.NotContains(t, text, secret)
				require.NotContains(t, text, `"`+secret[len(secret)-4:]+`"`, "not even its hint")
			}
		}
		require.Contains(t, string(events[0].After), "retired_at")
		return nil
	}))
}
