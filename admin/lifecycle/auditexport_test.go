package lifecycle

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// exported is an export in NDJSON.
func exported(h *house, a Actor, f AuditFilter) *bytes.Buffer {
	h.Helper()
	x, err := h.ExportAudit(h.ctx, a, f)
	require.NoError(h, err)
	out := &bytes.Buffer{}
	lines := json.NewEncoder(out)
	for {
		events, err := x.Next(h.ctx)
		require.NoError(h, err)
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			require.NoError(h, lines.Encode(e))
		}
	}
	end, err := x.Trailer()
	require.NoError(h, err)
	require.NoError(h, lines.Encode(end))
	return out
}

func verified(t require.TestingT, text string, ring keystore.AuditSealer, pins ...AuditPin) AuditVerification {
	out, err := VerifyExport(strings.NewReader(text), pins, ring)
	require.NoError(t, err)
	return out
}

func TestAnExportIsProvedByItself(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.key("k", keystore.RoleReadOnly)
	h.fill(exportPage + 5)
	operator, customer, _, _ := h.auditors()
	for name, tc := range map[string]struct {
		actor  Actor
		filter AuditFilter
		chains int
	}{
		"all":           {operator, AuditFilter{}, 3},
		"a customer":    {operator, AuditFilter{CustomerID: "acme"}, 1},
		"of none":       {operator, AuditFilter{NoCustomer: true}, 1},
		"one's own":     {customer, AuditFilter{}, 1},
		"nothing known": {operator, AuditFilter{CustomerID: "nobody"}, 0},
	} {
		text := exported(h, tc.actor, tc.filter).String()
		for _, ring := range []keystore.AuditSealer{nil, h.cfg.Keyring} {
			out := verified(t, text, ring)
			require.True(t, out.OK, "%s: %+v", name, out)
			require.Len(t, out.Chains, tc.chains, name)
			require.EqualValues(t, strings.Count(text, "\n")-1, out.Events, name)
		}
	}
	head := h.auditHead("acme")
	text := exported(h, customer, AuditFilter{}).String()
	require.True(t, verified(t, text, nil, AuditPin{Seq: head.Seq, Hash: head.Hash}).OK)
	out := verified(t, text, nil, AuditPin{Seq: head.Seq, Hash: [32]byte{1}})
	require.Equal(t, keystore.AuditPinMismatch, out.Chains[0].Problem.Code)
	other := "umbrella"
	require.Equal(t, ProblemNoChain, verified(t, text, nil, AuditPin{CustomerID: &other, Seq: 1}).Problem.Code)
	require.Equal(t, ProblemNoChain, verified(t, exported(h, operator, AuditFilter{}).String(), nil, AuditPin{Seq: head.Seq, Hash: head.Hash}).Problem.Code)
}

func TestAnExportWrittenAnewByAnotherProgramIsProvedStill(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.key("é<&>", keystore.RoleReadOnly)
	var anew strings.Builder
	for line := range strings.Lines(exported(h, local, AuditFilter{}).String()) {
		var v any
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		require.NoError(t, d.Decode(&v))
		e := json.NewEncoder(&anew) // members sorted
		e.SetEscapeHTML(false)
		require.NoError(t, e.Encode(v))
		anew.WriteString("\r\n\n")
	}
	require.True(t, verified(t, anew.String(), h.cfg.Keyring).OK)
}

func TestAnExportOfTheRestIsProvedAfterForgetting(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.clock.Advance(48 * time.Hour)
	h.key("young", keystore.RoleReadOnly)
	require.NoError(t, h.store.TrimAudit(h.ctx, 24*time.Hour))
	text := exported(h, local, AuditFilter{CustomerID: "acme"}).String()
	out := verified(t, text, h.cfg.Keyring)
	require.True(t, out.OK, out)
	require.EqualValues(t, 4, *out.Chains[0].FirstSeq)
	require.Contains(t, text, `"trimmed":{"seq":3,`)
}

func TestASelectionIsNoProof(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	operator, _, microtenant, _ := h.auditors()
	for name, text := range map[string]string{
		"by action":        exported(h, operator, AuditFilter{Action: "key."}).String(),
		"by time":          exported(h, operator, AuditFilter{Since: Some(time.Unix(1, 0))}).String(),
		"of a microtenant": exported(h, microtenant, AuditFilter{}).String(),
		"foreign":          exported(h, microtenant, AuditFilter{CustomerID: "umbrella"}).String(),
	} {
		out := verified(t, text, h.cfg.Keyring)
		require.False(t, out.OK, name)
		require.Equal(t, ProblemSelection, out.Problem.Code, name)
		require.NotContains(t, text, `"trimmed"`, name)
	}
	require.NotContains(t, exported(h, microtenant, AuditFilter{}).String(), `"microtenant_id":null`)
}

func TestAnExportEndsAtTheHeadThereWasWhenItBegan(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	x, err := h.ExportAudit(h.ctx, local, AuditFilter{})
	require.NoError(t, err)
	h.key("late", keystore.RoleReadOnly)
	_, _, err = h.CreateCustomer(h.ctx, local, NewCustomer{ID: "late", Name: "late"})
	require.NoError(t, err)
	events, err := x.Next(h.ctx)
	require.NoError(t, err)
	require.Len(t, events, 4)
	require.NotContains(t, actions(events), "key.create")
	events, err = x.Next(h.ctx)
	require.NoError(t, err)
	require.Empty(t, events)
	end, err := x.Trailer()
	require.NoError(t, err)
	require.EqualValues(t, 4, end.Count)
}

func TestAnExportThatRetentionOvertakesIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.fill(exportPage)
	x, err := h.ExportAudit(h.ctx, local, AuditFilter{})
	require.NoError(t, err)
	h.clock.Advance(48 * time.Hour)
	h.key("young", keystore.RoleReadOnly)
	require.NoError(t, h.store.TrimAudit(h.ctx, 24*time.Hour))
	_, err = x.Next(h.ctx)
	requireRefused(t, err, Conflict, CodeAuditOvertaken, "")
}

func TestAnExportStopsWhereItsActorLosesTheRight(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.fill(2 * exportPage)
	_, customer, _, _ := h.auditors()
	x, err := h.ExportAudit(h.ctx, customer, AuditFilter{})
	require.NoError(t, err)
	_, err = x.Next(h.ctx)
	require.NoError(t, err)
	_, _, err = h.UpdateKey(h.ctx, local, customer.ID, KeyPatch{RoleID: Some(keystore.RoleReadOnly)}, nil)
	require.NoError(t, err)
	_, err = x.Next(h.ctx)
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
}

// TestEachWayToTamperWithAnExportIsNoticed: with the master key whatever is done
// to it, and without it whatever does not make the whole file agree with itself anew.
func TestEachWayToTamperWithAnExportIsNoticed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.key("k", keystore.RoleReadOnly)
	h.key("l", keystore.RoleReadOnly)
	ring := h.cfg.Keyring
	text := exported(h, local, AuditFilter{CustomerID: "acme"}).String()
	honest := slices.Collect(strings.Lines(text))
	require.True(t, verified(t, text, ring).OK)
	rapid.Check(t, func(t *rapid.T) {
		f := &forger{T: t, lines: slices.Clone(honest)}
		ways := []func(*forger){(*forger).changeByte, (*forger).drop, (*forger).swap, (*forger).repeat, (*forger).renumber, (*forger).truncate, (*forger).rewrite, (*forger).cutBack}
		rapid.SampledFrom(ways).Draw(t, "way")(f)
		forged := strings.Join(f.lines, "")
		if meaning(forged) == meaning(text) {
			t.Skip("another way to write the same")
		}
		// An event that names a key which is not held is what it was by its link to the
		// head: told of, and no proof of more.
		out := verified(t, forged, ring)
		require.False(t, out.OK && out.Chains[0].ByHead == 0, "with the master key")
		if !f.keyed {
			require.False(t, verified(t, forged, nil).OK, "without it")
		}
	})
}

// meaning is an export in one spelling.
func meaning(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		canonical, err := keystore.CanonicalJSON([]byte(strings.TrimSpace(line)))
		if err != nil {
			canonical = []byte(line)
		}
		if line = strings.TrimSpace(string(canonical)); line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// forger tampers with the lines of an export.
type forger struct {
	*rapid.T
	lines []string
	// keyed: it agrees with itself, so that the master key alone gives it away.
	keyed bool
}

func (f *forger) index(label string, n int) int { return rapid.IntRange(0, n-1).Draw(f.T, label) }

// sealsOf are the parts of a line that say nothing without the master key.
var sealsOf = regexp.MustCompile(`"(mac|master_key_id)":"[^"]*"`)

// sealedOnly are the parts of the last line that nothing else in the file agrees with.
var sealedOnly = regexp.MustCompile(`"at":.*`)

func (f *forger) changeByte() {
	i := f.index("line", len(f.lines))
	line := []byte(f.lines[i])
	line[f.index("byte", len(line)-1)] = rapid.ByteRange(' ', '~').Draw(f.T, "to") // the line end stays
	f.keyed = sealsOf.ReplaceAllString(f.lines[i], "") == sealsOf.ReplaceAllString(string(line), "")
	if i == len(f.lines)-1 {
		f.keyed = f.keyed || sealedOnly.ReplaceAllString(f.lines[i], "") == sealedOnly.ReplaceAllString(string(line), "")
	}
	f.lines[i] = string(line)
}

func (f *forger) drop() { i := f.index("line", len(f.lines)); f.lines = slices.Delete(f.lines, i, i+1) }
func (f *forger) repeat() {
	i := f.index("line", len(f.lines))
	f.lines = slices.Insert(f.lines, i, f.lines[i])
}

func (f *forger) swap() {
	i, j := f.index("one", len(f.lines)), f.index("other", len(f.lines))
	f.lines[i], f.lines[j] = f.lines[j], f.lines[i]
}

func (f *forger) truncate() {
	text := strings.Join(f.lines, "")
	f.lines = []string{text[:f.index("bytes", len(text)-1)]}
}

// events are those of the lines, and the trailer.
func (f *forger) events() ([]AuditEvent, AuditTrailer) {
	var trailer AuditTrailer
	events := make([]AuditEvent, len(f.lines)-1)
	for i := range events {
		require.NoError(f, json.Unmarshal([]byte(f.lines[i]), &events[i]))
	}
	require.NoError(f, json.Unmarshal([]byte(f.lines[len(events)]), &trailer))
	return events, trailer
}

func (f *forger) write(events []AuditEvent, trailer AuditTrailer) {
	f.lines = nil
	trailer.Count = int64(len(events))
	add := func(v any) {
		line, err := json.Marshal(v)
		require.NoError(f, err)
		f.lines = append(f.lines, string(line)+"\n")
	}
	for _, e := range events {
		add(e)
	}
	add(trailer)
}

// renumber takes an event out and closes the gap in the numbers.
func (f *forger) renumber() {
	events, trailer := f.events()
	i := f.index("event", len(events))
	events = slices.Delete(events, i, i+1)
	for j := range events {
		events[j].Seq = int64(j + 1)
		events[j].ID = fmt.Sprintf("acme:%d", j+1)
	}
	trailer.Chains[0].Head.Seq = int64(len(events))
	if i == len(events) { // the last one: then nothing but the head gives it away
		f.keyed, trailer.Chains[0].Head.Hash = true, events[i-1].Hash
	}
	f.write(events, trailer)
}

// rewrite changes an event and links all anew, as whoever has no key can.
func (f *forger) rewrite() {
	events, trailer := f.events()
	events[f.index("event", len(events))].Actor.Name = "somebody else"
	var previous [32]byte
	for i := range events {
		e, err := events[i].stored()
		require.NoError(f, err)
		e.Hash, err = e.Link(previous)
		require.NoError(f, err)
		events[i], previous = showAudit(e), e.Hash
	}
	trailer.Chains[0].Head.Hash = hex.EncodeToString(previous[:])
	f.keyed = true
	f.write(events, trailer)
}

// cutBack takes the newest events away and says that the one before is the head.
func (f *forger) cutBack() {
	events, trailer := f.events()
	events = events[:f.index("kept", len(events)-1)+1]
	last := events[len(events)-1]
	trailer.Chains[0].Head.Seq, trailer.Chains[0].Head.Hash = last.Seq, last.Hash
	f.keyed = true
	f.write(events, trailer)
}

func TestWhoHoldsAnotherMasterKeyLearnsThatNothingIsProved(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ring, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	out := verified(t, exported(h, local, AuditFilter{CustomerID: "acme"}).String(), ring)
	require.False(t, out.OK)
	require.Equal(t, keystore.AuditUnknownKey, out.Chains[0].Problem.Code)
}

func TestWhatIsNoExportIsSaidToBeNone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	text := exported(h, local, AuditFilter{CustomerID: "acme"}).String()
	lines := slices.Collect(strings.Lines(text))
	last := lines[len(lines)-1]
	for name, tc := range map[string]struct{ text, code string }{
		"nothing":            {"", ProblemTruncated},
		"text":               {"hello\n", ProblemNoEvent},
		"a page of a list":   {`{"items":[],"next_cursor":null,"total":0}`, ProblemNoEvent},
		"cut off":            {strings.Join(lines[:2], ""), ProblemTruncated},
		"a wrong count":      {lines[0] + last, ProblemCount},
		"more behind":        {text + lines[0], ProblemNoEvent},
		"an unknown member":  {strings.Replace(text, `{"id":`, `{"note":"x","id":`, 1), ProblemNoEvent},
		"a member twice":     {strings.Replace(text, `{"id":`, `{"action":"key.lock","id":`, 1), ProblemNoEvent},
		"another case":       {strings.Replace(text, `"action":`, `"Action":`, 1), ProblemNoEvent},
		"a chain twice":      {strings.Replace(text, `"chains":[`, `"chains":[`+chainOf(t, last)+",", 1), ProblemNoEvent},
		"not UTF-8":          {strings.Replace(text, `"action":"`, "\"action\":\"\xff", 1), ProblemNoEvent},
		"changes that lie":   {strings.Replace(text, `"changes":[]`, `"changes":["name"]`, 1), ProblemNoEvent},
		"finer than is kept": {strings.Replace(text, `Z","customer_id"`, `001Z","customer_id"`, 1), ProblemNoEvent},
	} {
		out := verified(t, tc.text, h.cfg.Keyring)
		require.False(t, out.OK, name)
		require.NotNil(t, out.Problem, name)
		require.Equal(t, tc.code, out.Problem.Code, "%s: %s", name, out.Problem.Detail)
		for _, c := range out.Chains {
			require.False(t, c.OK, name)
		}
	}
}

func chainOf(t *testing.T, trailer string) string {
	var v AuditTrailer
	require.NoError(t, json.Unmarshal([]byte(trailer), &v))
	text, err := json.Marshal(v.Chains[0])
	require.NoError(t, err)
	return string(text)
}
