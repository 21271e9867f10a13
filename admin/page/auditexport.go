package page

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// auditExport is the data of the dialog that offers the exports.
type auditExport struct {
	Chips []chip
	// Total is how many events match.
	Total       int
	NDJSON, CSV string
	Back        string
	Commands    *commands
	// Part: an export of this cannot be verified by itself.
	Part bool
}

// exportAudit sends what the filters select, or offers to where no format is asked for.
func (v *visit) exportAudit() error {
	q := listQuery(auditPath, v.r.URL.Query(), auditParams...)
	f := NewForm(q.Values)
	filter := auditFilter(f, q)
	switch format := v.r.URL.Query().Get("format"); {
	case f.Failed():
		return &lifecycle.Error{Kind: lifecycle.Invalid, Code: lifecycle.CodeValidation, Detail: "some of these filters cannot be understood"}
	case format == "csv", format == "ndjson":
		return v.sendAudit(filter, format == "csv")
	case format != "":
		return &lifecycle.Error{Kind: lifecycle.Invalid, Code: lifecycle.CodeValidation, Detail: "an export is in ndjson or csv"}
	}
	return v.offerExport(q, f, filter)
}

// sendAudit streams the export, as the admin API does.
func (v *visit) sendAudit(filter lifecycle.AuditFilter, csv bool) error {
	d, err := api.OpenAuditDownload(v.r, v.svc(), v.actor, filter, csv)
	if err != nil {
		return err
	}
	name := "keyreeve-audit-" + v.page.cfg.Now().UTC().Format("20060102T150405Z") + d.Ending()
	v.w.Header().Set("Content-Type", d.ContentType())
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	v.w.WriteHeader(http.StatusOK)
	d.Send(v.w, v.w, v.r, v.page.cfg.Report)
	return nil
}

func (v *visit) offerExport(q query, f *Form, filter lifecycle.AuditFilter) error {
	page, err := v.svc().ListAudit(v.ctx(), v.actor, filter, "", one())
	if err != nil {
		return err
	}
	choices, err := v.choices()
	if err != nil {
		return err
	}
	with := func(format string) string {
		values := url.Values{"format": {format}}
		for name, value := range only(q.Values, auditParams) {
			values[name] = value
		}
		return auditPath + "/export?" + values.Encode()
	}
	narrowed := len(only(q.Values, auditParams)) - len(only(q.Values, []string{"customer_id"}))
	return v.show(view{Page: "auditexport", Block: "dialog", Dialog: true, Title: "Export the audit trail", Data: auditExport{
		Chips: auditChips(q, filter, choices, page.Items), Total: page.Total, NDJSON: with("ndjson"), CSV: with("csv"),
		Back: q.String(), Part: narrowed > 0 || v.actor.MicrotenantID != "", Commands: v.exportCommands(filter)}})
}

// exportCommands are the same export by program.
func (v *visit) exportCommands(filter lifecycle.AuditFilter) *commands {
	values, args := url.Values{"format": {"ndjson"}}, []string{"audit", "export"}
	add := func(param, flag, value string) {
		if value != "" {
			values.Set(param, value)
			args = append(args, "--"+flag, value)
		}
	}
	add("action", "action", filter.Action)
	add("actor_id", "actor", filter.ActorID)
	add("target_kind", "target-kind", filter.TargetKind)
	add("target_id", "target", filter.TargetID)
	add("request_id", "request", filter.RequestID)
	add("customer_id", "customer", filter.CustomerID)
	add("microtenant_id", "microtenant", filter.MicrotenantID)
	if filter.Since.Has() {
		add("since", "since", filter.Since.Value.UTC().Format(time.RFC3339Nano))
	}
	if filter.Until.Has() {
		add("until", "until", filter.Until.Value.UTC().Format(time.RFC3339Nano))
	}
	if filter.NoCustomer {
		values.Set("no_customer", "true")
		args = append(args, "--no-customer")
	}
	return v.commands(call{Method: http.MethodGet, Path: "/v1/audit-events?" + strings.ReplaceAll(values.Encode(), "+", "%20")}, args...)
}
