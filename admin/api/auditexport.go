package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/admin/sheet"
)

const (
	typeNDJSON = "application/x-ndjson"
	typeCSV    = "text/csv"
)

// exportStall is how long a client may take for one page of an export, in place
// of a server's time for a whole answer.
const exportStall = time.Minute

// timeForm is RFC 3339 with the milliseconds that times are kept to.
const timeForm = "2006-01-02T15:04:05.000Z07:00"

// auditWriter writes an export in one form.
type auditWriter interface {
	// write writes events and sends them on their way.
	write([]lifecycle.AuditEvent) error
	end(lifecycle.AuditTrailer) error
}

// errGone is that the client of an export took no more of it: nobody's fault here.
var errGone = errors.New("the client of the export is gone")

// AuditDownload is an export on its way to whoever asked for it over HTTP, at this
// door or another.
type AuditDownload struct {
	export *lifecycle.AuditExport
	first  []lifecycle.AuditEvent
	form   string
}

// OpenAuditDownload opens an export of what the filter selects, in CSV or else in
// NDJSON. What is wrong before the first byte is a refusal like any other. Rows of
// CSV have no end of their own to tell, so they go only where HTTP tells that the
// connection was broken off.
func OpenAuditDownload(r *http.Request, svc *lifecycle.Service, a lifecycle.Actor, f lifecycle.AuditFilter, csv bool) (*AuditDownload, error) {
	if csv && !r.ProtoAtLeast(1, 1) {
		return nil, lifecycle.FieldErrors{{Field: "format", Code: lifecycle.FieldConflict,
			Detail: "csv is not sent over HTTP/1.0, which cannot tell whether all of it arrived; use HTTP/1.1, or ndjson"}}.Err()
	}
	export, err := svc.ExportAudit(r.Context(), a, f)
	if err != nil {
		return nil, err
	}
	first, err := export.Next(r.Context())
	if err != nil {
		return nil, err
	}
	d := &AuditDownload{export: export, first: first, form: typeNDJSON}
	if csv {
		d.form = typeCSV
	}
	return d, nil
}

// ContentType is that of the answer.
func (d *AuditDownload) ContentType() string {
	if d.form == typeCSV {
		return d.form + "; charset=utf-8; header=present"
	}
	return d.form
}

// Ending is that of its file's name.
func (d *AuditDownload) Ending() string {
	if d.form == typeCSV {
		return ".csv"
	}
	return ".ndjson"
}

// Send writes the export to body, which is w's. Where it cannot go on, report is told
// (unless the client is to blame) and the connection is broken off: nobody must take
// half an export for a whole one.
func (d *AuditDownload) Send(w http.ResponseWriter, body io.Writer, r *http.Request, report func(*http.Request, error)) {
	if r.Method == http.MethodHead {
		return
	}
	err := d.send(http.NewResponseController(w), newAuditWriter(body, d.form), r)
	if err == nil {
		return
	}
	if !errors.Is(err, errGone) && r.Context().Err() == nil && report != nil {
		report(r, err)
	}
	panic(http.ErrAbortHandler)
}

// exportAudit answers with all that matches.
func (a *API) exportAudit(c *call, in *listAuditInput, form string) (*auditOutput, error) {
	d, err := OpenAuditDownload(c.r, a.svc, c.actor, in.filter(), form == typeCSV)
	if err != nil {
		return nil, err
	}
	c.w.Header().Set("Content-Disposition", `attachment; filename="audit`+d.Ending()+`"`)
	return &auditOutput{ContentType: d.ContentType(), Body: func(ctx huma.Context) {
		ctx.SetStatus(http.StatusOK)
		d.Send(c.w, ctx.BodyWriter(), c.r, a.report)
	}}, nil
}

func newAuditWriter(w io.Writer, form string) auditWriter {
	if form == typeCSV {
		return &csvAudit{w: sheet.NewWriter(w, true)}
	}
	return ndjsonAudit{w}
}

func (d *AuditDownload) send(rc *http.ResponseController, w auditWriter, r *http.Request) error {
	for events := d.first; len(events) > 0; {
		_ = rc.SetWriteDeadline(time.Now().Add(exportStall)) // where the connection has deadlines
		if err := w.write(events); err != nil {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		_ = rc.Flush() // what cannot flush sends later
		var err error
		if events, err = d.export.Next(r.Context()); err != nil {
			return err
		}
	}
	end, err := d.export.Trailer()
	if err != nil {
		return err
	}
	if err := w.end(end); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// ndjsonAudit writes one event a line.
type ndjsonAudit struct{ w io.Writer }

func (n ndjsonAudit) write(events []lifecycle.AuditEvent) error {
	for i := range events {
		if err := n.line(&events[i]); err != nil {
			return err
		}
	}
	return nil
}

func (n ndjsonAudit) line(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = n.w.Write(append(text, '\n'))
	return err
}

func (n ndjsonAudit) end(t lifecycle.AuditTrailer) error { return n.line(t) }

// csvAudit writes one event a row under a header. To its columns later versions
// only append.
type csvAudit struct {
	w      sheet.Writer
	headed bool
}

var auditColumns = []string{"id", "seq", "number", "at", "customer_id", "microtenant_id", "actor_kind", "actor_id", "actor_name", "address", "request_id",
	"action", "target_kind", "target_id", "target_name", "changes", "before", "after", "hash", "mac", "master_key_id"}

func (v *csvAudit) write(events []lifecycle.AuditEvent) error {
	if err := v.head(); err != nil {
		return err
	}
	for i := range events {
		if err := v.w.Row(auditCells(&events[i])); err != nil {
			return err
		}
	}
	return v.w.Flush()
}

func (v *csvAudit) head() error {
	if v.headed {
		return nil
	}
	v.headed = true
	return v.w.Row(auditColumns)
}

func auditCells(e *lifecycle.AuditEvent) []string {
	return []string{e.ID, strconv.FormatInt(e.Seq, 10), strconv.FormatInt(e.Number, 10), e.At.Format(timeForm), orEmpty(e.CustomerID), orEmpty(e.MicrotenantID),
		e.Actor.Kind, e.Actor.ID, e.Actor.Name, e.Actor.Address, e.RequestID, e.Action, e.Target.Kind, e.Target.ID, e.Target.Name,
		strings.Join(e.Changes, " "), noNull(e.Before), noNull(e.After), e.Hash, e.MAC, e.MasterKeyID}
}

func (v *csvAudit) end(lifecycle.AuditTrailer) error {
	if err := v.head(); err != nil {
		return err
	}
	return v.w.Flush()
}

func orEmpty(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// noNull is the text of a record, empty for none.
func noNull(record json.RawMessage) string {
	if string(record) == "null" {
		return ""
	}
	return string(record)
}
