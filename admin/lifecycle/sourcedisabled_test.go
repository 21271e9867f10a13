package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

// gone lists the client IDs that a source of acme keeps as disabled here.
func (h *house) gone(ref SourceRef) (clientIDs []string) {
	h.Helper()
	require.NoError(h, h.view(h.ctx, local, func(o *op) error {
		kept, err := o.disabledHere(&keystore.Source{CustomerID: ref.CustomerID, Name: ref.Name})
		clientIDs = sortedKeys(kept)
		return err
	}))
	return clientIDs
}

func TestAKeyThatIsDisabledHereStaysSoWhenItsSourceTakesItAwayAndBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	a, b := theirs("a"), theirs("b")
	made := h.mustPush(ref, a, b)
	disable := func(id string, off bool) {
		_, _, err := h.UpdateKey(h.ctx, local, id, KeyPatch{DisabledHere: Some(off)}, nil)
		require.NoError(t, err)
	}
	disable(*made.Items[0].ID, true)
	h.mustPush(ref)
	require.Equal(t, []string{"a"}, h.gone(ref))
	h.mustPush(ref, b)
	require.Equal(t, []string{"a"}, h.gone(ref), "a list that says nothing of it changes nothing")

	_, _, err := h.PushSourceKeys(h.ctx, local, ref, SourcePush{Keys: []SourceKey{a, b}, DryRun: true}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, h.gone(ref))
	a.Name, a.MicrotenantID = "renamed", Some("emea")
	again := h.mustPush(ref, a, b)
	require.True(t, h.stored("a").DisabledHere)
	require.False(t, h.stored("b").DisabledHere)
	require.Empty(t, h.gone(ref), "the key holds it again")

	disable(*again.Items[0].ID, false)
	h.mustPush(ref, b)
	h.mustPush(ref, a, b)
	require.False(t, h.stored("a").DisabledHere, "enabled here is what it was last")
}

func TestWhatIsDisabledHereIsRememberedForItsSourceAloneAndGoesWithIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	h.other("umbrella")
	a := theirs("a")
	id := *h.mustPush(ref, a).Items[0].ID
	_, _, err := h.UpdateKey(h.ctx, local, id, KeyPatch{DisabledHere: Some(true)}, nil)
	require.NoError(t, err)
	h.mustPush(ref)
	elsewhere := SourceRef{Name: "idp", CustomerID: "umbrella"}
	h.mustPush(elsewhere, a)
	require.False(t, h.stored("a").DisabledHere)
	h.mustPush(elsewhere)
	_, err = h.DeleteSource(h.ctx, local, ref, nil)
	require.NoError(t, err)
	require.Empty(t, h.gone(ref))
	h.source()
	h.mustPush(ref, a)
	require.False(t, h.stored("a").DisabledHere)
}

func TestWhatASourceKeepsAsDisabledHereIsBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	at := h.clock.Now().Wall
	_, err := h.update(h.ctx, local, func(o *op) error {
		source, err := o.findSource(ref)
		if err != nil {
			return err
		}
		p := &push{op: o, source: source, disabled: map[string]time.Time{}}
		for i := range maxDisabledHere {
			p.disabled[indexed("k", i)] = at.Add(time.Duration(i-maxDisabledHere) * time.Second)
		}
		for clientID := range p.disabled {
			if err := p.putDisabledHere(clientID, []byte(`{}`)); err != nil {
				return err
			}
		}
		p.steps = []pushStep{{before: &keystore.Key{ClientID: "last", DisabledHere: true}}, {before: &keystore.Key{ClientID: "enabled"}}}
		return p.keepDisabledHere()
	})
	require.NoError(t, err)
	gone := h.gone(ref)
	require.Len(t, gone, maxDisabledHere)
	require.Contains(t, gone, "last")
	require.Contains(t, gone, "k[1]")
	require.NotContains(t, gone, "k[0]", "the oldest made room")
	require.NotContains(t, gone, "enabled")
}
