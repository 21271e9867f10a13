// Package zpa is the ZPA-compatible door to lifecycle's operations on keys: the
// paths, bodies and errors that clients of Zscaler Private Access's API Key
// Management know. Like admin/api it decides nothing itself, and what the two
// have in common they share.
package zpa

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/policy"
)

// Where the keys of a customer are: base/{customerId}/apiKeys[/{id}].
const (
	base       = "/mgmtconfig/v1/admin/customers/"
	collection = "apiKeys"
)

const (
	typeJSON         = "application/json"
	paramMicrotenant = "microtenantId"
)

// Handler serves the face. Report may be set until the first request.
type Handler struct {
	// Report is told what the client is not: why a request ended in 500, 503 or
	// 507. nil tells nobody.
	Report func(*http.Request, error)

	svc   *lifecycle.Service
	auth  api.Authenticate
	names api.Names
}

// New makes the face over svc's operations.
func New(svc *lifecycle.Service, auth api.Authenticate) *Handler {
	return &Handler{svc: svc, auth: auth}
}

// target is what a path names: a customer's keys, or one of them.
type target struct {
	customerID string
	keyID      string // "" for the collection
}

// targetOf reads the path as it is on the wire. A path that two parsers could
// read differently, or that is spelt otherwise, is not the face's: it is left to
// whatever stands behind.
func targetOf(r *http.Request) (t target, ok bool) {
	path, class, ok := credential.DecidablePath(r.URL, r.RequestURI)
	if !ok || class != credential.PathPlain {
		return target{}, false
	}
	rest, ok := strings.CutPrefix(path, base)
	if !ok {
		return target{}, false
	}
	parts := strings.Split(rest, "/")
	switch {
	case slices.Contains(parts, ""), len(parts) < 2, len(parts) > 3, parts[1] != collection:
		return target{}, false
	case len(parts) == 3:
		t.keyID = parts[2]
	}
	t.customerID = parts[0]
	return t, true
}

// Match reports whether a request is the face's to answer, whatever its method.
func Match(r *http.Request) bool {
	_, ok := targetOf(r)
	return ok
}

// operation answers a request that is in order so far.
type operation func(*call) error

// operations are the methods of a path; HEAD is GET without a body.
func (t target) operations() map[string]operation {
	if t.keyID == "" {
		return map[string]operation{http.MethodGet: (*call).list, http.MethodHead: (*call).list, http.MethodPost: (*call).create}
	}
	return map[string]operation{http.MethodGet: (*call).show, http.MethodHead: (*call).show,
		http.MethodPut: (*call).replace, http.MethodDelete: (*call).remove}
}

// call is one request on its way through an operation.
type call struct {
	*target
	h     *Handler
	w     http.ResponseWriter
	r     *http.Request
	actor lifecycle.Actor
	query url.Values
}

// ServeHTTP authenticates before it looks at anything else.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	c := &call{h: h, w: w, r: r}
	actor, refused := h.auth(r)
	if refused != nil {
		c.refuse(api.Unauthenticated(r, refused))
		return
	}
	if actor.RequestID == "" {
		actor.RequestID = rand.Text()
	}
	c.actor = actor
	if err := c.serve(); err != nil {
		c.fail(err)
	}
}

func (c *call) serve() error {
	t, ok := targetOf(c.r)
	if !ok {
		return &lifecycle.Error{Kind: lifecycle.NotFound, Code: lifecycle.CodeNotFound, Detail: "there is no such path"}
	}
	c.target = &t
	known := t.operations()
	do := known[c.r.Method]
	if do == nil {
		return methodNotAllowed(c.r.Method, known)
	}
	microtenantID, err := c.readQuery()
	if err != nil {
		return err
	}
	c.actor.Reach = &lifecycle.Reach{CustomerID: t.customerID, MicrotenantID: microtenantID}
	return do(c)
}

// readQuery parses the query, in which each parameter may stand once. The
// microtenant is found by the gate's own rule: its odd spellings are refused, for
// another parser could read another tenant.
func (c *call) readQuery() (microtenantID string, err error) {
	raw := c.r.URL.RawQuery
	microtenantID, ambiguous := policy.QueryValue(raw, paramMicrotenant)
	if ambiguous {
		return "", &lifecycle.Error{Kind: lifecycle.Invalid, Code: policy.AmbiguousQuery.Code(),
			Detail: "give " + paramMicrotenant + " once, spelt exactly and without any encoding"}
	}
	if c.query, err = url.ParseQuery(raw); err != nil {
		return "", &lifecycle.Error{Kind: lifecycle.Invalid, Code: "malformed_query", Detail: "the query string is not well-formed"}
	}
	var bad lifecycle.FieldErrors
	for _, name := range slices.Sorted(maps.Keys(c.query)) {
		switch given := c.query[name]; {
		case name != paramMicrotenant && (c.keyID != "" || c.r.Method == http.MethodPost || !slices.Contains(listParams, name)):
			bad.Add(api.Printable(name), lifecycle.FieldUnknown, "is not a parameter of this operation")
		case len(given) > 1:
			bad.Add(name, lifecycle.FieldConflict, "is given more than once")
		}
	}
	return microtenantID, bad.Err()
}

// answer writes a JSON body.
func (c *call) answer(status int, body any) {
	c.w.Header().Set("Content-Type", typeJSON)
	data, err := json.Marshal(body)
	if err != nil { // strings and booleans only: cannot be
		c.report(err)
		status, data = http.StatusInternalServerError, []byte(`{"id":"internal.error","reason":"an unexpected error occurred"}`)
	}
	c.w.WriteHeader(status)
	_, _ = c.w.Write(data) // the client may be gone
}

func (c *call) report(err error) {
	if c.h.Report != nil {
		c.h.Report(c.r, err)
	}
}

var _ http.Handler = (*Handler)(nil)
