package session_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/session"
)

// audited lists the events of an action, oldest first.
func audited(t *testing.T, n *node, action string) []*keystore.Audit {
	t.Helper()
	var events []*keystore.Audit
	require.NoError(t, n.keys.View(t.Context(), func(r keystore.Reader) (err error) {
		events, _, err = r.AuditEvents(t.Context(), keystore.AuditQuery{AllCustomers: true, Action: action, Oldest: true, Limit: 100})
		return err
	}))
	return events
}

func TestASignOutIsAuditedOnceWithWhoAndFromWhere(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	issued := w.issue(n)
	by := session.Ending{Reason: "sign_out", Address: "192.0.2.7", RequestID: "req-7"}
	for range 2 { // the second ends nothing
		_, err := n.Revoke(t.Context(), issued.Claims, by)
		require.NoError(t, err)
	}
	events := audited(t, n, "session.end")
	require.Len(t, events, 1)
	e := events[0]
	require.Equal(t, [...]string{"c1", "m1", "key", w.key.ID, w.key.Name, "192.0.2.7", "req-7", "session", issued.Claims.ID, w.key.Name},
		[...]string{e.CustomerID, e.MicrotenantID, e.ActorKind, e.ActorID, e.ActorName, e.Address, e.RequestID, e.TargetKind, e.TargetID, e.TargetName})
	var before, after keystore.SessionRecord
	require.NoError(t, json.Unmarshal(e.Before, &before))
	require.NoError(t, json.Unmarshal(e.After, &after))
	require.Nil(t, before.EndedAt)
	require.NotNil(t, after.EndedAt)
	require.Equal(t, []string{w.key.ID, w.key.ClientID, "sign_out"}, []string{after.KeyID, after.ClientID, *after.EndReason})
	require.NotContains(t, string(e.Before)+string(e.After), issued.Token)
}

func TestASessionPushedOutByAnotherIsAuditedAsKeyreevesOwnDoing(t *testing.T) {
	w := newWorld(t)
	settings := standard
	settings.MaxPerKey = 1
	n := w.node(settings)
	first := w.issue(n)
	require.Empty(t, audited(t, n, "session.end"))
	w.issue(n)
	events := audited(t, n, "session.end")
	require.Len(t, events, 1)
	require.Equal(t, "system", events[0].ActorKind)
	require.Empty(t, events[0].ActorID)
	require.Equal(t, first.Claims.ID, events[0].TargetID)
	require.Contains(t, string(events[0].After), `"max_per_key"`)
}

func TestSessionsPushedOutAreAuditedOnceAMinuteAndCounted(t *testing.T) {
	w := newWorld(t)
	settings := standard
	settings.MaxPerKey = 2
	n := w.node(settings)
	w.issue(n)                                                                                              // makes the signing key
	w.clock.Advance(w.clock.Now().Wall.Truncate(time.Minute).Add(10 * time.Minute).Sub(w.clock.Now().Wall)) // a minute begins
	signIn := func(times int) {
		for range times {
			w.issue(n)
		}
	}
	also := func() (counts []int) {
		for _, e := range audited(t, n, "session.end") {
			var after struct {
				EndReason string `json:"end_reason"`
				AlsoEnded int    `json:"also_ended"`
			}
			require.NoError(t, json.Unmarshal(e.After, &after))
			require.Equal(t, keystore.EndPushedOut, after.EndReason)
			counts = append(counts, after.AlsoEnded)
		}
		return counts
	}
	signIn(1 + 10)
	w.clock.Advance(59 * time.Second)
	signIn(5)
	require.Equal(t, []int{0}, also())
	w.clock.Advance(time.Second) // the next minute
	signIn(1)
	require.ElementsMatch(t, []int{0, 14}, also())
	w.clock.StepWall(-2 * time.Minute)
	signIn(7)
	require.Len(t, also(), 3, "one of its own, whatever minutes are to come")
	require.NoError(t, n.keys.View(t.Context(), func(r keystore.Reader) error {
		_, total, err := r.ListSessions(t.Context(), keystore.SessionQuery{AllCustomers: true, State: keystore.SessionEnded})
		require.Equal(t, 10+5+1+7, total, "each is listed all the same")
		return err
	}))
}

func TestAMadeSigningKeyIsAuditedWithoutItsHalves(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	w.issue(n)
	events := audited(t, n, "signing_key.")
	require.Len(t, events, 1)
	require.Equal(t, "signing_key.create", events[0].Action)
	require.Empty(t, events[0].CustomerID)
	require.Equal(t, keyIDs(t, n), []string{events[0].TargetID})
	var after map[string]any
	require.NoError(t, json.Unmarshal(events[0].After, &after))
	require.Len(t, after, 5)
	require.Equal(t, session.EdDSA, after["algorithm"])
}

func TestASessionWhoseEndCannotBeAuditedDoesNotEnd(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	issued := w.issue(n)
	broken, _ := w.unsealed(standard)
	_, err := broken.Revoke(t.Context(), issued.Claims, session.Ending{Reason: "sign_out"})
	require.ErrorContains(t, err, "audit event session.end not stored")
	require.False(t, strings.Contains(err.Error(), issued.Token))
	_, err = w.verify(broken, issued.Token)
	require.NoError(t, err, "it was not half ended")
	_, err = n.Revoke(t.Context(), issued.Claims, session.Ending{Reason: "sign_out"})
	require.NoError(t, err)
}
