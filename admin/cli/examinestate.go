package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

const (
	// mostNamed bounds how many records a finding names.
	mostNamed = 5

	auditVerifyPath = "/v1/audit-events/verify"
)

// unasked makes of a refusal by rights a warning that names the permission that
// would be needed; false for anything else.
func (f *Finding) unasked(err error, permission string) bool {
	var answer *problem
	if !errors.As(err, &answer) || answer.Status != http.StatusForbidden || answer.foreign {
		return false
	}
	f.Status, f.Detail = StatusWarn, "not asked: "+answer.Detail
	f.Advice = "use a key whose role holds " + permission
	return true
}

// examineSources tells of external sources that no longer push their lists.
func (c *client) examineSources(ctx context.Context) Finding {
	f := Finding{Check: "sources", Status: StatusOK, Detail: "there is no external source"}
	count, overdue := 0, []string(nil)
	err := c.eachPage(ctx, sourcesPath, url.Values{"page_size": {maxPageSize}}, func(p *page) error {
		for _, item := range p.Items {
			var s struct {
				Name     string     `json:"name"`
				LastSync *time.Time `json:"last_sync_at"`
			}
			if err := json.Unmarshal(item, &s); err != nil {
				return fmt.Errorf("reading a source: %w", err)
			}
			count++
			switch {
			case s.LastSync == nil:
				overdue = append(overdue, s.Name+" has never pushed its list")
			case c.console.env.Now().Sub(*s.LastSync) > lifecycle.SyncOverdue:
				overdue = append(overdue, s.Name+" pushed its list last on "+s.LastSync.UTC().Format(time.DateOnly))
			}
		}
		return nil
	})
	switch {
	case f.unasked(err, "keyreeve/sources"):
	case err != nil:
		f.Status, f.Detail, f.Advice = StatusFail, err.Error(), "look into the server's log"
	case len(overdue) > 0:
		f.Status, f.Detail = StatusWarn, named(overdue)
		f.Advice = "make sure that the job which pushes it still runs, or delete the source: what it took back there is still good here"
	case count > 0:
		f.Detail = fmt.Sprintf("%d, each pushed its list within %d days", count, lifecycle.SyncOverdue/(24*time.Hour))
	}
	return f
}

// examineAudit has the server verify the audit trail as far as one may see it.
func (c *client) examineAudit(ctx context.Context) Finding {
	f := Finding{Check: "audit trail", Status: StatusOK}
	r, err := c.do(ctx, call{method: http.MethodGet, path: auditVerifyPath})
	var found struct {
		Events int64 `json:"events"`
		Chains []struct {
			CustomerID string `json:"customer_id"`
			Problem    *struct {
				Seq          *int64
				Code, Detail string
			} `json:"problem"`
		} `json:"chains"`
	}
	if err == nil {
		err = json.Unmarshal(r.body, &found)
	}
	var bad []string
	for _, chain := range found.Chains {
		if p := chain.Problem; p != nil {
			where := "events of no customer"
			if chain.CustomerID != "" {
				where = "customer " + chain.CustomerID
			}
			if p.Seq != nil {
				where += fmt.Sprintf(", event %d", *p.Seq)
			}
			bad = append(bad, where+": "+p.Detail+" ("+p.Code+")")
		}
	}
	switch {
	case f.unasked(err, "keyreeve/audit"):
	case err != nil:
		f.Status, f.Detail = StatusWarn, "not verified: "+err.Error()
		f.Advice = "try `audit verify`; a long trail needs a longer --timeout"
	case len(bad) > 0:
		f.Status, f.Detail = StatusFail, named(bad)
		f.Advice = "find out who could write to the database; see `audit verify`. A missing master key is no proof of either: restore it and check again"
	default:
		f.Detail = fmt.Sprintf("%d events, none changed, missing or put in", found.Events)
	}
	return f
}

// named is a list for people, not longer than they read.
func named(all []string) string {
	if len(all) > mostNamed {
		all = append(all[:mostNamed:mostNamed], fmt.Sprintf("and %d more", len(all)-mostNamed))
	}
	return strings.Join(all, "; ")
}
