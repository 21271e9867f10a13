package api

import (
	"net/http"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// What follows is for other HTTP doors to the same operations, so that they are
// as strict as this one, by the same code: only their paths and bodies differ.

// Decode reads the request's body, one JSON object, into the members of into: a
// pointer to a struct whose fields are named by their json tags and take any
// value by themselves (json.Unmarshaler). A field's type may have a method
// Expected() (code, detail string) that says what it takes. All that is wrong is
// told at once, in a *Problem or a *lifecycle.Error.
func Decode(w http.ResponseWriter, r *http.Request, into any, mediaTypes ...string) error {
	return decode(w, r, maxBody, into, mediaTypes)
}

// Unauthenticated is the answer to a request that was not let in.
func Unauthenticated(r *http.Request, a *AuthProblem) *Problem { return unauthenticated(r, a) }

// Refusal is the answer to what an operation, or Decode, returned. fault says
// that the request was not to blame and operators must be told of err.
func Refusal(r *http.Request, err error) (p *Problem, fault bool) { return refusal(r, err) }

// MethodNotAllowed is the answer on a path that has other methods.
func MethodNotAllowed(method string, allowed []string) *Problem {
	p := newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "this path does not have the method "+printable(method))
	p.header().Set("Allow", strings.Join(allowed, ", "))
	return p
}

// Names keeps requests that carry an Idempotency-Key apart while they are under way.
type Names struct{ flights flights }

// Once is the name of a request that makes something, nil if it has none; done
// must be called once it is answered. The body can be read afterwards.
func (n *Names) Once(r *http.Request, actorID string) (once *lifecycle.Once, done func(), err error) {
	return n.flights.once(r, actorID)
}

// ETag is the entity tag of a record at a revision.
func ETag(r keystore.Revision) string { return etag(r) }

// IfMatch is the request's preconditions, nil if it has none.
func IfMatch(r *http.Request) lifecycle.Condition { return ifMatch(r) }

// WrittenAs is what the headers of an answer to a write say of it.
func WrittenAs(c lifecycle.Commit) Written { return writtenAs(c) }

// Printable is a caller's own word fit to be quoted back.
func Printable(s string) string { return printable(s) }
