package authn_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestASecretUnderAMasterKeyThatIsNotHeldIsNeitherRightNorWrong(t *testing.T) {
	b := newBench(t)
	own := b.stored().Secrets[0]
	other := keystore.Secret{ID: credential.NewID("sec"), MasterKeyID: "ffffffffffff", Created: b.clock.Now().Wall}
	with := func(secrets ...keystore.Secret) {
		b.edit(func(k *keystore.Key) { k.Secrets = secrets })
	}
	retired, over := other, other
	retired.Retired = b.clock.Now().Wall
	over.ID, over.Expires = credential.NewID("sec"), b.clock.Now().Wall.Add(-keystore.RetiredSecretMemory-time.Hour)

	for name, secrets := range map[string][]keystore.Secret{"alone": {other}, "beside one that is held": {own, other}, "before it": {other, own}, "retired": {own, retired}} {
		with(secrets...)
		for range 2 * policy.DefaultLockout().Attempts {
			r := b.show(credential.NewSecret())
			require.Equal(t, policy.StoreUnavailable, r.Reason, name)
			require.Positive(t, r.RetryAfter, name)
			require.Contains(t, r.Detail, "ffffffffffff", name)
			require.False(t, r.Outcome.Locked, name)
		}
		require.Equal(t, len(secrets) == 2, b.show(b.secret).Allow, "%s: what is held proves", name)
	}
	require.Zero(t, b.keys.Counts().Counted)

	with(own, over)
	for range policy.DefaultLockout().Attempts {
		require.Equal(t, policy.InvalidClient, b.show(credential.NewSecret()).Reason, "one that is over and forgotten makes no difference")
	}
	require.Equal(t, policy.InvalidClient, b.show(b.secret).Reason, "locked")
}
