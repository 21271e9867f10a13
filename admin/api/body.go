package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
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

// Schema is huma.SchemaProvider.
func (member[T]) Schema(r huma.Registry) *huma.Schema {
	s := huma.SchemaFromType(r, reflect.TypeFor[T]())
	s.Nullable = true
	return s
}

// decode reads the request's body, one JSON object, into the members of into: a
// pointer to a struct of member fields. All that is wrong is told at once.
func (c *call) decode(into any, mediaTypes ...string) error {
	return c.decodeUpTo(maxBody, into, mediaTypes...)
}

// decodeUpTo is decode for a body of other than the usual size, in bytes.
func (c *call) decodeUpTo(most int64, into any, mediaTypes ...string) error {
	return decode(c.w, c.r, most, into, mediaTypes)
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
	if !acceptable(r.Header.Values("Content-Type"), mediaTypes) {
		p := newProblem(http.StatusUnsupportedMediaType, codeMediaType, "the body must be "+strings.Join(mediaTypes, " or "))
		p.header().Set(acceptHeader(r.Method), strings.Join(mediaTypes, ", "))
		return nil, nil, p
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, nil, newProblem(http.StatusRequestEntityTooLarge, codeTooLarge, "the body is over "+strconv.FormatInt(most, 10)+" bytes")
	case err != nil:
		return nil, nil, newProblem(http.StatusBadRequest, codeMalformedJSON, "the body could not be read to its end")
	}
	members, detail := parseObject(body)
	if detail != "" {
		return nil, nil, newProblem(http.StatusBadRequest, codeMalformedJSON, detail)
	}
	twice, ok := duplicates(body)
	if !ok {
		return nil, nil, newProblem(http.StatusBadRequest, codeMalformedJSON, "the body is nested too deeply")
	}
	return members, twice, nil
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

// parseObject splits a JSON object into its members; detail says why it cannot.
func parseObject(body []byte) (members map[string]json.RawMessage, detail string) {
	if !utf8.Valid(body) {
		return nil, "the body is not UTF-8"
	}
	var syntax *json.SyntaxError
	err := json.Unmarshal(body, &members)
	switch {
	case errors.As(err, &syntax):
		return nil, fmt.Sprintf("the body is not JSON: error at byte %d", syntax.Offset)
	case err != nil || members == nil:
		return nil, "the body must be one JSON object"
	}
	return members, ""
}

// duplicates lists the members that occur twice in their object. body is known
// to be JSON. It is false for a body nested deeper than any of ours.
func duplicates(body []byte) (names []string, ok bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	ok = true
	var value func(path string, depth int)
	value = func(path string, depth int) {
		if depth > maxDepth {
			ok = false
		}
		if !ok {
			return
		}
		token, _ := d.Token() // every error is one of syntax
		if token != json.Delim('{') && token != json.Delim('[') {
			return
		}
		seen := map[string]bool{}
		for ok && d.More() {
			name := path + "[]"
			if token == json.Delim('{') {
				key, _ := d.Token()
				name = strings.TrimPrefix(path+"."+key.(string), ".")
				if seen[name] {
					names = append(names, name)
				}
				seen[name] = true
			}
			value(name, depth+1)
		}
		_, _ = d.Token() // the closing bracket
	}
	value("", 0)
	return names, ok
}

// repeated is what is wrong with members that occur twice.
func repeated(twice []string) (bad lifecycle.FieldErrors) {
	for _, name := range twice {
		bad.Add(printable(name), codeDuplicate, "is given more than once")
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
