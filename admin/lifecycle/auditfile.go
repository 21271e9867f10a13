package lifecycle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/keyreeve/keyreeve/keystore"
)

// maxExportLine bounds a line of an export, in bytes: far more than an event
// with two records takes.
const maxExportLine = 8 << 20

// What can be wrong with an export as a whole.
const (
	ProblemTruncated = "truncated_export"
	ProblemNoEvent   = "not_an_event"
	ProblemCount     = "wrong_count"
	ProblemSelection = "incomplete_export"
	ProblemNoChain   = "chain_not_exported"
	ProblemForged    = "forged_export"
)

// exportError is a problem of an export as a whole.
type exportError struct{ code, detail string }

func (e *exportError) Error() string { return e.detail }

// VerifyExport verifies an export in NDJSON by itself: that its events are linked
// without a gap and end at the heads in its trailer, and at those noted elsewhere
// (pins). With a sealer also that whoever held the master key made them and the
// trailer, so that no chain was left out; without one, whoever could rewrite the
// whole file could make it agree with itself. The error is that of reading.
func VerifyExport(r io.Reader, pins []AuditPin, sealer keystore.AuditSealer) (AuditVerification, error) {
	f := &exportFile{sealer: sealer, pins: pins, checks: make(map[string]*keystore.AuditCheck)}
	in := bufio.NewReaderSize(r, 1<<16)
	err := f.read(in)
	var whole *exportError
	if err != nil && !errors.As(err, &whole) {
		return AuditVerification{}, err
	}
	return f.result(whole), nil
}

type exportFile struct {
	sealer  keystore.AuditSealer
	pins    []AuditPin
	checks  map[string]*keystore.AuditCheck // by customer
	heads   map[string]*keystore.AuditHead
	line    int64
	count   int64
	trailer *AuditTrailer
	unheld  bool // the trailer is sealed under a master key that was not given
}

func (f *exportFile) read(in *bufio.Reader) error {
	for {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		f.line++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if f.trailer != nil {
			return f.problem(ProblemNoEvent, "stands behind the end of the export")
		}
		if err := f.take(line); err != nil {
			return err
		}
	}
	if f.trailer == nil {
		return &exportError{ProblemTruncated, "the export has no end: it was cut off, or is not one in NDJSON"}
	}
	return f.finish()
}

func (f *exportFile) problem(code, detail string) error {
	return &exportError{code, fmt.Sprintf("line %d %s", f.line, detail)}
}

// readLine reads up to the next line end or the end of the file; io.EOF where
// nothing is left.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxExportLine:
			return nil, &exportError{ProblemNoEvent, fmt.Sprintf("a line is over %d bytes", maxExportLine)}
		case err == nil || errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// take reads an event or the trailer.
func (f *exportFile) take(line []byte) error {
	var kind struct {
		End bool `json:"end"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		return f.problem(ProblemNoEvent, "is not an event in JSON")
	}
	if kind.End {
		t := &AuditTrailer{}
		if !asExported(line, t, func() any { return t }) {
			return f.problem(ProblemNoEvent, "is not the end of an export as one writes it")
		}
		f.trailer = t
		return nil
	}
	var v AuditEvent
	var e *keystore.Audit
	exported := asExported(line, &v, func() any {
		var err error
		if e, err = v.stored(); err != nil {
			return nil
		}
		return showAudit(e)
	})
	if !exported {
		return f.problem(ProblemNoEvent, "is not an event as an export writes it: members are missing, unknown, twice or disagree")
	}
	f.count++
	f.check(e.CustomerID).Add(e)
	return nil
}

// asExported reads line into v, and reports whether it says no more, no less and
// nothing else than what shown writes anew.
func asExported(line []byte, v any, shown func() any) bool {
	given, err := keystore.CanonicalJSON(bytes.TrimSpace(line))
	if err != nil || json.Unmarshal(line, v) != nil {
		return false
	}
	again, err := json.Marshal(shown())
	if err != nil {
		return false
	}
	want, err := keystore.CanonicalJSON(again)
	return err == nil && bytes.Equal(given, want)
}

func (f *exportFile) check(customerID string) *keystore.AuditCheck {
	c := f.checks[customerID]
	if c == nil {
		c = keystore.NewAuditCheck(customerID, f.sealer)
		f.checks[customerID] = c
		pinsOf(c, customerID, f.pins)
	}
	return c
}

// finish holds every chain against its head.
func (f *exportFile) finish() error {
	if f.trailer.Count != f.count {
		return &exportError{ProblemCount, fmt.Sprintf("the export says that it has %d events, and has %d", f.trailer.Count, f.count)}
	}
	if !f.trailer.Complete {
		return &exportError{ProblemSelection, "the export is a selection, which cannot be verified; export without filters other than the customer"}
	}
	f.heads = make(map[string]*keystore.AuditHead)
	for i := range f.trailer.Chains {
		h, err := f.trailer.Chains[i].stored()
		if err != nil {
			return &exportError{ProblemNoEvent, "the end of the export cannot be read: " + err.Error()}
		}
		if f.heads[h.CustomerID] != nil {
			return &exportError{ProblemNoEvent, "the end of the export names a chain twice"}
		}
		f.heads[h.CustomerID] = &h
		f.check(h.CustomerID)
	}
	if err := f.sealed(); err != nil {
		return err
	}
	return f.end()
}

// sealed makes sure that whoever holds the master key wrote the trailer.
func (f *exportFile) sealed() error {
	if f.sealer == nil {
		return nil
	}
	mac, err := fromHex("mac", f.trailer.MAC)
	if err != nil {
		return &exportError{ProblemForged, "the end of the export has no seal: " + err.Error()}
	}
	digest, err := f.trailer.digest()
	if err != nil {
		return err
	}
	ok, known := f.sealer.Check(keystore.SealExport, digest, mac, f.trailer.MasterKeyID)
	switch {
	case !known:
		f.unheld = true
	case !ok:
		return &exportError{ProblemForged, "the end of the export is not the one that was written: its MAC is not by the master key it names"}
	}
	return nil
}

func (f *exportFile) end() error {
	if stray := strayPin(f.pins, slices.Collect(maps.Keys(f.checks))); stray != nil {
		return &exportError{ProblemNoChain, "the given head " + stray.Detail}
	}
	for id, c := range f.checks {
		h := f.heads[id]
		if h == nil {
			h = &keystore.AuditHead{CustomerID: id} // events without a head
		}
		c.End(*h)
	}
	if p := f.trailer.Problem; p != nil {
		return &exportError{p.Code, "when it was exported, the trail was not proved: " + p.Detail}
	}
	if f.unheld {
		return &exportError{keystore.AuditUnknownKey, fmt.Sprintf(
			"the export is sealed under the master key %q, which was not given, so that chains may have been left out", f.trailer.MasterKeyID)}
	}
	return nil
}

func (f *exportFile) result(whole *exportError) AuditVerification {
	out := AuditVerification{OK: whole == nil, Chains: []AuditChain{}}
	for _, id := range slices.Sorted(maps.Keys(f.checks)) {
		chain := showChain(f.checks[id], f.heads[id])
		chain.OK = chain.OK && whole == nil // without the end nothing is proved
		out.add(chain)
	}
	if whole != nil {
		out.Problem = &AuditProblem{Code: whole.code, Detail: whole.detail}
	}
	return out
}
