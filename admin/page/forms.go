package page

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

const (
	// maxForm bounds a form that is sent, in bytes: it is shown again where it is refused.
	maxForm = 256 << 10
	// maxFaults bounds what a form says is wrong with it.
	maxFaults = 20
)

// Form is what a form shows: what was typed, and what is wrong with it.
type Form struct {
	Values url.Values
	// Wrong is what is wrong with each field.
	Wrong map[string][]string
	// Summary says what is wrong as a whole, "" for nothing.
	Summary string
	// faults is how many there are.
	faults int
	// order is the fields with faults, as they were found.
	order []string
}

// NewForm shows values; nil is none.
func NewForm(values url.Values) *Form {
	if values == nil {
		values = url.Values{}
	}
	return &Form{Values: values, Wrong: map[string][]string{}}
}

// Get is the value of a field.
func (f *Form) Get(name string) string { return f.Values.Get(name) }

// Fail says what is wrong with a field, or with "" the whole form.
func (f *Form) Fail(field, text string) {
	if field == "" {
		f.Summary = text
		return
	}
	if f.faults++; f.faults > maxFaults {
		f.Summary = "More is wrong than is told here."
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

// refuseAsked is refuse for a dialog that asks before something is done to what is
// called what: it has no fields that a refusal may name, so what is wrong with them is
// said of the whole.
func (f *Form) refuseAsked(err error, what string) (status int, other error) {
	var refused *lifecycle.Error
	if !errors.As(err, &refused) {
		return 0, err
	}
	if status, other = f.refuse(&lifecycle.Error{Kind: refused.Kind, Code: refused.Code, Detail: refused.Detail}); other != nil {
		return 0, err
	}
	for _, one := range refused.Fields {
		if text := sentence(one.Detail); !strings.Contains(f.Summary, text) {
			f.Summary += " " + text
		}
	}
	if refused.Kind == lifecycle.Precondition {
		f.Summary = "Somebody else changed the " + what + " meanwhile, so nothing was done. This is how it is now: please look again."
	}
	return status, nil
}

// keepTo moves what is wrong with fields that the form does not show to its summary.
func (f *Form) keepTo(fields ...string) {
	f.order = slices.DeleteFunc(f.order, func(field string) bool {
		if slices.Contains(fields, field) {
			return false
		}
		for _, text := range f.Wrong[field] {
			if !strings.Contains(f.Summary, text) {
				f.Summary += " " + text
			}
		}
		delete(f.Wrong, field)
		return true
	})
}

// overtaken says that somebody else changed the record while the form was filled in:
// what is called what is now shown beside it.
func (f *Form) overtaken(what string) {
	f.Summary = "Somebody else changed the " + what + " meanwhile, so nothing was saved. What was given here is still in the form: save again to put it in place."
}

// statusOf is the answer's where a form is only shown again.
func statusOf(f *Form) int {
	if f.Failed() {
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// form reads the form that was sent. A field that must come once is the caller's
// to look at: Get takes the first.
func (v *visit) form() (*Form, error) {
	kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, &formError{http.StatusUnsupportedMediaType, "unsupported_media_type", "Expected a form."}
	}
	if err := v.r.ParseForm(); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, &formError{http.StatusRequestEntityTooLarge, "too_large", "The form is larger than 256 KiB."}
		}
		return nil, &formError{http.StatusBadRequest, "malformed_form", "The form is not well-formed."}
	}
	return NewForm(v.r.PostForm), nil
}

// formError is a form that could not be read.
type formError struct {
	status       int
	code, detail string
}

func (e *formError) Error() string { return e.detail }
