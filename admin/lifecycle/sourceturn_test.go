package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestACustomerHasOneListAtATime(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	h.other("umbrella")
	turn, err := h.StartPush(h.ctx, local, ref)
	require.NoError(t, err)
	_, err = h.push(ref, theirs("a"))
	requireRefused(t, err, Conflict, CodePushInProgress, "")
	_, _, err = h.PushSourceKeys(h.ctx, local, ref, SourcePush{DryRun: true}, nil)
	requireRefused(t, err, Conflict, CodePushInProgress, "")
	h.mustPush(SourceRef{Name: "idp", CustomerID: "umbrella"}, theirs("far"))
	out, _, err := turn.Push(h.ctx, SourcePush{Keys: []SourceKey{theirs("a")}}, nil)
	require.NoError(t, err)
	require.Equal(t, "+1 ~0 =0 -0 a:created", results(out))
	turn.End()
	h.mustPush(ref, theirs("a"))
	_, err = h.push(ref, SourceKey{})
	require.Error(t, err)
	h.mustPush(ref, theirs("a")) // a refused list gives its turn back too

	viewer := h.actor("viewer", h.role("Viewer", policy.Permissions{"keyreeve/sources": policy.View}))
	_, err = h.StartPush(h.ctx, viewer, ref)
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	_, err = h.StartPush(h.ctx, local, SourceRef{Name: "none-such", CustomerID: "acme"})
	requireRefused(t, err, NotFound, CodeNotFound, "")
}

// readOnlyStore has a writer that nobody may have.
type readOnlyStore struct{ Store }

func (readOnlyStore) Update(context.Context, func(keystore.Tx) error) (keystore.Revision, error) {
	panic("the writer was asked for")
}

func TestADryRunFindsConflictsWithoutTheWriter(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	h.mustPush(ref, theirs("a"), theirs("b"), theirs("c"))
	h.key("ours", keystore.RoleReadOnly)
	reader := New(Config{Store: readOnlyStore{h.store}, Keyring: h.cfg.Keyring})
	dry := func(keys ...SourceKey) (PushedSource, error) {
		out, _, err := reader.PushSourceKeys(h.ctx, local, ref, SourcePush{Keys: keys, DryRun: true}, nil)
		return out, err
	}
	a, b, d := theirs("a"), theirs("b"), theirs("d")
	a.Name, b.Name, d.Name = b.Name, a.Name, "name of c"
	out, err := dry(a, b, d)
	require.NoError(t, err, "names within the source are for the list to give")
	require.Equal(t, "+1 ~2 =0 -1 a:updated b:updated d:created c:removed", results(out))

	d.Name = "ours"
	_, err = dry(a, b, d)
	requireRefused(t, err, Conflict, CodeNameTaken, "keys[2].name")
	d.MicrotenantID = Some("emea")
	_, err = dry(a, b, d)
	require.NoError(t, err, "a name is unique where the key is")
	b.Name = "ours"
	_, err = dry(theirs("a"), b)
	requireRefused(t, err, Conflict, CodeNameTaken, "keys[1].name")
}

func TestAListThatNamesClientIDsOfOthersIsAuditedOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	for _, id := range []string{"far", "farther"} {
		_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: id, RoleID: keystore.RoleReadOnly, CustomerID: "umbrella", ClientID: id, SecretSHA256: sha("s")})
		require.NoError(t, err)
	}
	events := h.eventCount()
	for _, dryRun := range []bool{true, false} {
		_, _, err := h.PushSourceKeys(h.ctx, local, ref, SourcePush{Keys: []SourceKey{theirs("far"), theirs("fine"), theirs("farther")}, DryRun: dryRun}, nil)
		requireRefused(t, err, Conflict, CodeClientIDTaken, "keys[0].client_id")
		requireRefused(t, err, Conflict, CodeClientIDTaken, "keys[2].client_id")
		require.NoError(t, h.store.View(h.ctx, func(r keystore.Reader) error {
			newest, _, err := r.AuditEvents(h.ctx, keystore.AuditQuery{CustomerID: "acme", Limit: 1})
			require.Equal(t, "source.sync", newest[0].Action)
			var kept refusedSync
			require.NoError(t, json.Unmarshal(newest[0].After, &kept))
			require.Equal(t, refusedSync{Refused: CodeClientIDTaken, DryRun: dryRun}, kept)
			return err
		}))
	}
	require.Equal(t, events+2, h.eventCount())
	_, _, err := h.PushSourceKeys(h.ctx, local, ref, SourcePush{Keys: []SourceKey{{}}, DryRun: true}, nil)
	require.Error(t, err)
	require.Equal(t, events+2, h.eventCount(), "what is wrong with a list itself is nobody's news")
}

func TestAListIsBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	_, err := h.push(ref, make([]SourceKey, MaxSourceKeys+1)...)
	requireInvalid(t, err, "keys", FieldTooMany)
	var refused *Error
	_, err = h.push(ref, make([]SourceKey, MaxSourceKeys)...)
	require.ErrorAs(t, err, &refused)
	require.Len(t, refused.Fields, MaxFaults)
	require.True(t, strings.HasPrefix(refused.Fields[MaxFaults-1].Field, "keys["), "those named are of the first keys")
}

func TestSecretsThatAListReplacesAreForgottenInTheEnd(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	k := theirs("a")
	for i := range maxPastSecrets + 5 {
		k.SecretSHA256 = sha(fmt.Sprint("secret ", i))
		h.mustPush(ref, k)
		h.clock.Advance(time.Second)
	}
	kept := h.stored("a").Secrets
	require.Len(t, kept, maxPastSecrets+1)
	require.True(t, kept[0].Live(h.clock.Now().Wall))
}
