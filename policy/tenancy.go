package policy

import "strings"

// The microtenant values with a meaning of their own.
const (
	// DefaultMicrotenant is the customer's own, undivided part.
	DefaultMicrotenant = "0"
	// AllMicrotenants asks for what every microtenant inherits.
	AllMicrotenants = "null"
)

// Subject is the proven caller.
type Subject struct {
	// CustomerID is the customer its key belongs to.
	CustomerID string
	// MicrotenantID is the microtenant its key is confined to, "" for none.
	MicrotenantID string
	// Permissions of its role.
	Permissions Permissions
	// Microtenant looks up one of a customer's microtenants. It is asked only
	// when a customer-level caller names one; nil knows none.
	Microtenant func(customerID, id string) (enabled, known bool)
}

// Decide examines a request that matched m: the tenant it names, then the
// caller's role. path is the escaped path, rawQuery what follows its `?`. who is
// not looked at on a public route.
func (s *Set) Decide(m Match, path, rawQuery string, who Subject) Decision {
	r := m.Route
	if r == nil {
		return Deny(NoRoute)
	}
	d := Decision{Route: r, Action: m.Action}
	if r.Public {
		d.Allow, d.Reason = true, Public
		return d
	}
	if d.Reason, d.Detail = r.checkTenant(m.Action, path, rawQuery, &who); d.Reason != Allowed {
		return d
	}
	// No action at all is no match of this Set, and held by everyone.
	if m.Action == 0 || !who.Permissions.Allow(r.Resource, r.Group, m.Action) {
		d.Reason = PermissionDenied
		return d
	}
	d.Allow = true
	return d
}

// checkTenant compares the customer and microtenant that a request names with
// the caller's. detail is for logs.
func (r *Route) checkTenant(action Mask, path, rawQuery string, who *Subject) (reason Reason, detail string) {
	if r.customerAt >= 0 && (who.CustomerID == "" || r.customerIn(path) != who.CustomerID) {
		return TenantMismatch, "the customer in the path is not the key's"
	}
	if r.MicrotenantQuery == "" {
		if who.MicrotenantID != "" && action != Read {
			return TenantMismatch, "the route takes no microtenant, so a key inside one may only read"
		}
		return Allowed, ""
	}
	id, ambiguous := QueryValue(rawQuery, r.MicrotenantQuery)
	if ambiguous {
		return AmbiguousQuery, "the microtenant parameter is repeated or oddly spelt"
	}
	return who.CheckMicrotenant(action, id)
}

// CheckMicrotenant compares the microtenant that a request names, "" for none,
// with the caller's. detail is for logs.
func (who *Subject) CheckMicrotenant(action Mask, id string) (reason Reason, detail string) {
	switch {
	case who.MicrotenantID != "":
		return confined(id, who.MicrotenantID)
	case id == "" || id == DefaultMicrotenant:
		return Allowed, ""
	case id == AllMicrotenants:
		if action != Read {
			return TenantMismatch, "all microtenants together can only be read"
		}
		return Allowed, ""
	case who.Microtenant == nil:
		return TenantMismatch, "the microtenant is unknown"
	}
	switch enabled, known := who.Microtenant(who.CustomerID, id); {
	case !known:
		return TenantMismatch, "the microtenant is unknown to the key's customer"
	case !enabled:
		return TenantMismatch, "the microtenant is disabled"
	}
	return Allowed, ""
}

// confined decides for a key inside the microtenant own.
func confined(id, own string) (Reason, string) {
	switch id {
	case "":
		return MicrotenantRequired, "a key inside a microtenant must name it"
	case own:
		return Allowed, ""
	}
	return TenantMismatch, "the microtenant is not the key's"
}

// customerIn is the customer in a path that matched.
func (r *Route) customerIn(path string) string {
	if r.customerFrom < 0 || r.customerFrom > len(path) {
		return pathSegment(path, r.customerAt)
	}
	path = path[r.customerFrom:]
	if end := strings.IndexByte(path, '/'); end >= 0 {
		return path[:end]
	}
	return path
}

// pathSegment is the nth part of path between slashes, from 0, escaped as it is.
func pathSegment(path string, n int) string {
	for ; ; n-- {
		_, path, _ = strings.Cut(path, "/")
		if n == 0 {
			break
		}
	}
	text, _, _ := strings.Cut(path, "/")
	return text
}
