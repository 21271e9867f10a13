package page

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// maxForm bounds a form that is sent, in bytes.
const maxForm = 1 << 20

// Form is what a form shows: what was typed, and what is wrong with it.
type Form struct {
	Values url.Values
	// Wrong is what is wrong with each field.
	Wrong map[string][]string
	// Summary says what is wrong as a whole, "" for nothing.
	Summary string
	// order is the fields with faults, as they were found.
	order []string
	// known are the fields that the form shows, see Fault.
	known map[string]bool
}

// NewForm shows values; nil is none.
func NewForm(values url.Values) *Form {
	if values == nil {
		values = url.Values{}
	}
	return &Form{Values: values, Wrong: map[string][]string{}, known: map[string]bool{}}
}

// Get is the value of a field.
func (f *Form) Get(name string) string { return f.Values.Get(name) }

// Fail says what is wrong with a field, or with "" the whole form.
func (f *Form) Fail(field, text string) {
	if field == "" {
		f.Summary = text
		return
	}
	if f.Wrong[field] == nil {
		f.order = append(f.order, field)
	}
	f.Wrong[field] = append(f.Wrong[field], text)
}

// Failed reports whether anything is wrong.
func (f *Form) Failed() bool { return f != nil && (f.Summary != "" || len(f.order) > 0) }

// Fault is one line of the summary.
type Fault struct{ Field, Text string }

// ID is the element's that it is about.
func (f Fault) ID() string { return fieldID(f.Field) }

// Faults lists what is wrong with fields, in the order in which it was found.
func (f *Form) Faults() []Fault {
	var all []Fault
	for _, field := range f.order {
		for _, text := range f.Wrong[field] {
			all = append(all, Fault{field, text})
		}
	}
	return all
}

// refuse puts a refusal into the form, at the fields it names, and returns the
// status to answer with. What no form can mend it returns as an error: for the
// handler to return.
func (f *Form) refuse(err error) (status int, other error) {
	var refused *lifecycle.Error
	if !errors.As(err, &refused) {
		return 0, err
	}
	switch refused.Kind {
	case lifecycle.Unauthorized, lifecycle.NotFound:
		return 0, err
	}
	f.Summary = sentence(refused.Detail)
	for _, one := range refused.Fields {
		field, _, _ := strings.Cut(one.Field, "[") // allowed_cidrs[3] stands in allowed_cidrs
		text := one.Detail
		if field != one.Field {
			text = "Entry " + strings.Trim(strings.TrimPrefix(one.Field, field), "[]") + ": " + text
		}
		f.Fail(field, sentence(text))
	}
	return statuses[refused.Kind], nil
}

// form reads the form that was sent. A field that must come once is the caller's
// to look at: Get takes the first.
func (v *visit) form() (*Form, error) {
	kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, &lifecycle.Error{Kind: lifecycle.Invalid, Code: "unsupported_media_type", Detail: "expected a form"}
	}
	if err := v.r.ParseForm(); err != nil {
		detail := "the form is not well-formed"
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			detail = "the form is larger than 1 MiB"
		}
		return nil, &lifecycle.Error{Kind: lifecycle.Invalid, Code: "malformed_form", Detail: detail}
	}
	return NewForm(v.r.PostForm), nil
}
