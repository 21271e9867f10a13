package api

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// batchBody is the body of POST /v1/keys/batch.
type batchBody struct {
	Action member[string]   `json:"action" nullable:"false" enum:"delete,disable,disable_here,enable,enable_here,end_sessions,unlock" doc:"disable_here and enable_here are for keys of external sources."`
	IDs    member[[]string] `json:"ids" nullable:"false" minItems:"1" maxItems:"500" doc:"Ids of keys, each once."`
	DryRun member[bool]     `json:"dry_run,omitempty" nullable:"false" doc:"Say what would happen and change nothing."`
}

// BatchResult is what became of each key. Exported for huma, which names the
// schema after it.
type BatchResult struct {
	Action    string            `json:"action"`
	DryRun    bool              `json:"dry_run"`
	Items     []BatchItemResult `json:"items" nullable:"false" doc:"In the order of ids."`
	Succeeded int               `json:"succeeded"`
	Failed    int               `json:"failed"`
}

// BatchItemResult is what became of one key.
type BatchItemResult struct {
	ID     string                 `json:"id"`
	Status int                    `json:"status" doc:"What the operation on this key alone would have answered: 200 or 204 is done."`
	Code   string                 `json:"code,omitempty" doc:"Of a refusal: stable machine-readable reason."`
	Detail string                 `json:"detail,omitempty" doc:"Of a refusal: what is wrong and what to do."`
	Errors []lifecycle.FieldError `json:"errors,omitempty" nullable:"false" doc:"Of a refusal: the members at fault."`
	Key    *lifecycle.Key         `json:"key,omitempty" doc:"The key as it is then; absent if it is gone, was refused, may not be read, or the request is a repeated one."`
}

type batchOutput struct {
	Written
	Body BatchResult
}

func (a *API) addBatch(h huma.API) {
	register(h, huma.Operation{OperationID: "batch-keys", Method: http.MethodPost, Path: "/v1/keys/batch",
		Summary:     "Do one thing to many keys",
		Description: "In one transaction, by the same rules as one by one. A key that is refused is left as it is and told; the others are done.", Tags: []string{"keys"},
		Metadata: never(http.StatusConflict)}, // but while one of its name is under way
		&requestBody{reflect.TypeFor[batchBody](), "Batch", []string{typeJSON}, lifecycle.NeedsBatch()}, a.batchKeys)
}

func (a *API) batchKeys(c *call, _ *struct{}) (*batchOutput, error) {
	var body batchBody
	if err := c.decode(&body, typeJSON); err != nil {
		return nil, err
	}
	in := lifecycle.NewBatch{Action: body.Action.Value, IDs: body.IDs.Value, DryRun: body.DryRun.Value}
	done, commit, err := a.svc.BatchKeys(c.r.Context(), c.actor, in)
	if err != nil {
		return nil, err
	}
	out := &batchOutput{Body: showBatch(done)}
	if !in.DryRun { // of which there is no write to speak of
		out.Written = writtenAs(commit)
	}
	return out, nil
}

func showBatch(b lifecycle.Batch) BatchResult {
	out := BatchResult{Action: b.Action, DryRun: b.DryRun, Items: make([]BatchItemResult, len(b.Items))}
	for i, item := range b.Items {
		shown := BatchItemResult{ID: item.ID, Status: http.StatusOK, Key: item.Key}
		switch {
		case item.Refused != nil:
			out.Failed++
			shown.Status, shown.Code = statuses[item.Refused.Kind], item.Refused.Code
			shown.Detail, shown.Errors = item.Refused.Detail, item.Refused.Fields
		case !item.Shown:
			shown.Status = http.StatusNoContent
		}
		out.Items[i] = shown
	}
	out.Succeeded = len(out.Items) - out.Failed
	return out
}
