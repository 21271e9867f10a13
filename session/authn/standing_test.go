package authn_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// TestAStandingIsWhatAProofOfThatMomentSays holds the two against each other in
// every state that a key can be in.
func TestAStandingIsWhatAProofOfThatMomentSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*bench)
		secret policy.Reason
		token  policy.Reason // of one issued after the change, or held over where none can be
	}{
		{"good", func(*bench) {}, policy.Allowed, policy.Allowed},
		{"disabled", func(b *bench) { b.edit(func(k *keystore.Key) { k.Enabled = false }) }, policy.InvalidClient, policy.ClientInactive},
		{"expired", func(b *bench) { b.edit(func(k *keystore.Key) { k.ExpiresAt = b.clock.Now().Wall }) }, policy.InvalidClient, policy.ClientInactive},
		{"tenant disabled", func(b *bench) {
			b.update(func(ctx context.Context, tx keystore.Tx) error {
				return tx.PutCustomer(ctx, &keystore.Customer{ID: "c1", Name: "C"})
			})
		}, policy.InvalidClient, policy.ClientInactive},
		{"locked", func(b *bench) {
			for range 3 {
				b.show("wrong")
			}
		}, policy.InvalidClient, policy.ClientLocked},
		{"elsewhere", func(b *bench) {
			b.edit(func(k *keystore.Key) { k.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} })
		}, policy.InvalidClient, policy.SourceNotAllowed},
		{"deleted", func(b *bench) {
			b.update(func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, "key_1") })
		}, policy.InvalidClient, policy.ClientInactive},
		{"stale", func(b *bench) { b.clock.Advance(2 * time.Hour) }, policy.StoreUnavailable, policy.StoreUnavailable},
	} {
		b := newBench(t)
		issued := b.signIn()
		c.change(b)
		now := b.clock.Now()
		secret := b.auth.Standing(t.Context(), clientID, false, from, now)
		require.Equal(t, c.secret, secret.Reason, c.name)
		token := b.auth.Standing(t.Context(), clientID, true, from, now)
		require.Equal(t, c.token, token.Reason, c.name)
		require.Equal(t, c.name == "elsewhere", secret.Network && token.Network, c.name)
		if c.name == "elsewhere" {
			require.True(t, b.auth.Standing(t.Context(), clientID, false, nil, now).Allow, "networks are not judged")
		}
		shown := b.auth.Peek(t.Context(), clientID, b.secret, from, now)
		require.Equal(t, shown.Decision, secret.Decision, c.name)
		if c.name != "stale" { // the token itself has expired by then
			require.Equal(t, b.bearer(issued.Token).Decision, token.Decision, c.name)
		}
	}
}

func TestAKeyWithoutALiveSecretStandsForNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.edit(func(k *keystore.Key) { k.Secrets[0].Expires = b.clock.Now().Wall })
	secret := b.auth.Standing(t.Context(), clientID, false, from, b.clock.Now())
	require.Equal(t, policy.InvalidClient, secret.Reason)
	require.Contains(t, secret.Detail, "no secret")
	require.Equal(t, policy.ClientInactive, b.auth.Standing(t.Context(), clientID, true, from, b.clock.Now()).Reason)
	require.False(t, b.show(b.secret).Allow)
}

func TestARefusalOfAKnownClientNamesItsKeyForOperators(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.edit(func(k *keystore.Key) { k.Enabled = false })
	refused := b.show(b.secret)
	require.False(t, refused.Allow)
	require.Equal(t, "key_1", refused.Key.ID)
	require.Nil(t, refused.Role, "known is not proven")
}
