package api

import (
	"encoding/hex"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// AuditParams select audit events.
type AuditParams struct {
	CustomerID    string           `query:"customer_id"`
	MicrotenantID string           `query:"microtenant_id"`
	NoCustomer    bool             `query:"no_customer" doc:"The events of no customer, such as those of signing keys and of roles for every customer."`
	ActorID       string           `query:"actor_id" doc:"A key's id, local or system."`
	Action        string           `query:"action" doc:"One such as key.update, or all of a kind such as key. with the dot." example:"key.update"`
	TargetKind    string           `query:"target_kind"`
	TargetID      string           `query:"target_id"`
	RequestID     string           `query:"request_id"`
	Since         param[time.Time] `query:"since" doc:"At or after."`
	Until         param[time.Time] `query:"until" doc:"Before."`
}

func (p *AuditParams) filter() lifecycle.AuditFilter {
	return lifecycle.AuditFilter{
		CustomerID: p.CustomerID, MicrotenantID: p.MicrotenantID, NoCustomer: p.NoCustomer, ActorID: p.ActorID, Action: p.Action,
		TargetKind: p.TargetKind, TargetID: p.TargetID, RequestID: p.RequestID, Since: p.Since.optional(), Until: p.Until.optional(),
	}
}

type listAuditInput struct {
	AuditParams
	Sort   string `query:"sort" enum:"at,-at" doc:"Left out: -at, the newest first."`
	Format string `query:"format" enum:"json,ndjson,csv" doc:"Goes before Accept. ndjson and csv are exports: all that matches, the oldest first, without paging."`
	PageParams
}

// auditOutput is a page or an export, written by Body.
type auditOutput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Body        func(huma.Context)
}

type verifyAuditInput struct {
	CustomerID string `query:"customer_id" doc:"Left out: every chain that the actor sees."`
	NoCustomer bool   `query:"no_customer" doc:"The chain of events of no customer."`
	Head       string `query:"head" doc:"Heads that were noted before, which the chains must still have: seq:hash, or customer:seq:hash where there are several chains; separated by commas." example:"acme:1734:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
}

type verifyAuditOutput struct {
	Body lifecycle.AuditVerification
}

func (a *API) addAudit(h huma.API) {
	tags := []string{"audit"}
	list := huma.Operation{OperationID: "list-audit-events", Method: http.MethodGet, Path: "/v1/audit-events", Tags: tags,
		Summary:     "List or export audit events",
		Description: "A page in JSON, the newest first. With Accept application/x-ndjson or text/csv an export of all that matches, the oldest first. NDJSON ends with a line that has the member end: without it the export was cut off. Where nothing but the customer was filtered, that line names the ends of each chain and is sealed itself, so that the export can be verified by itself. Rows of CSV have no end: only that the connection was not broken off says that all of it arrived."}
	register(h, list, nil, a.listAudit)
	register(h, huma.Operation{OperationID: "verify-audit-events", Method: http.MethodGet, Path: "/v1/audit-events/verify", Tags: tags,
		Summary:     "Verify the audit trail",
		Description: "Follows each chain from its first event to its head, and holds what there is of all chains against the count of all events that were written. The answer is 200 whether or not the trail is proved; ok says which."}, nil, a.verifyAudit)
	describeAudit(h, list.Path)
}

// describeAudit adds to the document what huma cannot know of a body that is
// written piece by piece.
func describeAudit(h huma.API, path string) {
	registry := h.OpenAPI().Components.Schemas
	page := registry.Schema(reflect.TypeFor[lifecycle.Page[lifecycle.AuditEvent]](), true, "")
	line := &huma.Schema{OneOf: []*huma.Schema{
		registry.Schema(reflect.TypeFor[lifecycle.AuditEvent](), true, ""), registry.Schema(reflect.TypeFor[lifecycle.AuditTrailer](), true, "")}}
	h.OpenAPI().Paths[path].Get.Responses["200"].Content = map[string]*huma.MediaType{
		typeJSON:   {Schema: page},
		typeNDJSON: {Schema: &huma.Schema{Type: huma.TypeString, Description: "One of these a line."}, Extensions: map[string]any{"x-line-schema": line}},
		typeCSV:    {Schema: &huma.Schema{Type: huma.TypeString, Description: "RFC 4180, with a header; cells that a spreadsheet would evaluate begin with an apostrophe."}},
	}
	event := registry.Map()["AuditEvent"]
	for _, name := range []string{"before", "after"} {
		event.Properties[name] = &huma.Schema{Type: huma.TypeObject, Nullable: true, AdditionalProperties: true, Description: event.Properties[name].Description}
	}
	for schema, names := range map[string][]string{"AuditVerification": {"problem"}, "AuditChain": {"head", "problem"}, "AuditEnds": {"trimmed"}, "AuditTrailer": {"problem"}} {
		for _, name := range names {
			of := registry.Map()[schema].Properties
			of[name] = &huma.Schema{AnyOf: []*huma.Schema{{Ref: of[name].Ref}, {Type: "null"}}, Description: of[name].Description}
		}
	}
}

func (a *API) listAudit(c *call, in *listAuditInput) (*auditOutput, error) {
	form, err := c.auditForm(in)
	if err != nil {
		return nil, err
	}
	if form != typeJSON {
		return a.exportAudit(c, in, form)
	}
	page, err := a.svc.ListAudit(c.r.Context(), c.actor, in.filter(), in.Sort, in.paging())
	if err != nil {
		return nil, err
	}
	return &auditOutput{ContentType: typeJSON, Body: func(ctx huma.Context) {
		ctx.SetStatus(http.StatusOK)
		_ = jsonFormat.Marshal(ctx.BodyWriter(), page) // of strings and numbers; the client may be gone
	}}, nil
}

// auditForm is the form to answer in.
func (c *call) auditForm(in *listAuditInput) (string, error) {
	var bad lifecycle.FieldErrors
	form := preferred(c.r.Header.Values("Accept"), typeJSON, typeNDJSON, typeCSV)
	switch in.Format {
	case "":
	case "json":
		form = typeJSON
	case "ndjson":
		form = typeNDJSON
	case "csv":
		form = typeCSV
	default:
		bad.Add("format", lifecycle.FieldFormat, "must be json, ndjson or csv")
	}
	if form == typeJSON {
		return form, bad.Err()
	}
	for _, paging := range []struct {
		name  string
		given bool
	}{{"page", in.Page.given}, {"page_size", in.PageSize.given}, {"cursor", in.Cursor != ""}, {"sort", in.Sort != ""}} {
		if paging.given {
			bad.Add(paging.name, lifecycle.FieldConflict, "cannot be combined with an export, which has all that matches, the oldest first")
		}
	}
	return form, bad.Err()
}

// preferred is the one of the offered types that Accept values most (RFC 9110
// section 12.5.1), the first of them where it does not say.
func preferred(accept []string, offered ...string) string {
	best, most := offered[0], 0.0
	for _, part := range strings.Split(strings.Join(accept, ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		weight := 1.0
		for _, p := range strings.Split(params, ";") {
			if q, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
				weight, _ = strconv.ParseFloat(q, 64) // none that can be read is 0
			}
		}
		name = strings.ToLower(strings.TrimSpace(name))
		for _, o := range offered {
			if name == o && weight > most {
				best, most = o, weight
			}
		}
	}
	return best
}

func (a *API) verifyAudit(c *call, in *verifyAuditInput) (*verifyAuditOutput, error) {
	pins, err := parseHeads(in.Head)
	if err != nil {
		return nil, err
	}
	out, err := a.svc.VerifyAudit(c.r.Context(), c.actor, lifecycle.AuditScope{CustomerID: in.CustomerID, NoCustomer: in.NoCustomer, Pins: pins})
	return &verifyAuditOutput{out}, err
}

func parseHeads(text string) ([]lifecycle.AuditPin, error) {
	if text == "" {
		return nil, nil
	}
	var pins []lifecycle.AuditPin
	for _, part := range strings.Split(text, ",") {
		pin, ok := lifecycle.ParseAuditPin(part)
		if !ok {
			return nil, lifecycle.FieldErrors{{Field: "head", Code: lifecycle.FieldFormat,
				Detail: "must be seq:hash or customer:seq:hash, the hash in " + strconv.Itoa(hex.EncodedLen(32)) + " hex digits"}}.Err()
		}
		pins = append(pins, pin)
	}
	return pins, nil
}
