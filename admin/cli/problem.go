package cli

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// problem is an error answer: the admin API's (RFC 9457), or whatever else
// stands at that address.
type problem struct {
	Status    int    `json:"-"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
	Errors    []struct {
		Field  string `json:"field"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	} `json:"errors"`

	// foreign is true when the answer is not the admin API's.
	foreign    bool
	retryAfter string
	where      string
	hint       string
}

// Codes of answers that are not like others of their status.
const (
	codeRestored = "store_restored"
	codeInDoubt  = "store_in_doubt"
)

// problem reads an answer other than 2xx.
func (c *client) problem(resp *http.Response, body []byte) *problem {
	p := &problem{}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "application/problem+json" || json.Unmarshal(body, p) != nil {
		*p = problem{foreign: true, Detail: foreignDetail(body)}
	}
	p.Status = resp.StatusCode
	p.retryAfter = resp.Header.Get("Retry-After")
	p.where, p.hint = c.where, c.hint
	return p
}

// foreignDetail is what Caddy's admin endpoint says in its own error bodies; of
// a body of any other form nothing is repeated.
func foreignDetail(body []byte) string {
	var caddy struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &caddy) != nil {
		return ""
	}
	return caddy.Error
}

// Error says what was refused, why, and what to do about it.
func (p *problem) Error() string {
	if p.foreign {
		return p.foreignError()
	}
	var b strings.Builder
	b.WriteString(firstOf(p.Detail, p.Title, http.StatusText(p.Status), "refused"))
	fmt.Fprintf(&b, " (%d", p.Status)
	if p.Code != "" {
		b.WriteString(" " + p.Code)
	}
	b.WriteString(")")
	for _, e := range p.Errors {
		fmt.Fprintf(&b, "\n  %s: %s", firstOf(e.Field, "request"), firstOf(e.Detail, e.Code))
	}
	if advice := p.advice(); advice != "" {
		b.WriteString("\n" + advice)
	}
	if p.Status >= http.StatusInternalServerError && p.RequestID != "" {
		b.WriteString("\nrequest id " + p.RequestID)
	}
	return b.String()
}

func (p *problem) foreignError() string {
	text := fmt.Sprintf("%s answered %d %s", p.where, p.Status, http.StatusText(p.Status))
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if p.Status == http.StatusNotFound {
		return text + "; there is no Keyreeve admin API: does the running configuration have a `keyreeve` app, with local_admin not off?"
	}
	if p.hint == "" || p.Status >= http.StatusInternalServerError {
		return text // it is the right place, in trouble
	}
	return text + "; " + p.hint
}

func (p *problem) advice() string {
	switch p.Code {
	case codeRestored:
		return "" // it does not pass by itself, and it says what to do
	case codeInDoubt:
		return "it may have been carried out: look before trying again"
	}
	switch p.Status {
	case http.StatusUnauthorized:
		return "check KEYREEVE_CLIENT_ID and KEYREEVE_CLIENT_SECRET; a key that is disabled, expired or locked is refused the same way"
	case http.StatusPreconditionFailed:
		return "someone else changed it meanwhile: look at it again, then repeat"
	case http.StatusServiceUnavailable:
		if p.retryAfter != "" {
			return "nothing was changed; try again in " + p.retryAfter + " s"
		}
		return "nothing was changed; try again later"
	case http.StatusInsufficientStorage:
		return "nothing was changed; make room on the disk of the store"
	}
	return ""
}

// firstOf is the first text that is not empty.
func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
