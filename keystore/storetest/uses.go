package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var useCases = []testCase{
	{"a use is recorded on the key and on the secret that was shown", useRecorded},
	{"the latest use stands, in whatever order they come", useLatest},
	{"a secret that was no longer good is noted as tried, the key as not used", useRetired},
	{"keys and secrets that are gone are passed over", useGone},
	{"uses are no change: no revision moves and nothing is logged", useNoChange},
}

func useRecorded(t *testing.T, f *fixture) {
	k := f.key(1)
	second := newSecret("sec_second", f.clock.Now().Wall.Add(-time.Hour))
	k.Secrets = append(k.Secrets, second)
	f.put(t, k, f.key(2))
	at := f.clock.Now().Wall.Add(time.Minute + time.Microsecond)
	require.NoError(t, f.Use(t.Context(), []keystore.Use{{KeyID: k.ID, SecretID: "sec_second", At: at, Address: "2001:db8::1", Route: "GET /a/{b}"}}))
	want := f.get(t, k.ID)
	require.Equal(t, at.Truncate(time.Millisecond), want.LastUsed)
	require.Equal(t, []string{"2001:db8::1", "GET /a/{b}"}, []string{want.LastUsedAddress, want.LastUsedRoute})
	k.LastUsed, k.LastUsedAddress, k.LastUsedRoute = want.LastUsed, want.LastUsedAddress, want.LastUsedRoute
	k.Secrets[1].LastUsed, k.Secrets[1].LastUsedAddress = want.LastUsed, "2001:db8::1"
	require.Equal(t, k, want, "and nothing else")
	byClient, err := f.KeyByClientID(t.Context(), k.ClientID)
	require.NoError(t, err)
	require.Equal(t, k, byClient)
	require.Zero(t, f.get(t, "key_0002").LastUsed)

	// An edit stores what it read: the last use stays.
	want.Description = "edited"
	f.put(t, want)
	require.Equal(t, want, f.get(t, k.ID))
	require.Equal(t, "2001:db8::1", f.get(t, k.ID).Secrets[1].LastUsedAddress)
}

func useLatest(t *testing.T, f *fixture) {
	k := f.key(1)
	f.put(t, k)
	now := f.clock.Now().Wall
	use := func(at time.Duration, address string) keystore.Use {
		return keystore.Use{KeyID: k.ID, SecretID: k.Secrets[0].ID, At: now.Add(at), Address: address, Route: address}
	}
	last := func() []string {
		got := f.get(t, k.ID)
		require.Equal(t, got.LastUsed, got.Secrets[0].LastUsed)
		return []string{got.LastUsed.Sub(now).String(), got.LastUsedAddress, got.LastUsedRoute, got.Secrets[0].LastUsedAddress}
	}
	require.NoError(t, f.Use(t.Context(), []keystore.Use{use(2*time.Second, "b"), use(5*time.Second, "e"), use(3*time.Second, "c")}))
	require.Equal(t, []string{"5s", "e", "e", "e"}, last())
	require.NoError(t, f.Use(t.Context(), []keystore.Use{use(4*time.Second, "d")}))
	require.Equal(t, []string{"5s", "e", "e", "e"}, last(), "a batch that comes late moves nothing back")
	require.NoError(t, f.Use(t.Context(), []keystore.Use{use(6*time.Second, "")}))
	require.Equal(t, []string{"6s", "", "", ""}, last(), "of no address")
	require.NoError(t, f.Use(t.Context(), nil))
}

func useRetired(t *testing.T, f *fixture) {
	k := f.key(1)
	retired := newSecret("sec_retired", f.clock.Now().Wall)
	retired.Retired = retired.Created
	k.Secrets = append(k.Secrets, retired)
	f.put(t, k)
	at := f.clock.Now().Wall.Add(time.Minute)
	tried := func(at time.Time, address string) keystore.Use {
		return keystore.Use{KeyID: k.ID, SecretID: retired.ID, At: at, Address: address, Retired: true}
	}
	require.NoError(t, f.Use(t.Context(), []keystore.Use{tried(at, "192.0.2.7"), tried(at.Add(-time.Second), "192.0.2.6")}))
	require.NoError(t, f.Use(t.Context(), []keystore.Use{tried(at.Add(-time.Hour), "192.0.2.5")}))
	k.Secrets[1].Tried, k.Secrets[1].TriedAddress = at, "192.0.2.7"
	require.Equal(t, k, f.get(t, k.ID))
	f.put(t, k)
	require.Equal(t, k, f.get(t, k.ID), "an edit keeps it")
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		keys, _, err := r.Keys(ctx, keystore.KeyQuery{CustomerID: acme, Limit: 1})
		require.Equal(t, k, keys[0], "in lists too")
		return err
	})
}

func useGone(t *testing.T, f *fixture) {
	k, other := f.key(1), f.key(2)
	f.put(t, k, other)
	at := f.clock.Now().Wall
	require.NoError(t, f.Use(t.Context(), []keystore.Use{
		{KeyID: "key_none", SecretID: "sec_none", At: at},
		{KeyID: k.ID, SecretID: "sec_none", At: at, Address: "192.0.2.1"},
		{KeyID: k.ID, SecretID: other.Secrets[0].ID, At: at, Address: "192.0.2.1"},
		{KeyID: k.ID, SecretID: "sec_none", At: at, Retired: true},
	}))
	require.Equal(t, at, f.get(t, k.ID).LastUsed)
	require.Zero(t, f.get(t, k.ID).Secrets[0].LastUsed)
	require.Equal(t, other, f.get(t, other.ID), "a secret of another key is not this one's")
}

func useNoChange(t *testing.T, f *fixture) {
	k := f.key(1)
	rev := f.put(t, k)
	require.NoError(t, f.Use(t.Context(), []keystore.Use{{KeyID: k.ID, SecretID: k.Secrets[0].ID, At: f.clock.Now().Wall}}))
	require.Equal(t, rev, f.head(t))
	require.Equal(t, rev, f.get(t, k.ID).Revision)
	changes, err := f.Changes(t.Context(), rev)
	require.NoError(t, err)
	require.Empty(t, changes)
}
