package keystore

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

const (
	// MaxTries is how many failing tries of a key are kept, the latest ones.
	MaxTries = 10
	// TryMemory is how long one is shown.
	TryMemory = 24 * time.Hour
)

// Try is one wrong secret that was shown for a key and counted.
type Try struct {
	At time.Time
	// Address is the caller's, the zero Addr where there is none.
	Address netip.Addr
	// Fingerprint tells it from other wrong secrets of the same key, and from no
	// other key's; 0 is not known.
	Fingerprint uint64
}

// Try is what is kept of a proof that failed.
func (p *Proof) Try() Try {
	address, err := netip.ParseAddr(p.Address)
	if err != nil {
		address = netip.Addr{}
	}
	return Try{At: p.At.Wall.Round(0).UTC().Truncate(time.Millisecond), Address: address.WithZone(""), Fingerprint: p.Fingerprint}
}

// AddTry is tries with one more, oldest first and no more than are kept. It may
// come behind a later one: a store hears of some failures late.
func AddTry(tries []Try, t Try) []Try {
	at := len(tries)
	for at > 0 && tries[at-1].At.After(t.At) {
		at--
	}
	tries = slices.Insert(tries, at, t)
	return tries[max(0, len(tries)-MaxTries):]
}

// EncodeTries is how stores keep tries, in one value beside the count: of each the
// time in Unix milliseconds and the fingerprint, 8 bytes each, and the address
// behind its length.
func EncodeTries(tries []Try) []byte {
	var data []byte
	for _, t := range tries {
		data = binary.BigEndian.AppendUint64(data, uint64(t.At.UnixMilli()))
		data = binary.BigEndian.AppendUint64(data, t.Fingerprint)
		address := t.Address.AsSlice()
		data = append(append(data, byte(len(address))), address...)
	}
	return data
}

// DecodeTries reads what EncodeTries made, as far as it can be read: it is shown
// to people, and no decision depends on it.
func DecodeTries(data []byte) (tries []Try) {
	const head = 17
	for len(data) >= head {
		t := Try{At: time.UnixMilli(int64(binary.BigEndian.Uint64(data))).UTC(), Fingerprint: binary.BigEndian.Uint64(data[8:])}
		n := int(data[head-1])
		if data = data[head:]; len(data) < n {
			break
		}
		t.Address, _ = netip.AddrFromSlice(data[:n])
		data = data[n:]
		tries = append(tries, t)
	}
	return tries
}

// RecentTries are those that are still shown at now.
func RecentTries(tries []Try, now time.Time) []Try {
	return slices.DeleteFunc(tries, func(t Try) bool { return now.Sub(t.At) >= TryMemory })
}
