package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

const schemaPrefix = "#/components/schemas/"

// Tags of operations that differ from the others in what they refuse.
const (
	tagLocks    = "locks"
	tagSessions = "sessions"
)

// humaConfig keeps huma to operations and their description: no pages, no links
// into our bodies, no global of huma's changed.
func humaConfig() huma.Config {
	c := huma.DefaultConfig("Keyreeve admin API", "1")
	c.Info.Description = "Keys with their secrets, locks and sessions, roles, tenants, external sources, the audit trail, nodes and explanations of decisions of a Keyreeve gate. Signed in by an API key whose role names the keyreeve/ resources."
	c.CreateHooks = nil // adds $schema members and Link headers
	c.DocsPath, c.SchemasPath = "", ""
	c.OpenAPIPath = "" // addSpec serves the one document
	c.Formats = map[string]huma.Format{typeJSON: jsonFormat, "json": jsonFormat}
	c.Transformers = []huma.Transformer{ownProblems}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"basic":  {Type: "http", Scheme: "basic", Description: "Client ID and secret of an API key."},
		"bearer": {Type: "http", Scheme: "bearer", Description: "Access token of an API key."},
	}
	c.Security = []map[string][]string{{"basic": {}}, {"bearer": {}}}
	return c
}

// jsonFormat writes answers. An answer is made whole before it is sent: huma
// panics when a client hangs up in the middle of an encoder's writes.
var jsonFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		body, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, _ = w.Write(append(body, '\n'))
		return nil
	},
	Unmarshal: json.Unmarshal,
}

// requestBody describes the body of an operation that decodes its own.
type requestBody struct {
	of         reflect.Type
	name       string // of its schema
	mediaTypes []string
	// needs is what the operation needs at least. It is checked before the body is read.
	needs lifecycle.Need
}

// register adds an operation: its description to the document, its handler to
// the router, its refusals as problems. Rules are checked by lifecycle alone,
// so huma's checks of parameters are off and their bounds only described.
func register[I, O any](api huma.API, op huma.Operation, body *requestBody, handle func(*call, *I) (*O, error)) {
	registry := api.OpenAPI().Components.Schemas
	op.SkipValidateParams = true
	if takesOnce(&op) {
		op.Parameters = append(op.Parameters, onceParam())
		handle = once(handle)
	}
	if writes(&op) {
		op.Parameters = append(op.Parameters, preferParam())
	}
	if body != nil {
		handle = admitted(body.needs, handle)
	}
	op.Responses = refusals(registry, &op, body != nil)
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		c := callOf(ctx)
		out, err := handle(c, in)
		if err != nil {
			p := c.problem(err)
			c.refused = p.Status
			return nil, p
		}
		if w, is := any(out).(interface{ unconfirmed() *Accepted }); is && w.unconfirmed() != nil {
			answer, err := accept(out, w.unconfirmed())
			if err != nil {
				return nil, err
			}
			return nil, answer
		}
		return out, nil
	})
	item := api.OpenAPI().Paths[op.Path]
	if registered := operationOf(item, op.Method); slices.ContainsFunc(registered.Parameters, func(p *huma.Param) bool { return p.Name == "If-Match" }) {
		registered.Responses[strconv.Itoa(http.StatusPreconditionFailed)] = registered.Responses["default"]
	}
	if revokingOperations[op.OperationID] {
		describeAccepted(registry, operationOf(item, op.Method))
	}
	if body == nil {
		return
	}
	described := &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	schema := huma.SchemaFromType(registry, body.of)
	registry.Map()[body.name] = schema
	for _, t := range body.mediaTypes {
		described.Content[t] = &huma.MediaType{Schema: &huma.Schema{Ref: schemaPrefix + body.name}}
	}
	// After Register: huma would read a body it knows of before the handler does.
	operationOf(item, op.Method).RequestBody = described
}

// admitted lets a request with a body to its handler once the actor is known to hold
// what the operation needs.
func admitted[I, O any](needs lifecycle.Need, handle func(*call, *I) (*O, error)) func(*call, *I) (*O, error) {
	return func(c *call, in *I) (*O, error) {
		if err := c.api.svc.May(c.r.Context(), c.actor, needs); err != nil {
			return nil, err
		}
		return handle(c, in)
	}
}

func operationOf(item *huma.PathItem, method string) *huma.Operation {
	switch method {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	case http.MethodPatch:
		return item.Patch
	case http.MethodDelete:
		return item.Delete
	}
	panic("api: no operation has the method " + method)
}

// writes reports an operation that changes something.
func writes(op *huma.Operation) bool {
	return op.Method != http.MethodGet && op.Metadata["makes_nothing"] == nil
}

// never is the Metadata of an operation that does not answer with these, although
// others like it do.
func never(statuses ...int) map[string]any { return map[string]any{"never": statuses} }

// refusals describes what an operation may answer besides what it is for: the
// statuses that a client has to expect of it, and `default` for the rest.
func refusals(registry huma.Registry, op *huma.Operation, hasBody bool) map[string]*huma.Response {
	statuses := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}
	write := writes(op)
	if strings.Contains(op.Path, "{") {
		statuses = append(statuses, http.StatusNotFound)
	}
	if write && !slices.Contains(op.Tags, tagLocks) && !slices.Contains(op.Tags, tagSessions) {
		statuses = append(statuses, http.StatusConflict)
	}
	if hasBody {
		statuses = append(statuses, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if takesOnce(op) {
		statuses = append(statuses, http.StatusUnprocessableEntity)
	}
	spared, _ := op.Metadata["never"].([]int)
	statuses = slices.DeleteFunc(statuses, func(status int) bool { return slices.Contains(spared, status) })
	described := map[string]*huma.Response{}
	add := func(name, words string) {
		described[name] = &huma.Response{Description: words,
			Content: map[string]*huma.MediaType{problemType: {Schema: registry.Schema(reflect.TypeFor[Problem](), true, "")}}}
	}
	for _, status := range statuses {
		add(strconv.Itoa(status), http.StatusText(status)+" (RFC 9457); code says why.")
	}
	add("default", "Any other refusal or failure (RFC 9457).")
	return described
}

// addSpec serves the OpenAPI document, written once.
func (a *API) addSpec(api huma.API) {
	schemas := api.OpenAPI().Components.Schemas.Map()
	delete(schemas, "ErrorModel") // huma's own error, which never leaves here
	delete(schemas, "ErrorDetail")
	for _, name := range []string{"Role", "Me"} {
		schemas[name].Properties["permissions"].AdditionalProperties = permissionSchema()
	}
	spec, err := json.Marshal(api.OpenAPI())
	if err != nil {
		panic(fmt.Sprintf("api: OpenAPI document not written: %v", err)) // the same at every start
	}
	a.spec = spec
	a.router.HandleFunc("GET /v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", typeJSON)
		_, _ = w.Write(a.spec)
	})
}

// permissionSchema describes policy.Mask, which writes itself as words.
func permissionSchema() *huma.Schema {
	words := func(w ...any) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Enum: w} }
	return &huma.Schema{OneOf: []*huma.Schema{
		words("full", "view"),
		{Type: huma.TypeArray, Items: words("read", "create", "update", "delete")},
	}}
}

// param is a query parameter of which it matters whether it was given at all.
type param[T any] struct {
	Value T
	given bool
}

// Schema is huma.SchemaProvider.
func (param[T]) Schema(r huma.Registry) *huma.Schema {
	return huma.SchemaFromType(r, reflect.TypeFor[T]())
}

// Receiver is huma.ParamWrapper.
func (p *param[T]) Receiver() reflect.Value { return reflect.ValueOf(p).Elem().Field(0) }

// OnParamSet is huma.ParamReactor.
func (p *param[T]) OnParamSet(given bool, _ any) { p.given = given }

// optional is the parameter as operations take it.
func (p param[T]) optional() lifecycle.Optional[T] {
	if !p.given {
		return lifecycle.Optional[T]{}
	}
	return lifecycle.Some(p.Value)
}
