package cli

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// parseExpiry reads when a key ends: an RFC 3339 time, a day (its beginning in
// UTC), or how long from now, in Go's units or whole days such as 90d.
func parseExpiry(text string, now time.Time) (string, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC().Format(time.RFC3339), nil
		}
	}
	d, err := time.ParseDuration(text)
	if days, found := strings.CutSuffix(text, "d"); found && err != nil {
		var n int64
		if n, err = strconv.ParseInt(days, 10, 32); err == nil {
			return now.UTC().AddDate(0, 0, int(n)).Format(time.RFC3339), nonNegative(n, text)
		}
	}
	if err != nil {
		return "", usagef("--expires %q is no time, expected one such as 2027-01-01T00:00:00Z, 2027-01-01, 720h or 90d", printable(text))
	}
	return now.UTC().Add(d).Format(time.RFC3339), nonNegative(int64(d), text)
}

func nonNegative(n int64, text string) error {
	if n <= 0 {
		return usagef("--expires %q is not in the future", printable(text))
	}
	return nil
}

// parseValidity reads a session validity: whole seconds, or a duration of them.
// Its bounds are the server's.
func parseValidity(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d%time.Second == 0 {
		return int64(d / time.Second), nil
	}
	return 0, usagef("--session-validity %q is not in whole seconds, expected such as 3600 or 1h", printable(text))
}

// parseCIDRs reads networks; a plain address is the network of itself alone.
func parseCIDRs(texts []string) ([]string, error) {
	out := make([]string, 0, len(texts))
	for _, t := range texts {
		prefix, err := netip.ParsePrefix(t)
		if addr, addrErr := netip.ParseAddr(t); err != nil && addrErr == nil && addr.Zone() == "" {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, usagef("--cidr %q is no network, expected one such as 192.0.2.0/24 or 2001:db8::/32", printable(t))
		}
		if masked := prefix.Masked(); masked != prefix {
			return nil, usagef("--cidr %s has bits set beyond its prefix, did you mean %s?", prefix, masked)
		}
		out = append(out, prefix.String())
	}
	return out, nil
}

// parseLabels reads key=value pairs. With removal allowed, `key-` stands for
// taking the label away: null in a merge patch.
func parseLabels(pairs []string, removal bool) (map[string]*string, error) {
	labels := make(map[string]*string, len(pairs))
	for _, p := range pairs {
		name, value, found := strings.Cut(p, "=")
		stored := &value
		if !found && removal && strings.HasSuffix(p, "-") {
			name, stored, found = strings.TrimSuffix(p, "-"), nil, true
		}
		if !found || name == "" {
			hint := "key=value"
			if removal {
				hint = "key=value, or key- to remove one"
			}
			return nil, usagef("--label %q is no label, expected %s", printable(p), hint)
		}
		if _, twice := labels[name]; twice {
			return nil, usagef("--label %q is given twice", printable(name))
		}
		labels[name] = stored
	}
	return labels, nil
}
