package keystore

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/credential"
)

func sampleEvent() Audit {
	return Audit{
		Seq: 7, At: time.Date(2026, 5, 1, 12, 0, 0, 123e6, time.UTC), CustomerID: "acme", MicrotenantID: "emea",
		ActorKind: "key", ActorID: "key_1", ActorName: "admin", Address: "192.0.2.1", RequestID: "req-1",
		Action: "key.update", TargetKind: "key", TargetID: "key_2", TargetName: "nightly",
		Before: json.RawMessage(`{"name":"a","n":1}`), After: json.RawMessage(`{"name":"b","n":1}`),
	}
}

func linked(t require.TestingT, e Audit, previous [32]byte) [32]byte {
	hash, err := e.Link(previous)
	require.NoError(t, err)
	return hash
}

func TestEveryFieldOfAnEventIsInItsHash(t *testing.T) {
	t.Parallel()
	// Where an event stands in the store, and what Link itself makes.
	notHashed := map[string]bool{"ID": true, "Hash": true, "MAC": true, "MasterKeyID": true}
	base := sampleEvent()
	want := linked(t, base, [32]byte{})
	fields := reflect.TypeFor[Audit]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		e := base
		f := reflect.ValueOf(&e).Elem().Field(i)
		switch f.Interface().(type) {
		case string:
			f.SetString(f.String() + "x")
		case int64:
			f.SetInt(f.Int() + 1)
		case time.Time:
			f.Set(reflect.ValueOf(e.At.Add(time.Millisecond)))
		case json.RawMessage:
			f.Set(reflect.ValueOf(json.RawMessage(`{"name":"c","n":1}`)))
		case [32]byte:
			f.Set(reflect.ValueOf([32]byte{1}))
		default:
			require.Fail(t, "a field of a type that this test does not know", name)
		}
		require.Equal(t, notHashed[name], linked(t, e, [32]byte{}) == want, name)
	}
	require.NotEqual(t, want, linked(t, base, [32]byte{1}), "the event before")
}

func TestARecordWrittenInAnotherWayKeepsItsHash(t *testing.T) {
	t.Parallel()
	base := sampleEvent()
	base.After = json.RawMessage(`{"a":{"x":[1,2],"y":null},"b":"é<&>"}`)
	want := linked(t, base, [32]byte{})
	for _, same := range []string{
		` { "b" : "é<&>", "a" : { "y": null, "x": [ 1 , 2 ] } } `,
		`{"b":"\u00e9\u003c\u0026\u003e","a":{"y":null,"x":[1,2]}}`,
	} {
		base.After = json.RawMessage(same)
		require.Equal(t, want, linked(t, base, [32]byte{}), same)
	}
	for _, other := range []string{
		`{"a":{"x":[2,1],"y":null},"b":"é<&>"}`, `{"a":{"x":[1,2]},"b":"é<&>"}`, `{"a":{"x":[1.0,2],"y":null},"b":"é<&>"}`,
		`{"a":{"x":[1,2],"y":null},"b":"é<&> "}`, `{}`,
	} {
		base.After = json.RawMessage(other)
		require.NotEqual(t, want, linked(t, base, [32]byte{}), other)
	}
}

func TestNoRecordAtAllAndNullAreOne(t *testing.T) {
	t.Parallel()
	e := sampleEvent()
	e.Before = nil
	want := linked(t, e, [32]byte{})
	e.Before = json.RawMessage(`null`)
	require.Equal(t, want, linked(t, e, [32]byte{}), "an export spells out the null")
}

func TestWhatTwoReadersUnderstandDifferentlyHasNoHash(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`{"role":"a","role":"b"}`, `{"a":{"r":1,"r":2}}`, `{"a":1}{"a":2}`, `{"a":1`, `{"a":` + "\"\xff\"" + `}`, ``,
		strings.Repeat("[", 100) + strings.Repeat("]", 100),
	} {
		e := sampleEvent()
		e.After = json.RawMessage(bad)
		_, err := e.Link([32]byte{})
		require.ErrorContains(t, err, "after", bad)
	}
}

// TestNoTextCanMoveFromOneFieldToTheNext: two events whose fields differ have two
// hashes, even where all that is written one after the other is the same.
func TestNoTextCanMoveFromOneFieldToTheNext(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00")), 1, 6, -1).Draw(t, "text")
		one, two := rapid.IntRange(0, len(text)).Draw(t, "cut"), rapid.IntRange(0, len(text)).Draw(t, "other cut")
		e, f := sampleEvent(), sampleEvent()
		e.ActorID, e.ActorName = text[:one], text[one:]
		f.ActorID, f.ActorName = text[:two], text[two:]
		require.Equal(t, one == two, linked(t, e, [32]byte{}) == linked(t, f, [32]byte{}))
	})
}

func TestTheEndsOfAChainAreToldApart(t *testing.T) {
	t.Parallel()
	h := AuditHead{CustomerID: "acme", Seq: 3, Hash: [32]byte{1}, TrimmedSeq: 2, TrimmedHash: [32]byte{2}}
	digest := h.HeadDigest()
	for name, change := range map[string]func(*AuditHead){
		"customer": func(h *AuditHead) { h.CustomerID = "umbrella" },
		"number":   func(h *AuditHead) { h.Seq++ },
		"hash":     func(h *AuditHead) { h.Hash[31]++ },
	} {
		other := h
		change(&other)
		require.NotEqual(t, digest, other.HeadDigest(), name)
	}
	require.NotEqual(t, digest, h.TrimmedDigest())
	h.TrimmedSeq, h.TrimmedHash = h.Seq, h.Hash
	require.Equal(t, digest, h.TrimmedDigest(), "what an end is of, its seal says")
	ring, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	mac, id := ring.Seal(SealHead, digest)
	ok, known := ring.Check(SealTrimmed, digest, mac, id)
	require.True(t, known)
	require.False(t, ok, "the seal of a head must not pass for that of a beginning")
}

// sealedChain is a chain of n events as a store makes it, the first `trimmed` of
// them forgotten.
func sealedChain(t require.TestingT, ring AuditSealer, n, trimmed int) ([]Audit, AuditHead) {
	h := AuditHead{CustomerID: "acme"}
	var events []Audit
	for i := range n {
		e := sampleEvent()
		e.Seq = int64(i + 1)
		e.Hash = linked(t, e, h.Hash)
		e.MAC, e.MasterKeyID = ring.Seal(SealEvent, e.Hash)
		h.Seq, h.Hash = e.Seq, e.Hash
		events = append(events, e)
	}
	h.MAC, h.MasterKeyID = ring.Seal(SealHead, h.HeadDigest())
	if trimmed > 0 {
		h.TrimmedSeq, h.TrimmedHash = events[trimmed-1].Seq, events[trimmed-1].Hash
		h.TrimmedMAC, h.TrimmedMasterKeyID = ring.Seal(SealTrimmed, h.TrimmedDigest())
	}
	return events[trimmed:], h
}

// checked runs a check; where the beginning is known first or only at the end.
func checked(ring AuditSealer, events []Audit, h AuditHead, beginningFirst bool, pins map[int64][32]byte) *AuditProblem {
	c := NewAuditCheck("acme", ring)
	for seq, hash := range pins {
		c.Pin(seq, hash)
	}
	if beginningFirst {
		c.From(h)
	}
	for i := range events {
		c.Add(&events[i])
	}
	c.End(h)
	return c.Problem()
}

func testRing(t require.TestingT) *credential.Keyring {
	ring, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	return ring
}

func TestAnUntouchedChainIsProved(t *testing.T) {
	t.Parallel()
	ring := testRing(t)
	for _, tc := range []struct{ n, trimmed int }{{0, 0}, {1, 0}, {5, 0}, {5, 2}, {5, 5}} {
		events, h := sealedChain(t, ring, tc.n, tc.trimmed)
		if tc.n == 0 {
			h.MAC, h.MasterKeyID = ring.Seal(SealHead, h.HeadDigest())
		}
		require.Nil(t, checked(ring, events, h, true, nil), tc)
		require.Nil(t, checked(ring, events, h, false, nil), tc)
		require.Nil(t, checked(nil, events, h, false, nil), tc)
	}
}

func TestEachWayToAlterAChainIsNoticed(t *testing.T) {
	t.Parallel()
	ring, other := testRing(t), testRing(t)
	relink := func(events []Audit, h *AuditHead, by AuditSealer) {
		previous := h.TrimmedHash
		for i := range events {
			events[i].Seq = h.TrimmedSeq + int64(i) + 1
			events[i].Hash = linked(t, events[i], previous)
			if by != nil {
				events[i].MAC, _ = by.Seal(SealEvent, events[i].Hash)
			}
			previous = events[i].Hash
		}
		h.Seq, h.Hash = events[len(events)-1].Seq, previous
		if by != nil {
			h.MAC, _ = by.Seal(SealHead, h.HeadDigest())
		}
	}
	for name, tc := range map[string]struct {
		change func(events []Audit, h *AuditHead) []Audit
		code   string
		keyed  bool // noticed by the master key alone
	}{
		"a changed event":        {func(e []Audit, _ *AuditHead) []Audit { e[1].TargetID = "x"; return e }, AuditChanged, false},
		"the first one dropped":  {func(e []Audit, _ *AuditHead) []Audit { return e[1:] }, AuditMissing, false},
		"one in between dropped": {func(e []Audit, _ *AuditHead) []Audit { return append(e[:1], e[2:]...) }, AuditMissing, false},
		"the last one dropped":   {func(e []Audit, _ *AuditHead) []Audit { return e[:len(e)-1] }, AuditHeadMismatch, false},
		"all dropped":            {func(e []Audit, _ *AuditHead) []Audit { return nil }, AuditHeadMismatch, false},
		"two swapped":            {func(e []Audit, _ *AuditHead) []Audit { e[1], e[2] = e[2], e[1]; return e }, AuditMissing, false},
		"one twice":              {func(e []Audit, _ *AuditHead) []Audit { return append(e[:2], e[1:]...) }, AuditMissing, false},
		"a beginning moved": {func(e []Audit, h *AuditHead) []Audit {
			h.TrimmedSeq, h.TrimmedHash = e[0].Seq, e[0].Hash
			return e[1:]
		}, AuditForgedStart, true},
		"relinked without the key": {func(e []Audit, h *AuditHead) []Audit { e[1].TargetID = "x"; relink(e, h, nil); return e }, AuditForged, true},
		"relinked by another key":  {func(e []Audit, h *AuditHead) []Audit { e[1].TargetID = "x"; relink(e, h, other); return e }, AuditForged, true},
		"cut off, head and all": {func(e []Audit, h *AuditHead) []Audit {
			e = e[:2]
			h.Seq, h.Hash = e[1].Seq, e[1].Hash
			return e
		}, AuditForgedHead, true},
		"an event of another customer": {func(e []Audit, _ *AuditHead) []Audit { e[1].CustomerID = "umbrella"; return e }, AuditChanged, false},
	} {
		for _, first := range []bool{true, false} {
			events, h := sealedChain(t, ring, 6, 2)
			events = tc.change(events, &h)
			problem := checked(ring, events, h, first, nil)
			require.NotNil(t, problem, name)
			require.Equal(t, tc.code, problem.Code, name)
			problem = checked(nil, events, h, first, nil)
			require.Equal(t, tc.keyed, problem == nil, "%s, without the key: %v", name, problem)
		}
	}
}

func TestAnUnknownMasterKeyProvesNothingButHidesNothing(t *testing.T) {
	t.Parallel()
	older, ring := testRing(t), testRing(t)
	code := func(change func([]Audit, *AuditHead)) string {
		events, h := sealedChain(t, ring, 5, 2)
		change(events, &h)
		return checked(ring, events, h, true, nil).Code
	}
	require.Equal(t, AuditUnknownKey, code(func(_ []Audit, h *AuditHead) { h.MAC, h.MasterKeyID = older.Seal(SealHead, h.HeadDigest()) }))
	require.Equal(t, AuditUnknownKey, code(func(_ []Audit, h *AuditHead) {
		h.TrimmedMAC, h.TrimmedMasterKeyID = older.Seal(SealTrimmed, h.TrimmedDigest())
	}))
	require.Equal(t, AuditChanged, code(func(e []Audit, _ *AuditHead) {
		e[0].MasterKeyID, e[2].TargetName = "mk_gone", "x"
	}), "what disproves outweighs what does not prove")
}

func TestAnEventOfAMasterKeyThatIsGoneIsProvedByTheHead(t *testing.T) {
	t.Parallel()
	older, ring := testRing(t), testRing(t)
	events, h := sealedChain(t, ring, 5, 2)
	for i := range 2 {
		events[i].MAC, events[i].MasterKeyID = older.Seal(SealEvent, events[i].Hash)
	}
	check := func(h AuditHead) *AuditCheck {
		c := NewAuditCheck("acme", ring)
		for i := range events {
			c.Add(&events[i])
		}
		c.End(h)
		return c
	}
	c := check(h)
	require.Nil(t, c.Problem())
	require.EqualValues(t, 2, c.ByHead)
	events[0].TargetName = "x"
	require.Equal(t, AuditChanged, check(h).Problem().Code)
	// Who has no key can name one that is gone and link all anew, but not seal the head.
	previous := h.TrimmedHash
	for i := range events {
		events[i].Hash = linked(t, events[i], previous)
		events[i].MasterKeyID, previous = older.CurrentID(), events[i].Hash
	}
	h.Hash = previous
	require.Equal(t, AuditForgedHead, check(h).Problem().Code)
	h.MasterKeyID = older.CurrentID()
	require.Equal(t, AuditUnknownKey, check(h).Problem().Code)
	events[1].MasterKeyID = ""
	require.Equal(t, AuditForged, check(h).Problem().Code, "no seal at all is none of a key that is gone")
}

func TestAnEndWithoutASealIsNoEnd(t *testing.T) {
	t.Parallel()
	ring := testRing(t)
	events, h := sealedChain(t, ring, 3, 0)
	h.MAC, h.MasterKeyID = [32]byte{}, ""
	require.Equal(t, AuditForgedHead, checked(ring, events, h, true, nil).Code)
}

func TestAHeadNotedElsewhereMustBeInTheChain(t *testing.T) {
	t.Parallel()
	ring := testRing(t)
	events, h := sealedChain(t, ring, 5, 2)
	pin := func(seq int64, hash [32]byte) string {
		if p := checked(ring, events, h, true, map[int64][32]byte{seq: hash}); p != nil {
			return p.Code
		}
		return ""
	}
	require.Empty(t, pin(4, events[1].Hash))
	require.Empty(t, pin(5, h.Hash))
	require.Empty(t, pin(2, h.TrimmedHash))
	require.Equal(t, AuditPinMismatch, pin(4, events[2].Hash))
	require.Equal(t, AuditPinMismatch, pin(2, events[2].Hash))
	require.Equal(t, AuditPinMismatch, pin(6, h.Hash), "the chain was cut back behind what was noted")
	require.Equal(t, AuditPinForgotten, pin(1, [32]byte{1}))
}
