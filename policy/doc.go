// Package policy holds the pure rules of a gate: which route a request falls
// under, what permission that asks for, whether a role grants it, which tenant
// a request may name, and how failures count towards a lock. It does no I/O
// beyond reading policy files and has no clock of its own.
//
// Rules come from policy files (LoadFile) and single routes (RouteSpec), which
// Compile merges into a Set. A Set never changes; Match finds a request's rule
// and Decide examines the caller under it:
//
//	m, reason := set.Match(method, escapedPath, odd)
//	// … the caller is proven …
//	decision := set.Decide(m, escapedPath, rawQuery, subject)
//
// Paths are matched as they are on the wire. A second tree, of the patterns in
// normal form, only ever refuses: it keeps odd spellings of a path from slipping
// past a rule to a broader one.
package policy
