package keystore

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// How keys are written into a snapshot: closely packed, since there may be a million of
// them. All of Key is kept but when it was last used, on which nothing depends and which
// the store has newer.

// errShort: a record ends too early. It was sealed, so this is a version that wrote more.
var errShort = errors.New("a record of it is not understood")

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendTime keeps nanoseconds; the zero time is one byte.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendUvarint(binary.AppendVarint(append(b, 1), t.Unix()), uint64(t.Nanosecond()))
}

// The bits of a key.
const (
	bitEnabled = 1 << iota
	bitDisabledHere
)

func appendKey(b []byte, k *Key) []byte {
	for _, s := range [...]string{k.ID, k.ClientID, k.Name, k.Description, k.CustomerID, k.MicrotenantID, k.RoleID, k.Source, k.CreatedBy, k.ModifiedBy} {
		b = appendText(b, s)
	}
	var bits byte
	if k.Enabled {
		bits |= bitEnabled
	}
	if k.DisabledHere {
		bits |= bitDisabledHere
	}
	b = append(b, bits)
	for _, n := range [...]int64{int64(k.SessionValidity), k.Generation, int64(k.Revision)} {
		b = binary.AppendVarint(b, n)
	}
	for _, t := range [...]time.Time{k.ExpiresAt, k.Created, k.Modified} {
		b = appendTime(b, t)
	}
	b = binary.AppendUvarint(b, uint64(len(k.AllowedCIDRs)))
	for _, p := range k.AllowedCIDRs {
		b = appendText(b, p.String())
	}
	b = binary.AppendUvarint(b, uint64(len(k.Labels)))
	for name, value := range k.Labels {
		b = appendText(appendText(b, name), value)
	}
	b = binary.AppendUvarint(b, uint64(len(k.Secrets)))
	for i := range k.Secrets {
		b = appendSecret(b, &k.Secrets[i])
	}
	return b
}

func appendSecret(b []byte, s *Secret) []byte {
	b = append(b, s.Verifier[:]...)
	for _, text := range [...]string{s.ID, s.MasterKeyID, s.Hint} {
		b = appendText(b, text)
	}
	for _, t := range [...]time.Time{s.Created, s.Expires, s.Retired} {
		b = appendTime(b, t)
	}
	return b
}

// packed reads what was packed. The first thing that is not there fails it, and all
// that is read behind that is empty.
type packed struct {
	b   []byte
	err error
	// names holds one copy of each text that many records share.
	names map[string]string
}

func (p *packed) fail() {
	p.b, p.err = nil, errShort
}

func (p *packed) bytes(n uint64) []byte {
	if n > uint64(len(p.b)) {
		p.fail()
		return nil
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

func (p *packed) uvarint() uint64 {
	n, size := binary.Uvarint(p.b)
	if size <= 0 {
		p.fail()
		return 0
	}
	p.b = p.b[size:]
	return n
}

func (p *packed) varint() int64 {
	n, size := binary.Varint(p.b)
	if size <= 0 {
		p.fail()
		return 0
	}
	p.b = p.b[size:]
	return n
}

func (p *packed) octet() byte {
	if b := p.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

// count is how many of something follow, each of at least one byte.
func (p *packed) count() int {
	n := p.uvarint()
	if n > uint64(len(p.b)) {
		p.fail()
		return 0
	}
	return int(n)
}

func (p *packed) text() string { return string(p.bytes(p.uvarint())) }

// name is text that many records share.
func (p *packed) name() string {
	b := p.bytes(p.uvarint())
	if s, ok := p.names[string(b)]; ok {
		return s
	}
	s := string(b)
	p.names[s] = s
	return s
}

func (p *packed) time() time.Time {
	if p.octet() == 0 {
		return time.Time{}
	}
	seconds := p.varint()
	return time.Unix(seconds, int64(p.uvarint())).UTC()
}

func (p *packed) key() *Key {
	k := &Key{ID: p.text(), ClientID: p.text(), Name: p.text(), Description: p.text(), CustomerID: p.name(), MicrotenantID: p.name(),
		RoleID: p.name(), Source: p.name(), CreatedBy: p.name(), ModifiedBy: p.name()}
	bits := p.octet()
	k.Enabled, k.DisabledHere = bits&bitEnabled != 0, bits&bitDisabledHere != 0
	k.SessionValidity, k.Generation, k.Revision = time.Duration(p.varint()), p.varint(), Revision(p.varint())
	k.ExpiresAt, k.Created, k.Modified = p.time(), p.time(), p.time()
	for range p.count() {
		prefix, err := netip.ParsePrefix(p.text())
		if err != nil {
			p.fail() // a network that is left out would be a key that may be used from anywhere
		}
		k.AllowedCIDRs = append(k.AllowedCIDRs, prefix)
	}
	for i := range p.count() {
		if i == 0 {
			k.Labels = map[string]string{}
		}
		name := p.name()
		k.Labels[name] = p.name()
	}
	for range p.count() {
		k.Secrets = append(k.Secrets, p.secret())
	}
	return k
}

func (p *packed) secret() (s Secret) {
	copy(s.Verifier[:], p.bytes(uint64(len(s.Verifier))))
	s.ID, s.MasterKeyID, s.Hint = p.text(), p.name(), p.text()
	s.Created, s.Expires, s.Retired = p.time(), p.time(), p.time()
	return s
}
