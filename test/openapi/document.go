// Package openapi holds HTTP exchanges against an OpenAPI 3.1 document: whether
// what was sent and what was answered is what the document says, and which parts
// of the document were exercised.
package openapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// resource is the name that the document's schemas refer to each other under.
const resource = "openapi.json"

// Document is a parsed OpenAPI document. It is safe for concurrent use.
type Document struct {
	operations []*operation

	mu       sync.Mutex // the compiler is not safe for concurrent use
	compiler *jsonschema.Compiler
	seen     map[string]bool // method, path template and status of each exchange
}

type operation struct {
	method, path string
	segments     []string
	parameters   []parameter
	// request and responses map media types to the places of their schemas; a nil
	// map has no body.
	request   map[string]string
	required  bool // whether there must be a body
	responses map[string]response
}

type parameter struct {
	name, in, schema string
	required         bool
}

type response struct {
	content map[string]string
	headers map[string]string
}

// raw is the part of a document that is looked at by name; schemas stay with the compiler.
type raw struct {
	Paths map[string]map[string]struct {
		Parameters []struct {
			Name, In string
			Required bool
		}
		RequestBody *struct {
			Required bool
			Content  map[string]json.RawMessage
		}
		Responses map[string]struct {
			Content map[string]json.RawMessage
			Headers map[string]json.RawMessage
		}
	}
}

// Parse reads a document and compiles every schema in it, so that a broken one is
// found at once.
func Parse(text []byte) (*Document, error) {
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var doc raw
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	d := &Document{compiler: jsonschema.NewCompiler(), seen: map[string]bool{}}
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(resource, whole); err != nil {
		return nil, err
	}
	for path, item := range doc.Paths {
		for method, o := range item {
			at := "#/paths/" + pointer(path) + "/" + method
			op := &operation{method: strings.ToUpper(method), path: path, segments: strings.Split(path, "/"), responses: map[string]response{}}
			for i, p := range o.Parameters {
				op.parameters = append(op.parameters, parameter{p.Name, p.In, at + "/parameters/" + strconv.Itoa(i) + "/schema", p.Required})
			}
			if o.RequestBody != nil {
				op.request, op.required = schemas(at+"/requestBody", o.RequestBody.Content), o.RequestBody.Required
			}
			for status, r := range o.Responses {
				rAt := at + "/responses/" + status
				one := response{content: schemas(rAt, r.Content), headers: map[string]string{}}
				for name := range r.Headers {
					one.headers[http.CanonicalHeaderKey(name)] = rAt + "/headers/" + pointer(name) + "/schema"
				}
				op.responses[status] = one
			}
			d.operations = append(d.operations, op)
			if err := d.compileAll(op); err != nil {
				return nil, fmt.Errorf("%s %s: %w", op.method, op.path, err)
			}
		}
	}
	return d, nil
}

func (d *Document) compileAll(op *operation) error {
	var places []string
	for _, p := range op.parameters {
		places = append(places, p.schema)
	}
	places = slices.AppendSeq(places, maps.Values(op.request))
	for _, r := range op.responses {
		places = slices.AppendSeq(places, maps.Values(r.content))
		places = slices.AppendSeq(places, maps.Values(r.headers))
	}
	for _, place := range places {
		if _, err := d.compiler.Compile(resource + place); err != nil {
			return err
		}
	}
	return nil
}

func schemas(at string, content map[string]json.RawMessage) map[string]string {
	out := map[string]string{}
	for mediaType := range content {
		out[mediaType] = at + "/content/" + pointer(mediaType) + "/schema"
	}
	return out
}

// pointer is one step of a JSON pointer (RFC 6901) in a URI fragment.
func pointer(s string) string {
	return url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(s))
}

// Operation is what a test has to know of an operation to try it.
type Operation struct {
	// Path is a template such as /v1/keys/{id}.
	Method, Path string
	// Statuses are those described, without `default`.
	Statuses []string
	// MediaTypes of the request's body; none has no body.
	MediaTypes []string
}

// Operations lists all of the document, by path and method.
func (d *Document) Operations() []Operation {
	var out []Operation
	for _, op := range d.operations {
		statuses := slices.Sorted(maps.Keys(op.responses))
		out = append(out, Operation{Method: op.method, Path: op.path, MediaTypes: slices.Sorted(maps.Keys(op.request)),
			Statuses: slices.DeleteFunc(statuses, func(s string) bool { return s == "default" })})
	}
	slices.SortFunc(out, func(a, b Operation) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
	})
	return out
}

// Exchange is a request and its answer.
type Exchange struct {
	Method string
	// Target is the path and query as sent.
	Target         string
	Header         http.Header
	Body           []byte
	Status         int
	ResponseHeader http.Header
	ResponseBody   []byte
}

// Check says what in the exchange the document does not allow. A request that was
// refused with 4xx need not be one that the document allows.
func (d *Document) Check(e Exchange) error {
	path, query, _ := strings.Cut(e.Target, "?")
	op := d.find(e.Method, path)
	if op == nil {
		return fmt.Errorf("%s %s is no operation of the document", e.Method, path)
	}
	status := strconv.Itoa(e.Status)
	d.mu.Lock()
	defer d.mu.Unlock()
	answered, ok := op.responses[status]
	if !ok {
		answered, ok = op.responses["default"]
	}
	if !ok {
		return fmt.Errorf("%s %s: status %s is not described", e.Method, op.path, status)
	}
	d.seen[op.method+" "+op.path+" "+status] = true
	if e.Status < 400 {
		if err := d.checkRequest(op, query, e); err != nil {
			return fmt.Errorf("%s %s was accepted: %w", e.Method, e.Target, err)
		}
	}
	if err := d.checkAnswer(answered, e); err != nil {
		return fmt.Errorf("%s %s answered %s: %w", e.Method, e.Target, status, err)
	}
	return nil
}

func (d *Document) checkRequest(op *operation, query string, e Exchange) error {
	given, err := url.ParseQuery(query)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, p := range op.parameters {
		var value string
		var has bool
		switch p.in {
		case "query":
			known[p.name] = true
			has, value = given.Has(p.name), given.Get(p.name)
		case "header":
			has, value = len(e.Header.Values(p.name)) > 0, e.Header.Get(p.name)
		default:
			continue
		}
		if !has && p.required {
			return fmt.Errorf("%s parameter %s is required", p.in, p.name)
		}
		if has {
			if err := d.checkText(p.schema, value); err != nil {
				return fmt.Errorf("%s parameter %s: %w", p.in, p.name, err)
			}
		}
	}
	for name := range given {
		if !known[name] {
			return fmt.Errorf("query parameter %s is not described", name)
		}
	}
	if len(e.Body) == 0 {
		if op.required {
			return fmt.Errorf("a body is required")
		}
		return nil
	}
	if op.request == nil {
		return fmt.Errorf("no body is described")
	}
	return d.checkBody(op.request, e.Header.Get("Content-Type"), e.Body)
}

func (d *Document) checkAnswer(r response, e Exchange) error {
	for name, place := range r.headers {
		if value := e.ResponseHeader.Get(name); value != "" {
			if err := d.checkText(place, value); err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
		}
	}
	if len(e.ResponseBody) == 0 {
		if len(r.content) > 0 && e.Method != http.MethodHead {
			return fmt.Errorf("a body is described")
		}
		return nil
	}
	return d.checkBody(r.content, e.ResponseHeader.Get("Content-Type"), e.ResponseBody)
}

func (d *Document) checkBody(content map[string]string, contentType string, body []byte) error {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("content type %q: %w", contentType, err)
	}
	place, ok := content[mediaType]
	if !ok {
		return fmt.Errorf("content type %s is not described", mediaType)
	}
	if !strings.HasSuffix(mediaType, "json") || strings.HasSuffix(mediaType, "ndjson") {
		return nil // no document of one value
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return d.check(place, value)
}

func (d *Document) check(place string, value any) error {
	schema, err := d.compiler.Compile(resource + place)
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// checkText takes a parameter's or header's text for a string, or for the number
// or boolean that it may stand for.
func (d *Document) checkText(place, text string) error {
	err := d.check(place, text)
	if value := scalar(text); err != nil && value != text {
		return d.check(place, value)
	}
	return err
}

// scalar is the number or boolean that a text writes, else the text itself.
func scalar(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return json.Number(strconv.FormatInt(n, 10))
	}
	switch text {
	case "true":
		return true
	case "false":
		return false
	}
	return text
}

// find prefers the template with the fewest names in it.
func (d *Document) find(method, path string) *operation {
	var best *operation
	given := strings.Split(path, "/")
	for _, op := range d.operations {
		same := slices.EqualFunc(op.segments, given, func(want, have string) bool {
			return want == have || strings.HasPrefix(want, "{") && have != ""
		})
		if same && op.method == method && (best == nil || strings.Count(op.path, "{") < strings.Count(best.path, "{")) {
			best = op
		}
	}
	return best
}

// Unseen lists every operation and described status that no exchange had;
// `default` stands for the rare and is not among them.
func (d *Document) Unseen() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var missing []string
	for _, op := range d.operations {
		for status := range op.responses {
			if name := op.method + " " + op.path + " " + status; status != "default" && !d.seen[name] {
				missing = append(missing, name)
			}
		}
	}
	slices.Sort(missing)
	return missing
}
