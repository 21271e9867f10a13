package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// maxBody is the largest request body read, in bytes.
const maxBody = 1 << 20

// maxDepth is how deep a body may be nested, which bounds the work on one.
const maxDepth = 8

const (
	typeJSON       = "application/json"
	typeMergePatch = "application/merge-patch+json" // RFC 7396 section 4
)

// member is one member of a request body: a lifecycle.Optional that huma can
// write the schema of.
//
// Bodies are not decoded by huma: it matches names whatever their case, takes
// the last of two members of one name, and cannot tell null from left out.
type member[T any] struct{ lifecycle.Optional[T] }

// UnmarshalJSON is stricter than the types themselves: a time is one of RFC 3339,
// and no whole number is negative zero.
func (m *member[T]) UnmarshalJSON(data []byte) error {
	if err := m.Optional.UnmarshalJSON(data); err != nil || m.Null {
		return err
	}
	switch any(m.Value).(type) {
	case time.Time:
		if !timePattern.Match(bytes.Trim(data, `"`)) {
			return errTime
		}
	case int64:
		if !wholePattern.Match(data) {
			return errWhole
		}
	}
	return nil
}

// Schema is huma.SchemaProvider.
func (member[T]) Schema(r huma.Registry) *huma.Schema {
	s := huma.SchemaFromType(r, reflect.TypeFor[T]())
	s.Nullable = true
	return s
}

// decode reads the request's body, one JSON object, into the members of into: a
// pointer to a struct of member fields. All that is wrong is told at once.
func (c *call) decode(into any, mediaTypes ...string) error {
	return decode(c.w, c.r, maxBody, into, mediaTypes)
}

func decode(w http.ResponseWriter, r *http.Request, most int64, into any, mediaTypes []string) error {
	members, twice, err := readObject(w, r, most, mediaTypes)
	if err != nil {
		return err
	}
	return fill(into, members, twice)
}

// readObject reads the request's body, one JSON object; twice names the members
// that occur more than once in theirs.
func readObject(w http.ResponseWriter, r *http.Request, most int64, mediaTypes []string) (members map[string]json.RawMessage, twice []string, err error) {
	body, err := readBody(w, r, most, mediaTypes)
	if err != nil {
		return nil, nil, err
	}
	return splitBody(body)
}

// readBody reads the request's body of one of these types and makes nothing of it yet.
func readBody(w http.ResponseWriter, r *http.Request, most int64, mediaTypes []string) ([]byte, error) {
	if err := refuseCoding(r.Header.Values("Content-Encoding")); err != nil {
		return nil, err
	}
	if !acceptable(r.Header.Values("Content-Type"), mediaTypes) {
		p := newProblem(http.StatusUnsupportedMediaType, codeMediaType, "the body must be "+strings.Join(mediaTypes, " or "))
		p.header().Set(acceptHeader(r.Method), strings.Join(mediaTypes, ", "))
		return nil, p
	}
	body, err := readWhole(w, r, most)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, newProblem(http.StatusBadRequest, codeMalformedJSON, "the body came too slowly")
	case errors.As(err, &tooLarge):
		return nil, newProblem(http.StatusRequestEntityTooLarge, codeTooLarge, "the body is over "+strconv.FormatInt(most, 10)+" bytes")
	case err != nil:
		return nil, newProblem(http.StatusBadRequest, codeMalformedJSON, "the body could not be read to its end")
	}
	return body, nil
}

// splitBody splits a body, one JSON object, into its members, and names those that
// occur twice in theirs.
func splitBody(body []byte) (members map[string]json.RawMessage, twice []string, err error) {
	if detail := notObject(body); detail != "" {
		return nil, nil, newProblem(http.StatusBadRequest, codeMalformedJSON, detail)
	}
	// Before anything is kept of the body: what it may have is bounded here.
	if twice, err = duplicates(body); err != nil {
		return nil, nil, oversized(err)
	}
	members, _ = parseObject(body)
	return members, twice, nil
}

// oversized is the answer to a body that duplicates did not go through.
func oversized(err error) error {
	var lengthy *lengthyError
	switch {
	case !errors.As(err, &lengthy):
		return newProblem(http.StatusBadRequest, codeMalformedJSON, "the body is nested too deeply")
	case lengthy.path == "":
		return newProblem(http.StatusBadRequest, codeMalformedJSON, "the body has more than "+strconv.Itoa(maxElements)+" members")
	}
	return lifecycle.FieldErrors{{Field: lengthy.path, Code: lifecycle.FieldTooMany, Detail: "has more than " + strconv.Itoa(maxElements) + " elements"}}.Err()
}

// refuseCoding refuses a body in any content coding: nothing here undoes one, and
// what is short may unpack to anything (RFC 9110 sections 8.4 and 12.5.3).
func refuseCoding(codings []string) error {
	for _, coding := range strings.Split(strings.Join(codings, ","), ",") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			p := newProblem(http.StatusUnsupportedMediaType, codeMediaType, "the body must not have a Content-Encoding")
			p.header().Set("Accept-Encoding", "identity")
			return p
		}
	}
	return nil
}

// acceptHeader says which types a method takes (RFC 5789 section 3.1, RFC 9110 section 12.5.1).
func acceptHeader(method string) string {
	if method == http.MethodPatch {
		return "Accept-Patch"
	}
	return "Accept"
}

func acceptable(given, mediaTypes []string) bool {
	if len(given) != 1 {
		return false
	}
	mediaType, params, err := mime.ParseMediaType(given[0])
	charset := params["charset"]
	return err == nil && slices.Contains(mediaTypes, mediaType) && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

// notObject says why a body is no JSON object, "" if it is one. It keeps nothing of it.
func notObject(body []byte) (detail string) {
	if !utf8.Valid(body) {
		return "the body is not UTF-8"
	}
	var syntax *json.SyntaxError
	var object *struct{}
	err := json.Unmarshal(body, &object)
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("the body is not JSON: error at byte %d", syntax.Offset)
	case err != nil || object == nil:
		return "the body must be one JSON object"
	}
	return ""
}

// parseObject splits a JSON object into its members; detail says why it cannot.
func parseObject(body []byte) (members map[string]json.RawMessage, detail string) {
	if detail := notObject(body); detail != "" {
		return nil, detail
	}
	_ = json.Unmarshal(body, &members) // an object can be
	return members, ""
}

// repeated is what is wrong with members that duplicates found.
func repeated(twice []string) (bad lifecycle.FieldErrors) {
	for _, name := range twice {
		bad.Add(name, codeDuplicate, "is given more than once")
	}
	return bad
}

// refuseEmpty refuses a member whose empty value would pass for one left out.
func refuseEmpty(bad *lifecycle.FieldErrors, field string, given member[string]) {
	if given.Has() && given.Value == "" {
		bad.Add(field, lifecycle.FieldFormat, "is empty; leave it out")
	}
}

// fill decodes each member into the field of that very name.
func fill(into any, members map[string]json.RawMessage, twice []string) error {
	bad := repeated(twice)
	v := reflect.ValueOf(into).Elem()
	known := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		known[name] = v.Field(i)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		field, ok := known[name]
		if !ok {
			bad.Add(printable(name), lifecycle.FieldUnknown, "does not exist here or cannot be set")
			continue
		}
		if json.Unmarshal(members[name], field.Addr().Interface()) != nil {
			code, detail := expected(field.Interface())
			bad.Add(name, code, "%s", detail)
		}
	}
	return bad.Err()
}

// expected says what a member of this type takes.
func expected(field any) (code, detail string) {
	switch field := field.(type) {
	case interface {
		Expected() (code, detail string)
	}:
		return field.Expected()
	case member[string]:
		return lifecycle.FieldType, "must be a string"
	case member[bool]:
		return lifecycle.FieldType, "must be true or false"
	case member[int64]:
		return lifecycle.FieldType, "must be a whole number"
	case member[time.Time]:
		return lifecycle.FieldFormat, "must be a time such as 2030-01-02T15:04:05Z (RFC 3339)"
	case member[[]string]:
		return lifecycle.FieldType, "must be a list of strings"
	case member[map[string]*string]:
		return lifecycle.FieldType, "must be an object whose members are strings"
	}
	return lifecycle.FieldType, "has the wrong type"
}
