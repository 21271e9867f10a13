package storetest

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var keyCases = []testCase{
	{"a key is read back as it was put, to the millisecond, by id and by client id", keyRoundTrip},
	{"put replaces a key whole", keyReplace},
	{"client ids are compared byte for byte", keyExactClientID},
	{"a client id belongs to one key", keyClientIDConflict},
	{"a name belongs to one key of a customer and microtenant", keyNameConflict},
	{"what a key refers to must be there", keyReferences},
	{"a refused put leaves no trace in a transaction that goes on", keyRefusedLeavesNoTrace},
	{"a key without an id or client id is refused", keyWithoutID},
	{"a deleted key is gone with its secrets, sessions and counts", keyDelete},
	{"a client id can be used again after its key was deleted, with nothing of the old key", keyRecreate},
	{"a changed client id is logged under both", keyChangedClientID},
	{"hostile text is stored literally", keyHostileText},
	{"records are the caller's own", keyOwnRecords},
}

func keyRoundTrip(t *testing.T, f *fixture) {
	zone := time.FixedZone("east", 5*3600)
	now := time.Date(2026, 3, 4, 5, 6, 7, 891_234_567, zone)
	k := f.key(1)
	k.Description, k.MicrotenantID, k.RoleID = "nightly export", lab, auditor
	k.SessionValidity = 90*time.Second + time.Nanosecond
	k.ExpiresAt, k.LastUsed, k.Created, k.Modified = now.AddDate(1, 0, 0), now, now, now
	k.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/48")}
	k.Labels = map[string]string{"team": "ops", "note": `<a href="x">&amp;'`}
	k.Source, k.DisabledHere = directory, true
	k.Generation = 7
	k.LastUsedAddress, k.LastUsedRoute = hostile[0], "GET /a/{b...}"
	live := newSecret("sec_new", now)
	live.LastUsed, live.LastUsedAddress = now, "192.0.2.1"
	phasedOut := newSecret("sec_old", now.Add(-time.Hour))
	phasedOut.Expires = f.clock.Now().Wall.Add(time.Hour)
	retired := newSecret("sec_retired", now.Add(-2*time.Hour))
	retired.Retired = f.clock.Now().Wall.Add(-time.Hour)
	retired.Tried, retired.TriedAddress = now, "2001:db8::1"
	k.Secrets = []keystore.Secret{live, phasedOut, retired}
	rev := f.put(t, k)

	require.Equal(t, rev, k.Revision)
	require.Equal(t, now.Truncate(time.Millisecond).UTC(), k.Created, "the caller's record is rounded")
	require.Equal(t, k, f.get(t, k.ID))
	byClient, err := f.KeyByClientID(t.Context(), k.ClientID)
	require.NoError(t, err)
	require.Equal(t, k, byClient)

	bare := f.key(2)
	bare.Secrets = nil
	bare.Labels, bare.AllowedCIDRs = map[string]string{}, []netip.Prefix{}
	f.put(t, bare)
	require.Equal(t, bare, f.get(t, bare.ID), "empty lists and maps are read back as put")
	require.Nil(t, bare.Labels)
}

func keyReplace(t *testing.T, f *fixture) {
	k := f.key(1)
	k.Labels = map[string]string{"a": "b"}
	k.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	k.ExpiresAt = f.clock.Now().Wall.Add(time.Hour)
	first := f.put(t, k)
	k.Labels, k.AllowedCIDRs, k.ExpiresAt = nil, nil, time.Time{}
	k.Name, k.Enabled, k.MicrotenantID = "Renamed", false, lab
	k.Secrets = []keystore.Secret{newSecret("sec_other", f.clock.Now().Wall)}
	second := f.put(t, k)
	require.Equal(t, first+1, second)
	got := f.get(t, k.ID)
	require.Equal(t, k, got)
	require.Equal(t, second, got.Revision)
}

func keyExactClientID(t *testing.T, f *fixture) {
	k := f.key(1)
	k.ClientID = "Client-ÄB"
	f.put(t, k)
	for _, other := range []string{"client-äb", "Client-AB", "Client-ÄB ", " Client-ÄB", "Client-A\u0308B", "Client-Ä_", "%", "Client-ÄB%", ""} {
		_, err := f.KeyByClientID(t.Context(), other)
		require.ErrorIs(t, err, keystore.ErrNotFound, "%q", other)
	}
	variant := f.key(2)
	variant.ClientID, variant.Name = "client-äb", "KEY 0001"
	f.put(t, variant)
	got, err := f.KeyByClientID(t.Context(), variant.ClientID)
	require.NoError(t, err)
	require.Equal(t, variant.ID, got.ID)
}

func keyClientIDConflict(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	thief := f.key(2)
	thief.ClientID, thief.CustomerID = f.key(1).ClientID, globex
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutKey(ctx, thief) })
	refused(t, err, keystore.ErrConflict, "client_id")
}

func keyNameConflict(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	put := func(change func(*keystore.Key)) error {
		k := f.key(2)
		k.Name = f.key(1).Name
		change(k)
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
			if err := tx.PutKey(ctx, k); err != nil {
				return err
			}
			return tx.DeleteKey(ctx, k.ID)
		})
		return err
	}
	refused(t, put(func(*keystore.Key) {}), keystore.ErrConflict, "name")
	require.NoError(t, put(func(k *keystore.Key) { k.MicrotenantID = lab }))
	require.NoError(t, put(func(k *keystore.Key) { k.CustomerID = globex }))
	require.NoError(t, put(func(k *keystore.Key) { k.Name = "key 0001" }))
}

func keyReferences(t *testing.T, f *fixture) {
	for field, change := range map[string]func(*keystore.Key){
		"customer_id":    func(k *keystore.Key) { k.CustomerID = "cust_none" },
		"microtenant_id": func(k *keystore.Key) { k.MicrotenantID = "mt_none" },
		"role_id":        func(k *keystore.Key) { k.RoleID = "role_none" },
	} {
		k := f.key(1)
		change(k)
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutKey(ctx, k) })
		refused(t, err, keystore.ErrNotFound, field)
	}
	foreign := f.key(1)
	foreign.CustomerID, foreign.MicrotenantID = globex, lab
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutKey(ctx, foreign) })
	refused(t, err, keystore.ErrNotFound, "microtenant_id")
	foreign.MicrotenantID, foreign.RoleID = "", auditor
	_, err = f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutKey(ctx, foreign) })
	refused(t, err, keystore.ErrNotFound, "role_id")
}

func keyRefusedLeavesNoTrace(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	bad := f.key(2)
	bad.Secrets = append(bad.Secrets, f.key(1).Secrets[0]) // the last thing looked at
	good := f.key(3)
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		refused(t, tx.PutKey(ctx, bad), keystore.ErrConflict, "secrets")
		require.ErrorIs(t, tx.DeleteKey(ctx, "key_none"), keystore.ErrNotFound)
		return tx.PutKey(ctx, good)
	})
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		_, err := r.Key(ctx, bad.ID)
		require.ErrorIs(t, err, keystore.ErrNotFound)
		_, err = r.Key(ctx, good.ID)
		return err
	})
}

func keyWithoutID(t *testing.T, f *fixture) {
	for _, change := range []func(*keystore.Key){
		func(k *keystore.Key) { k.ID = "" },
		func(k *keystore.Key) { k.ClientID = "" },
		func(k *keystore.Key) { k.Secrets[0].ID = "" },
		func(k *keystore.Key) { k.AllowedCIDRs = []netip.Prefix{{}} },
	} {
		k := f.key(1)
		change(k)
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutKey(ctx, k) })
		require.Error(t, err)
	}
}

func keyDelete(t *testing.T, f *fixture) {
	k := f.key(1)
	f.put(t, k)
	ctx := t.Context()
	_, err := f.Count(ctx, strict(), []keystore.Proof{{KeyID: k.ID}})
	require.NoError(t, err)
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutSession(ctx, &keystore.Session{ID: "jti1", KeyID: k.ID, Expires: f.clock.Now().Wall.Add(time.Hour)})
	})
	before := f.head(t)
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, k.ID) })
	require.Equal(t, before+1, rev)

	_, err = f.KeyByClientID(ctx, k.ClientID)
	require.ErrorIs(t, err, keystore.ErrNotFound)
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		_, err := r.Key(ctx, k.ID)
		require.ErrorIs(t, err, keystore.ErrNotFound)
		_, err = r.Session(ctx, "jti1")
		require.ErrorIs(t, err, keystore.ErrNotFound)
		tallies, err := r.Tallies(ctx, k.ID)
		require.Empty(t, tallies)
		return err
	})
	all, err := f.Tallies(ctx, 0)
	require.NoError(t, err)
	require.Empty(t, all)
	changes, err := f.Changes(ctx, before)
	require.NoError(t, err)
	require.Equal(t, []keystore.Change{{Revision: rev, Kind: keystore.KindKey, ID: k.ID, ClientID: k.ClientID}}, changes)
	_, err = f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, k.ID) })
	require.ErrorIs(t, err, keystore.ErrNotFound)
	_, err = f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.Rewrap(ctx, k.Secrets[0].ID, [32]byte{}, "mk2")
	})
	require.ErrorIs(t, err, keystore.ErrNotFound)
}

func keyRecreate(t *testing.T, f *fixture) {
	old := f.key(1)
	f.put(t, old)
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, old.ID) })
	again := f.key(1)
	again.ID, again.Secrets = "key_again", []keystore.Secret{newSecret("sec_again", f.clock.Now().Wall)}
	f.put(t, again)
	got, err := f.KeyByClientID(t.Context(), old.ClientID)
	require.NoError(t, err)
	require.Equal(t, again, got)
}

func keyChangedClientID(t *testing.T, f *fixture) {
	k := f.key(1)
	before := f.put(t, k)
	k.ClientID = "client-new"
	rev := f.put(t, k)
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.ElementsMatch(t, []keystore.Change{
		{Revision: rev, Kind: keystore.KindKey, ID: k.ID, ClientID: f.key(1).ClientID},
		{Revision: rev, Kind: keystore.KindKey, ID: k.ID, ClientID: "client-new"},
	}, changes)
}

// hostile are names that some layer may take for more than text.
var hostile = []string{
	`'; DROP TABLE keys; --`, `" OR 1=1 --`, `%`, `_`, `\`, `\'`, "a\r\nSet-Cookie: x=y", "{{.Secret}}", "${jndi:ldap://x}",
	"{env.HOME}", "=cmd|'/c calc'!A0", "naïve \u202e tab\t", "日本語 🔑", "Ǆ ß İ ı", " leading and trailing ", `{"a":1}`, "?", "?1", ":name", "$1", "NULL",
}

func keyHostileText(t *testing.T, f *fixture) {
	for i, text := range hostile {
		k := f.key(i)
		k.Name, k.Description, k.ClientID = text, text, text
		k.Labels = map[string]string{text: text}
		k.CreatedBy, k.ModifiedBy = text, text
		f.put(t, k)
		got, err := f.KeyByClientID(t.Context(), text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, k, got)
	}
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		for _, text := range hostile {
			keys, total, err := r.Keys(ctx, keystore.KeyQuery{CustomerID: acme, Name: text, Limit: 10})
			require.NoError(t, err)
			require.Equal(t, 1, total, "%q", text)
			require.Equal(t, text, keys[0].Name)
		}
		return nil
	})
}

func keyOwnRecords(t *testing.T, f *fixture) {
	k := f.key(1)
	k.Labels = map[string]string{"a": "b"}
	f.put(t, k)
	got := f.get(t, k.ID)
	got.Labels["a"] = "changed"
	got.Secrets[0].Hint = "changed"
	require.Equal(t, k, f.get(t, k.ID))
}
