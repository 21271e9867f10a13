package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// Codes of answers that come from the door itself.
const (
	codeMalformedQuery = "malformed_query"
	codeMalformedJSON  = "malformed_json"
	codeDuplicate      = "duplicate_field"
	codeTooLarge       = "body_too_large"
	codeMediaType      = "unsupported_media_type"
	codeStoreDown      = "store_unavailable"
	codeStoreFull      = "store_full"
	codeStoreInDoubt   = "store_in_doubt"
	codeBusy           = "busy"
	codeInternal       = "internal_error"
)

// storeRetrySeconds is how soon trying again may help when the store is down.
const storeRetrySeconds = 1

const problemType = "application/problem+json"

// Problem is an error answer (RFC 9457) with the members of every other
// Keyreeve error answer.
type Problem struct {
	Type      string                 `json:"type" doc:"Always about:blank; code says more."`
	Title     string                 `json:"title" doc:"The status in words."`
	Status    int                    `json:"status"`
	Detail    string                 `json:"detail,omitempty" doc:"What is wrong and what to do."`
	Code      string                 `json:"code" doc:"Stable machine-readable reason." example:"validation_failed"`
	Errors    []lifecycle.FieldError `json:"errors,omitempty" nullable:"false" doc:"The members of the request at fault."`
	RequestID string                 `json:"request_id" doc:"Names the request in logs and the audit trail."`
	// AcceptsUntil is for lifecycle.CodeNodeNotFenced alone.
	AcceptsUntil *time.Time `json:"accepts_until,omitempty" doc:"Of node_not_fenced: until when the node may serve, unless it renews."`

	headers http.Header
}

// Error makes Problem an error that handlers return to huma.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus is huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders is huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType is huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemType }

func (p *Problem) header() http.Header {
	if p.headers == nil {
		p.headers = http.Header{}
	}
	return p.headers
}

func newProblem(status int, code, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

func (c *call) newProblem(status int, code, detail string) *Problem {
	return c.named(newProblem(status, code, detail))
}

// named is p with the request's id.
func (c *call) named(p *Problem) *Problem {
	p.RequestID = c.id
	return p
}

// write answers without huma, before an operation was reached.
func (c *call) write(p *Problem) {
	h := c.w.Header()
	for name, values := range p.headers {
		h[name] = append(h[name], values...)
	}
	h.Set("Content-Type", problemType)
	c.w.WriteHeader(p.Status)
	if body, err := json.Marshal(p); err == nil {
		_, _ = c.w.Write(body) // the client may be gone
	}
}

// statuses is where a lifecycle error becomes HTTP.
var statuses = map[lifecycle.ErrorKind]int{
	lifecycle.Invalid:       http.StatusBadRequest,
	lifecycle.Unauthorized:  http.StatusUnauthorized,
	lifecycle.Forbidden:     http.StatusForbidden,
	lifecycle.NotFound:      http.StatusNotFound,
	lifecycle.Conflict:      http.StatusConflict,
	lifecycle.Precondition:  http.StatusPreconditionFailed,
	lifecycle.Unprocessable: http.StatusUnprocessableEntity,
	lifecycle.Unavailable:   http.StatusServiceUnavailable,
}

// problem is the answer to err. What is neither a refusal nor a problem already
// is a store that could not be asked; its text stays inside.
func (c *call) problem(err error) *Problem {
	p, fault := refusal(c.r, err)
	if fault {
		c.api.report(c.r, err)
	}
	return c.named(p)
}

// refusal is the answer to err, without the request's id; fault says that
// operators must be told.
func refusal(r *http.Request, err error) (p *Problem, fault bool) {
	var done *Problem
	if errors.As(err, &done) {
		return done, false
	}
	var refused *lifecycle.Error
	if errors.As(err, &refused) {
		status := statuses[refused.Kind]
		if status == 0 {
			return newProblem(http.StatusInternalServerError, codeInternal, "an unexpected error occurred"), true
		}
		p = newProblem(status, refused.Code, refused.Detail)
		p.Errors, p.AcceptsUntil = refused.Fields, refused.Until
		switch {
		case status == http.StatusUnauthorized:
			p.header()["Www-Authenticate"] = challenges(r, refused.Code)
		case refused.Code == lifecycle.CodeIdempotencyInProgress, refused.Code == lifecycle.CodePushInProgress:
			p.header().Set("Retry-After", strconv.Itoa(flightRetrySeconds))
		}
		return p, false
	}
	fault = !errors.Is(err, context.Canceled)
	if errors.Is(err, keystore.ErrFull) {
		return newProblem(http.StatusInsufficientStorage, codeStoreFull, "the store has no space left; nothing was written"), fault
	}
	if errors.Is(err, keystore.ErrInDoubt) { // without Retry-After: whoever heeds that looks at nothing first
		return newProblem(http.StatusServiceUnavailable, codeStoreInDoubt,
			"the key store was lost while it stored this, so it may be stored or not: look before you try again; a request with an Idempotency-Key may just be sent again"), fault
	}
	detail := "the key store cannot be reached"
	if r == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		detail += "; nothing was written"
	}
	p = newProblem(http.StatusServiceUnavailable, codeStoreDown, detail)
	p.header().Set("Retry-After", strconv.Itoa(storeRetrySeconds))
	return p, fault
}

// ownProblems turns the errors that huma makes itself (a parameter that does not
// parse) into ours. It is a transformer, because the function huma makes them
// with is a global that other users of huma in this process share.
func ownProblems(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	c := callOf(ctx.Context())
	if status := clientStatus(m.Status); status != http.StatusBadRequest {
		return c.newProblem(status, codeInternal, "an unexpected error occurred"), nil
	}
	p := c.newProblem(http.StatusBadRequest, lifecycle.CodeValidation, "the request has invalid parameters")
	for _, e := range m.Errors {
		_, field, _ := strings.Cut(e.Location, ".") // query.page_size
		p.Errors = append(p.Errors, lifecycle.FieldError{Field: field, Code: lifecycle.FieldType, Detail: e.Message})
	}
	return p, nil
}

// clientStatus is 400 for every way of calling a request invalid.
func clientStatus(status int) int {
	if status == http.StatusUnprocessableEntity {
		return http.StatusBadRequest
	}
	return status
}

// badRequestFor422 answers 400 where huma would answer 422; ownProblems changes
// the body, but only the context sees the status.
func badRequestFor422(ctx huma.Context, next func(huma.Context)) { next(statusContext{ctx}) }

type statusContext struct{ humaContext }

// humaContext is embedded under a name that is not that of one of its methods.
type humaContext huma.Context

func (c statusContext) SetStatus(status int) {
	if status != callOf(c.Context()).refused { // not ours, so huma's
		status = clientStatus(status)
	}
	c.humaContext.SetStatus(status)
}

// Unwrap lets humago find its own context.
func (c statusContext) Unwrap() huma.Context { return c.humaContext }

// onlyKnownQuery refuses parameters that an operation does not have, or that are
// not spelt as their type is: a filter misspelt must not list everything.
func onlyKnownQuery(ctx huma.Context, next func(huma.Context)) {
	c := callOf(ctx.Context())
	known := map[string]*huma.Param{}
	for _, p := range ctx.Operation().Parameters {
		if p.In == "query" {
			known[p.Name] = p
		}
	}
	var bad lifecycle.FieldErrors
	given := c.r.URL.Query() // each once
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if p := known[name]; p != nil {
			checkParam(&bad, p, given.Get(name))
		} else {
			bad.Add(printable(name), lifecycle.FieldUnknown, "is not a parameter of this operation")
		}
	}
	if err := bad.Err(); err != nil {
		c.write(c.problem(err))
		return
	}
	next(ctx)
}

var (
	_ huma.StatusError       = (*Problem)(nil)
	_ huma.HeadersError      = (*Problem)(nil)
	_ huma.ContentTypeFilter = (*Problem)(nil)
)
