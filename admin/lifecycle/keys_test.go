package lifecycle

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestEveryChangeIsAuditedInItsTransactionAndWithoutSecrets(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.actor("auditor", keystore.RoleOperator)
	made, _, err := h.CreateKey(h.ctx, a, NewKey{Name: "k", RoleID: keystore.RoleReadOnly, Labels: map[string]string{"team": "a"}})
	require.NoError(t, err)
	_, _, err = h.UpdateKey(h.ctx, a, made.ID, KeyPatch{Name: Some("k2"), Enabled: Some(false)}, nil)
	require.NoError(t, err)
	_, _, err = h.UpdateKey(h.ctx, a, made.ID, KeyPatch{Name: Some("k2")}, nil)
	require.NoError(t, err)
	_, err = h.Unlock(h.ctx, a, made.ID, "", nil)
	require.NoError(t, err)
	_, err = h.DeleteKey(h.ctx, a, made.ID, nil)
	require.NoError(t, err)
	_, _, err = h.UpdateKey(h.ctx, a, made.ID, KeyPatch{Name: Some("k3")}, nil)
	requireRefused(t, err, NotFound, CodeNotFound, "")

	var events []*keystore.Audit
	require.NoError(t, h.store.View(h.ctx, func(r keystore.Reader) (err error) {
		events, _, err = r.AuditEvents(h.ctx, keystore.AuditQuery{CustomerID: "acme", Limit: 4})
		return err
	}))
	var actions []string
	for _, e := range events {
		actions = append(actions, e.Action)
		require.Equal(t, []string{"key", a.ID, "auditor", "192.0.2.1", "req-1", "key", made.ID},
			[]string{e.ActorKind, e.ActorID, e.ActorName, e.Address, e.RequestID, e.TargetKind, e.TargetID})
		for _, text := range []string{string(e.Before), string(e.After)} {
			require.NotContains(t, text, made.ClientSecret)
			require.NotContains(t, text, made.ClientSecret[len(made.ClientSecret)-4:], "not even its hint")
			require.NotContains(t, strings.ToLower(text), "verifier")
		}
	}
	require.Equal(t, []string{"key.delete", "key.unlock", "key.update", "key.create"}, actions, "and a patch that changes nothing is no event")
	var before, after map[string]any
	require.NoError(t, json.Unmarshal(events[2].Before, &before))
	require.NoError(t, json.Unmarshal(events[2].After, &after))
	require.Equal(t, []any{"k", true, "k2", false}, []any{before["name"], before["enabled"], after["name"], after["enabled"]})
	require.Nil(t, events[3].Before)
	require.Nil(t, events[0].After)
}

func TestARefusedChangeLeavesNoTrace(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.key("k", keystore.RoleReadOnly)
	count := func() (n int) {
		require.NoError(t, h.store.View(h.ctx, func(r keystore.Reader) error {
			events, _, err := r.AuditEvents(h.ctx, keystore.AuditQuery{AllCustomers: true, Limit: 1000})
			n = len(events)
			return err
		}))
		return n
	}
	before := count()
	_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
	_, _, err = h.CreateKey(h.ctx, local, NewKey{Name: "new", RoleID: keystore.RoleReadOnly, CustomerID: "acme", MicrotenantID: Some("none")})
	requireInvalid(t, err, "microtenant_id", FieldNotFound)
	_, _, err = h.CreateKey(h.ctx, local, NewKey{Name: "new", RoleID: keystore.RoleReadOnly, CustomerID: "none"})
	requireInvalid(t, err, "customer_id", FieldNotFound)
	require.Equal(t, before, count())
}

func TestANameIsUniqueInItsCustomerAndMicrotenantAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	create := func(name, customer, microtenant string) (CreatedKey, error) {
		in := NewKey{Name: name, RoleID: keystore.RoleReadOnly, CustomerID: customer}
		if microtenant != "" {
			in.MicrotenantID = Some(microtenant)
		}
		k, _, err := h.CreateKey(h.ctx, local, in)
		return k, err
	}
	for _, place := range [][2]string{{"acme", ""}, {"acme", "emea"}, {"acme", "apac"}, {"umbrella", ""}} {
		_, err := create("same", place[0], place[1])
		require.NoError(t, err, place)
		_, err = create("same", place[0], place[1])
		requireRefused(t, err, Conflict, CodeNameTaken, "name")
	}
	other, err := create("other", "acme", "emea")
	require.NoError(t, err)
	_, _, err = h.UpdateKey(h.ctx, local, other.ID, KeyPatch{Name: Some("same")}, nil)
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
}

func TestKeysOfAnExternalSourceAreChangedThereAndUnlockedHere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.external("theirs", keystore.RoleReadOnly)
	shown, err := h.GetKey(h.ctx, local, id)
	require.NoError(t, err)
	require.Equal(t, []any{"idp", "idp", false, false}, []any{*shown.Source, shown.ManagedBy, shown.Editable, shown.Deletable})
	for name, p := range map[string]KeyPatch{
		"name": {Name: Some("ours")}, "description": {Description: Null[string]()}, "role": {RoleID: Some(keystore.RoleFullAccess)}, "enabled": {Enabled: Some(false)},
		"validity": {SessionValiditySeconds: Some(int64(60))}, "expiry": {ExpiresAt: Null[time.Time]()}, "networks": {AllowedCIDRs: Some([]string{})},
		"labels": {Labels: Null[map[string]*string]()}, "disabled_here and another": {DisabledHere: Some(true), Name: Some("theirs")},
	} {
		_, _, err = h.UpdateKey(h.ctx, local, id, p, nil)
		requireRefused(t, err, Conflict, CodeManaged, "")
		require.ErrorContains(t, err, "IdP team", name)
	}
	_, err = h.DeleteKey(h.ctx, local, id, nil)
	requireRefused(t, err, Conflict, CodeManaged, "")
	_, err = h.Unlock(h.ctx, local, id, "", nil)
	require.NoError(t, err)
	unchanged, err := h.GetKey(h.ctx, local, id)
	require.NoError(t, err)
	require.Equal(t, shown, unchanged)
}

func TestAKeyOfAnExternalSourceIsDisabledHereAndItsSessionsEndForGood(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	theirs := h.externalKey("theirs", keystore.RoleReadOnly)
	id, opens := theirs.ID, h.door()
	require.True(t, opens(theirs.ClientID, theirs.ClientSecret))
	generation := func() (g int64) {
		require.NoError(t, h.store.View(h.ctx, func(r keystore.Reader) error {
			k, err := r.Key(h.ctx, id)
			g = k.Generation
			return err
		}))
		return g
	}
	set := func(disabled bool) Key {
		k, _, err := h.UpdateKey(h.ctx, local, id, KeyPatch{DisabledHere: Some(disabled)}, nil)
		require.NoError(t, err)
		return k
	}
	was := generation()
	off := set(true)
	require.Equal(t, []any{true, true, "disabled"}, []any{off.Enabled, off.DisabledHere, off.State}, "what the source says stays")
	require.Equal(t, was+1, generation())
	require.False(t, opens(theirs.ClientID, theirs.ClientSecret))
	set(true)
	require.Equal(t, was+1, generation())
	on := set(false)
	require.Equal(t, "active", on.State)
	require.True(t, opens(theirs.ClientID, theirs.ClientSecret))
	require.Equal(t, was+1, generation(), "and its old sessions stay over")
	require.Equal(t, []string{"key.update theirs", "key.update theirs"}, h.events(2))

	_, _, err := h.UpdateKey(h.ctx, local, id, KeyPatch{DisabledHere: Null[bool]()}, nil)
	requireInvalid(t, err, "disabled_here", FieldRequired)
	_, _, err = h.UpdateKey(h.ctx, local, id, KeyPatch{DisabledHere: Some(true)}, func(keystore.Revision) bool { return false })
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	own := h.key("own", keystore.RoleReadOnly)
	_, _, err = h.UpdateKey(h.ctx, local, own.ID, KeyPatch{DisabledHere: Some(true)}, nil)
	requireInvalid(t, err, "disabled_here", FieldConflict)
	weak := h.actor("weak", h.role("Weak", policy.Permissions{"keyreeve/keys": policy.Full}))
	_, _, err = h.UpdateKey(h.ctx, weak, id, KeyPatch{DisabledHere: Some(true)}, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "")
}

func TestAStateNamesWhatToMendFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	state := func() string {
		v, err := h.GetKey(h.ctx, local, k.ID)
		require.NoError(t, err)
		listed, err := h.ListKeys(h.ctx, local, KeyFilter{State: v.State, CustomerID: "acme"})
		require.NoError(t, err)
		require.Len(t, listed.Items, 1, "listed under the state it shows: %s", v.State)
		return v.State
	}
	require.Equal(t, "active", state())
	for range 3 {
		_, err := h.store.Count(h.ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: k.ID}})
		require.NoError(t, err)
	}
	require.Equal(t, "locked", state())
	_, _, err := h.UpdateKey(h.ctx, local, k.ID, KeyPatch{ExpiresAt: Some(h.clock.Now().Wall.Add(time.Minute))}, nil)
	require.NoError(t, err)
	h.clock.Advance(time.Minute)
	require.Equal(t, "expired", state())
	same, _, err := h.UpdateKey(h.ctx, local, k.ID, KeyPatch{ExpiresAt: Some(h.clock.Now().Wall), Enabled: Some(false)}, nil)
	require.NoError(t, err, "an expiry sent back as it is may lie in the past")
	require.Equal(t, "disabled", same.State)
	require.Equal(t, "disabled", state())
}

func TestASessionValidityIsBoundedByTheConfiguration(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.Service = New(Config{Store: h.store, Keyring: h.cfg.Keyring, MaxValidity: 2 * time.Hour})
	for seconds, fine := range map[int64]bool{59: false, 60: true, 7200: true, 7201: false, -1: false, 0: false, 1 << 62: false} {
		_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "k" + time.Duration(seconds).String(), RoleID: keystore.RoleReadOnly, CustomerID: "acme", SessionValiditySeconds: Some(seconds)})
		if fine {
			require.NoError(t, err, seconds)
		} else {
			requireInvalid(t, err, "session_validity_seconds", FieldRange)
		}
	}
}

func TestACommitCarriesItsRevisionAndPropagation(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var asked keystore.Revision
	h.Service = New(Config{Store: h.store, Keyring: h.cfg.Keyring, Propagation: func(_ context.Context, r keystore.Revision, _ time.Duration) keystore.Propagation {
		asked = r
		return keystore.Propagation{Confirmed: 2, Pending: []keystore.PendingNode{{ID: "node_2", Name: "gate-2"}}}
	}})
	made, commit, err := h.CreateKey(h.ctx, local, NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	require.NoError(t, err)
	head, err := h.store.Head(h.ctx)
	require.NoError(t, err)
	require.Equal(t, Commit{Revision: head, Propagation: Propagation{Confirmed: 2, Pending: []PendingNode{{Node: "gate-2", NodeID: "node_2"}}}}, commit)
	require.Equal(t, []keystore.Revision{head, head}, []keystore.Revision{asked, made.Revision})
}

func TestAnImportedSecretIsKeptAsItsVerifierAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	opens := h.door()
	digest := h.cfg.Keyring.Digest("legacy")
	for form, text := range map[string]string{
		"hex": hexText(digest), "HEX": strings.ToUpper(hexText(digest)),
		"base64url": base64.RawURLEncoding.EncodeToString(digest[:]), "padded": base64.URLEncoding.EncodeToString(digest[:]),
	} {
		id := "legacy-" + form
		made, _, err := h.CreateKey(h.ctx, local, NewKey{Name: form, RoleID: keystore.RoleReadOnly, CustomerID: "acme", ClientID: id, SecretSHA256: text})
		require.NoError(t, err, form)
		require.Empty(t, made.ClientSecret)
		require.Empty(t, made.Secrets[0].Hint)
		require.True(t, opens(id, "legacy"), form)
		require.False(t, opens(id, text), "a leaked digest is no credential")
		stored, err := h.store.KeyByClientID(h.ctx, id)
		require.NoError(t, err)
		want, ok := h.cfg.Keyring.Verifier(stored.Secrets[0].MasterKeyID, digest)
		require.True(t, ok)
		require.True(t, credential.Equal(want, stored.Secrets[0].Verifier))
		require.NotEqual(t, digest, stored.Secrets[0].Verifier)
	}
}

func TestWhatIsNoDigestIsNotImported(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	long := make([]byte, 33)
	_, _ = rand.Read(long)
	for _, c := range []struct{ clientID, digest, field, code string }{
		{"c", hex.EncodeToString(long[:31]), "secret_sha256", FieldFormat},
		{"c", hex.EncodeToString(long), "secret_sha256", FieldFormat},
		{"c", base64.RawURLEncoding.EncodeToString(long[:31]), "secret_sha256", FieldFormat},
		{"c", base64.RawURLEncoding.EncodeToString(long), "secret_sha256", FieldFormat},
		{"c", "+/" + base64.RawURLEncoding.EncodeToString(long[:32])[2:], "secret_sha256", FieldFormat},
		{"c", "krs_" + strings.Repeat("A", 49), "secret_sha256", FieldFormat},
		{"c", " " + hex.EncodeToString(long[:32]), "secret_sha256", FieldFormat},
		{"", hex.EncodeToString(long[:32]), "client_id", FieldRequired},
		{"a:b", hex.EncodeToString(long[:32]), "client_id", FieldFormat},
		{strings.Repeat("c", credential.MaxClientID+1), "", "client_id", FieldFormat},
	} {
		_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme", ClientID: c.clientID, SecretSHA256: c.digest})
		requireInvalid(t, err, c.field, c.code)
		if c.digest != "" {
			require.NotContains(t, err.Error(), c.digest)
		}
	}
}

func TestAClientIDHasOneOwnerWhoIsNotNamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	theirs, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "their key", RoleID: keystore.RoleReadOnly, CustomerID: "umbrella", ClientID: "legacy-1"})
	require.NoError(t, err)
	a := h.actor("op", h.role("Maker", policy.Permissions{"*": policy.View, "keyreeve/keys": policy.Full}))
	_, _, err = h.CreateKey(h.ctx, a, NewKey{Name: "k", RoleID: keystore.RoleReadOnly, ClientID: "legacy-1"})
	requireRefused(t, err, Conflict, CodeClientIDTaken, "client_id")
	for _, of := range []string{"umbrella", theirs.ID, theirs.Name} {
		require.NotContains(t, err.Error(), of)
	}
}

func TestTheFirstKeyOfAFreshStoreNeedsNoCustomer(t *testing.T) {
	h := newEmptyHouse(t)
	first, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "first", RoleID: keystore.RoleOperator})
	require.NoError(t, err)
	require.Equal(t, defaultCustomer, first.CustomerID)
	second, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "second", RoleID: keystore.RoleReadOnly})
	require.NoError(t, err)
	require.Equal(t, defaultCustomer, second.CustomerID, "the only customer is meant")
	_, _, err = h.CreateCustomer(h.ctx, local, NewCustomer{ID: "acme", Name: "Acme"})
	require.NoError(t, err)
	_, _, err = h.CreateKey(h.ctx, local, NewKey{Name: "third", RoleID: keystore.RoleReadOnly})
	require.ErrorContains(t, err, "customer", "with two, one must be named")
}

func TestAFirstKeyThatIsRefusedLeavesNoCustomerBehind(t *testing.T) {
	h := newEmptyHouse(t)
	_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "first", RoleID: "no-such-role"})
	require.Error(t, err)
	require.NoError(t, h.store.View(h.ctx, func(r keystore.Reader) error {
		all, err := r.Customers(h.ctx)
		require.Empty(t, all)
		return err
	}))
}
