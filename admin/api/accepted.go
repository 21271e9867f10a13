package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// Accepted is what the answer to a write has besides the record, where the write takes
// something away and a node may still give it. Its members stand beside the record's.
type Accepted struct {
	Committed bool                    `json:"committed" doc:"Always true: the change is stored. Do not send the request again."`
	Detail    string                  `json:"detail" doc:"The same, in words."`
	Pending   []lifecycle.PendingNode `json:"pending" nullable:"false" doc:"The nodes that may still decide as before the change. One that follows the key store has it sooner than it says."`
}

const acceptedDetail = "The change is committed: do not send the request again. Not every node has confirmed it: those that are pending may decide as before until the time given, or until they have it."

// revokingOperations are those that can take something away, and so answer 202.
var revokingOperations = map[string]bool{
	"update-key": true, "delete-key": true, "rotate-secret": true, "retire-secret": true, "batch-keys": true,
	"end-session": true, "end-key-sessions": true, "update-role": true, "delete-role": true,
	"update-customer": true, "delete-customer": true, "update-microtenant": true, "delete-microtenant": true,
	"push-source-keys": true,
}

// accepted is an answer with 202. Huma is given it as an error: the answer is another
// than the operation's own, which may have no body at all.
type accepted struct {
	header http.Header
	body   json.RawMessage
}

func (*accepted) Error() string                  { return "accepted" }
func (*accepted) GetStatus() int                 { return http.StatusAccepted }
func (a *accepted) GetHeaders() http.Header      { return a.header }
func (a *accepted) MarshalJSON() ([]byte, error) { return a.body, nil }

// unconfirmed is what to add to the answer, nil where every node has the write.
func (w *Written) unconfirmed() *Accepted { return w.accepted }

// accept is the 202 for what an operation would have answered, a pointer to its output:
// the same headers, and the same body with the members of Accepted.
func accept(out any, also *Accepted) (*accepted, error) {
	a := &accepted{header: http.Header{}}
	v := reflect.ValueOf(out).Elem()
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name := f.Tag.Get("header"); name != "" {
			if text := v.FieldByIndex(f.Index).String(); text != "" {
				a.header.Set(name, text)
			}
		}
	}
	var err error
	if a.body, err = json.Marshal(also); err != nil {
		return nil, err
	}
	record := v.FieldByName("Body")
	if !record.IsValid() {
		return a, nil
	}
	body, err := json.Marshal(record.Interface())
	if err != nil {
		return nil, err
	}
	if members := bytes.TrimSuffix(body, []byte("}")); len(members) > len("{") {
		a.body = append(append(members, ','), a.body[1:]...)
	}
	return a, nil
}

// describeAccepted adds the 202 to an operation that is registered.
func describeAccepted(registry huma.Registry, op *huma.Operation) {
	done := op.Responses[strconv.Itoa(op.DefaultStatus)]
	also := registry.Schema(reflect.TypeFor[Accepted](), true, "")
	described := &huma.Response{Headers: done.Headers, Content: map[string]*huma.MediaType{typeJSON: {Schema: also}},
		Description: "Committed, and not confirmed by every node: pending says which may decide as before, and until when. Do not repeat it."}
	op.Responses[strconv.Itoa(http.StatusAccepted)] = described
	record := done.Content[typeJSON]
	if record == nil {
		return
	}
	name := strings.TrimPrefix(record.Schema.Ref, schemaPrefix)
	both := *registry.Map()[name]
	both.Properties = maps.Clone(both.Properties)
	extra := registry.SchemaFromRef(also.Ref)
	maps.Copy(both.Properties, extra.Properties)
	both.Required = append(append([]string(nil), both.Required...), extra.Required...)
	registry.Map()[name+"Accepted"] = &both
	described.Content[typeJSON].Schema = &huma.Schema{Ref: schemaPrefix + name + "Accepted"}
}

const preferHeader = "Prefer"

// preferParam describes how a client says that it does not want to wait.
func preferParam() *huma.Param {
	return &huma.Param{Name: preferHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString}, Example: "wait=0",
		Description: "wait=N (RFC 7240): wait up to N seconds, at most 2, for every node to have the write; 0 is for all but the last of many. Left out: 2 where the write takes something away, else a moment."}
}

// maxPreferredWait is the longest wait that is read, in seconds: any longer one, and far
// shorter ones, are no wish at all.
const maxPreferredWait = 3600

// preferredWait is how long the client wants to wait for the nodes, if it says so. As
// RFC 7240 section 2 has it, what is not understood is passed over, and of two the first counts.
func preferredWait(h http.Header) lifecycle.Optional[time.Duration] {
	for _, one := range strings.Split(strings.Join(h.Values(preferHeader), ","), ",") {
		token, _, _ := strings.Cut(one, ";")
		name, value, _ := strings.Cut(token, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 32)
		if err != nil || n > maxPreferredWait {
			break
		}
		return lifecycle.Some(time.Duration(n) * time.Second)
	}
	return lifecycle.Optional[time.Duration]{}
}

var (
	_ huma.StatusError  = (*accepted)(nil)
	_ huma.HeadersError = (*accepted)(nil)
)
