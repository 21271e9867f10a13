package sqlstore

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/text/cases"

	"github.com/keyreeve/keyreeve/policy"
)

// millis is t as stored: Unix milliseconds, 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// millisUp is t rounded up: what is stored lies before t just if it lies before that.
func millisUp(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// round makes times what they will be when read back.
func round(times ...*time.Time) {
	for _, t := range times {
		*t = fromMillis(millis(*t))
	}
}

// nanos is a time of a tally, whose arithmetic must give here what it gave in memory.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func instant(wall int64, boot string, since int64) policy.Instant {
	return policy.Instant{Wall: fromNanos(wall), Boot: boot, Since: time.Duration(since)}
}

func encodeCIDRs(prefixes []netip.Prefix) (string, error) {
	words := make([]string, len(prefixes))
	for i, p := range prefixes {
		if !p.IsValid() {
			return "", fmt.Errorf("allowed_cidrs holds an invalid prefix at position %d", i)
		}
		words[i] = p.String()
	}
	return strings.Join(words, ","), nil
}

func decodeCIDRs(text string) ([]netip.Prefix, error) {
	if text == "" {
		return nil, nil
	}
	var prefixes []netip.Prefix
	for word := range strings.SplitSeq(text, ",") {
		p, err := netip.ParsePrefix(word)
		if err != nil {
			return nil, fmt.Errorf("stored allowed_cidrs: %w", err)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

func encodeLabels(labels map[string]string) (string, error) {
	if len(labels) == 0 {
		return "", nil
	}
	data, err := json.Marshal(labels)
	return string(data), err
}

func decodeLabels(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	var labels map[string]string
	if err := json.Unmarshal([]byte(text), &labels); err != nil {
		return nil, fmt.Errorf("stored labels: %w", err)
	}
	return labels, nil
}

// encodePermissions writes the masks as numbers: every mask can be stored, also
// one that no word stands for.
func encodePermissions(p policy.Permissions) (string, error) {
	masks := make(map[string]uint8, len(p))
	for name, m := range p {
		masks[name] = uint8(m)
	}
	data, err := json.Marshal(masks)
	return string(data), err
}

func decodePermissions(text string) (policy.Permissions, error) {
	var masks map[string]uint8
	if err := json.Unmarshal([]byte(text), &masks); err != nil {
		return nil, fmt.Errorf("stored permissions: %w", err)
	}
	p := make(policy.Permissions, len(masks))
	for name, m := range masks {
		p[name] = policy.Mask(m)
	}
	return p, nil
}

func encodeSeen(seen []uint64) []byte {
	if len(seen) == 0 {
		return nil
	}
	data := make([]byte, 0, 8*len(seen))
	for _, fingerprint := range seen {
		data = binary.BigEndian.AppendUint64(data, fingerprint)
	}
	return data
}

func decodeSeen(data []byte) []uint64 {
	var seen []uint64
	for ; len(data) >= 8; data = data[8:] {
		seen = append(seen, binary.BigEndian.Uint64(data))
	}
	return seen
}

// fold makes text comparable regardless of case, in every script.
func fold(text string) string { return cases.Fold().String(text) }
