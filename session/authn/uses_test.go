package authn_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// stored is the key as the store has it once every use is written.
func (b *bench) stored() (k *keystore.Key) {
	b.t.Helper()
	require.NoError(b.t, b.keys.FlushUses(b.t.Context()))
	require.NoError(b.t, b.keys.View(b.t.Context(), func(r keystore.Reader) (err error) {
		k, err = r.Key(b.t.Context(), "key_1")
		return err
	}))
	return k
}

func TestAProofNamesTheSecretThatItIsBy(t *testing.T) {
	b := newBench(t)
	issued := b.signIn()
	secretID := b.stored().Secrets[0].ID
	require.Equal(t, secretID, b.show(b.secret).SecretID)
	r := b.bearer(issued.Token)
	require.Equal(t, secretID, r.SecretID, "a token is by the secret that it was issued for")
	require.True(t, b.stored().LastUsed.IsZero(), "to prove is not to use: the door says what was used")
	b.auth.Used(&r, "/r", from, b.clock.Now().Since)
	k := b.stored()
	require.Equal(t, "/r", k.LastUsedRoute)
	require.Equal(t, from().String(), k.Secrets[0].LastUsedAddress)
}

func TestARetiredSecretThatIsShownIsNotedForThirtyDays(t *testing.T) {
	b := newBench(t)
	b.edit(func(k *keystore.Key) { k.Secrets[0].Retired = b.clock.Now().Wall })
	require.False(t, b.auth.Peek(t.Context(), clientID, b.secret, from, b.clock.Now()).RetiredUse, "to peek leaves no trace")
	r := b.show(b.secret)
	require.Equal(t, policy.InvalidClient, r.Reason, "it is refused as any other")
	require.True(t, r.RetiredUse)
	require.False(t, b.show(b.secret).RetiredUse, "told once in ten seconds")
	k := b.stored()
	require.Equal(t, k.Secrets[0].ID, r.SecretID)
	require.Equal(t, []any{b.clock.Now().Wall, from().String()}, []any{k.Secrets[0].Tried.UTC(), k.Secrets[0].TriedAddress})
	require.True(t, k.LastUsed.IsZero())

	b.clock.Advance(keystore.RetiredSecretMemory)
	require.NoError(t, b.keys.Poll(t.Context())) // what is cached is current all the same
	require.False(t, b.show(b.secret).RetiredUse, "after thirty days it is a wrong secret")
	require.Equal(t, uint64(1), b.keys.Counts().Counted)
}

func TestAnExpiredSecretThatIsShownIsNotedToo(t *testing.T) {
	b := newBench(t)
	b.edit(func(k *keystore.Key) { k.Secrets[0].Expires = b.clock.Now().Wall.Add(time.Minute) })
	require.True(t, b.show(b.secret).Allow)
	b.clock.Advance(time.Minute)
	require.True(t, b.show(b.secret).RetiredUse)
}
