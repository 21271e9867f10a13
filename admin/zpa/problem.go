package zpa

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// Error is the body of every refusal. Its clients read it only where the content
// type is application/json.
type Error struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// ErrorID is the id for a refusal with this status and code.
//
// Clients act on ids. SESSION_NOT_VALID makes them sign in again, which helps
// with a bad token and nothing else. `bad.request` and a few more make them send
// a request up to a hundred times over, so that a wrong secret would lock its own
// client: no id that this gives is one of those.
func ErrorID(status int, code string) string {
	reason, known := policy.ReasonOf(code)
	switch {
	case status == http.StatusUnauthorized && known && reason.AboutToken():
		return "SESSION_NOT_VALID"
	case status == http.StatusUnauthorized:
		return "access.denied"
	case code == lifecycle.CodeNotFound:
		return "resource.not.found"
	}
	return strings.ReplaceAll(code, "_", ".")
}

// fieldNames are the face's names of what lifecycle calls otherwise.
var fieldNames = map[string]string{
	"session_validity_seconds": "tokenExpiryTimeInSec",
	"role_id":                  "roleId",
	"client_id":                "clientId",
	"customer_id":              "customerId",
	"microtenant_id":           paramMicrotenant,
	"page_size":                "pagesize",
	"q":                        paramSearch,
	"sort":                     paramSortBy,
}

// fail answers with what an operation returned.
func (c *call) fail(err error) {
	p, fault := api.Refusal(c.r, err)
	if fault {
		c.report(err)
	}
	c.refuse(p)
}

// refuse answers with a problem, put into the face's terms.
func (c *call) refuse(p *api.Problem) {
	h := c.w.Header()
	for name, values := range p.GetHeaders() {
		h[name] = append(h[name], values...)
	}
	var reason strings.Builder
	reason.WriteString(p.Detail)
	for _, e := range p.Errors {
		name := e.Field
		// What is unknown is called as the client called it.
		if own := fieldNames[name]; own != "" && e.Code != lifecycle.FieldUnknown {
			name = own
		}
		if e.Detail != p.Detail { // some refusals are about one field and say it twice
			reason.WriteString("; " + name + " " + e.Detail)
		}
	}
	c.answer(p.Status, Error{ID: ErrorID(p.Status, p.Code), Reason: reason.String()})
}

func methodNotAllowed(method string, known map[string]operation) error {
	return api.MethodNotAllowed(method, slices.Sorted(maps.Keys(known)))
}
