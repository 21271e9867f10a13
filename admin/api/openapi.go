package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

const schemaPrefix = "#/components/schemas/"

// humaConfig keeps huma to operations and their description: no pages, no links
// into our bodies, no global of huma's changed.
func humaConfig() huma.Config {
	c := huma.DefaultConfig("Keyreeve admin API", "1")
	c.Info.Description = "Keys, roles, tenants, locks and sessions of a Keyreeve gate. Signed in by an API key whose role names the keyreeve/ resources."
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
	op.Responses = map[string]*huma.Response{"default": {
		Description: "A refusal or failure (RFC 9457).",
		Content:     map[string]*huma.MediaType{problemType: {Schema: registry.Schema(reflect.TypeFor[Problem](), true, "")}},
	}}
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		c := callOf(ctx)
		out, err := handle(c, in)
		if err != nil {
			return nil, c.problem(err)
		}
		return out, nil
	})
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
	item := api.OpenAPI().Paths[op.Path]
	switch op.Method {
	case http.MethodPost:
		item.Post.RequestBody = described
	case http.MethodPatch:
		item.Patch.RequestBody = described
	case http.MethodPut:
		item.Put.RequestBody = described
	default:
		panic("api: no body expected of " + op.Method)
	}
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
