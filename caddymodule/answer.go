package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keyreeve/keyreeve/admin/zpa"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/policy"
)

const realm = `realm="keyreeve"`

// Codes of a gRPC status (google.golang.org/grpc/codes).
const (
	grpcPermissionDenied = "7"
	grpcUnavailable      = "14"
	grpcUnauthenticated  = "16"
)

// answer is how one reason is put into HTTP.
type answer struct {
	status int
	detail string
}

// answers is the one place where a reason becomes a status. The details say what
// to do and reveal nothing that the code does not.
var answers = map[policy.Reason]answer{
	policy.TooEarly:            {http.StatusTooEarly, "The request came as TLS early data, which could be a replay. Send it again after the handshake."},
	policy.AmbiguousPath:       {http.StatusBadRequest, "Two programs could read this path differently. Send it without encoded slashes, dot segments, doubled slashes, semicolons or doubled encoding."},
	policy.CredentialsRequired: {http.StatusUnauthorized, "Send a client ID and secret, or an access token."},
	policy.InvalidRequest:      {http.StatusBadRequest, "Send exactly one credential, in a header and not in the query."},
	policy.InvalidClient:       {http.StatusUnauthorized, "The client is not known or its credential is not good."},
	policy.InvalidToken:        {http.StatusUnauthorized, "The access token is not good. Sign in again."},
	policy.ClientInactive:      {http.StatusUnauthorized, "The client this token was issued to is not active any more."},
	policy.ClientLocked:        {http.StatusUnauthorized, "The client this token was issued to is locked."},
	policy.SourceNotAllowed:    {http.StatusForbidden, "This client may not call from this address."},
	policy.StoreUnavailable:    {http.StatusServiceUnavailable, "The credential cannot be checked at the moment. Try again."},
	policy.InvalidRevision:     {http.StatusBadRequest, "Send one Keyreeve-Min-Revision: a revision from the Keyreeve-Revision of an answer by this store, or none."},
	policy.NoRoute:             {http.StatusForbidden, "No rule permits this method and path."},
	policy.AmbiguousQuery:      {http.StatusBadRequest, "Send the microtenant parameter once, spelt exactly."},
	policy.MicrotenantRequired: {http.StatusForbidden, "A key inside a microtenant must name its microtenant."},
	policy.TenantMismatch:      {http.StatusForbidden, "The customer or microtenant named is not this key's."},
	policy.PermissionDenied:    {http.StatusForbidden, "The role of this key does not hold the permission."},
}

// refuse turns a denial into an answer.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, d policy.Decision) error {
	a := answers[d.Reason]
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	for _, c := range g.challenges(a, d) {
		h.Add("WWW-Authenticate", c)
	}
	if d.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((d.RetryAfter+time.Second-1)/time.Second)))
	}
	switch {
	case isGRPC(r):
		return refuseGRPC(w, a, d)
	case g.ErrorFormat == formatCaddy:
		return caddyhttp.Error(a.status, errors.New(d.Reason.Code()))
	case g.ErrorFormat == formatZPA:
		return writeJSON(w, a.status, "application/json", zpa.Error{ID: zpa.ErrorID(a.status, d.Reason.Code()), Reason: a.detail})
	}
	return writeJSON(w, a.status, "application/problem+json", problem{
		Type: "about:blank", Title: http.StatusText(a.status), Status: a.status, Detail: a.detail,
		Code: d.Reason.Code(), Scope: d.Scope(), RequestID: requestID(r),
	})
}

// challenges lists the WWW-Authenticate values. 401 always has one (RFC 9110
// section 15.5.2), of Bearer whatever is enabled; a lack of permission has one
// that names the scope.
func (g *Gate) challenges(a answer, d policy.Decision) []string {
	bearer := "Bearer " + realm
	switch { // the errors of RFC 6750 section 3.1
	case d.Reason == policy.PermissionDenied:
		return []string{bearer + `, error="insufficient_scope", scope="` + d.Scope() + `"`}
	case d.Reason.AboutToken():
		return []string{bearer + `, error="invalid_token"`}
	case a.status != http.StatusUnauthorized:
		return nil
	}
	list := []string{bearer}
	if g.forms&credential.FormBasic != 0 {
		list = append(list, "Basic "+realm+`, charset="UTF-8"`)
	}
	return list
}

// problem is the body of a refusal (RFC 9457).
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	Scope     string `json:"scope,omitempty"`
	RequestID string `json:"request_id"`
}

func writeJSON(w http.ResponseWriter, status int, contentType string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the client may be gone; there is nobody to tell
	return nil
}

// isGRPC reports a caller that reads its answer from gRPC's own status. gRPC is
// never spoken over HTTP/1.1, where 200 would pass for a success, and
// `application/grpc-web` is another protocol.
func isGRPC(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.Header.Get("Content-Type"), "application/grpc")
	return ok && r.ProtoMajor >= 2 && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// refuseGRPC answers as gRPC clients understand it: Trailers-Only, HTTP 200.
func refuseGRPC(w http.ResponseWriter, a answer, d policy.Decision) error {
	status := grpcPermissionDenied
	switch a.status {
	case http.StatusUnauthorized:
		status = grpcUnauthenticated
	case http.StatusServiceUnavailable, http.StatusTooEarly:
		status = grpcUnavailable
	}
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", status)
	h.Set("Grpc-Message", d.Reason.Code())
	w.WriteHeader(http.StatusOK)
	return nil
}

// requestID is the id that Caddy gives the request in its logs too.
func requestID(r *http.Request) string { return requestIDIn(r.Context()) }

func requestIDIn(ctx context.Context) string {
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	id, _ := repl.GetString("http.request.uuid")
	return id
}
