package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// shownPushes is how many of a source's latest lists its page tells of.
const shownPushes = 5

// sourcePage is the data of a source's own page.
type sourcePage struct {
	sourceRow
	// By is who pushed the last list.
	By who
	// Pushes are the latest lists that changed something, or were refused; Told
	// reports whether the actor may know of them, Quiet that a later list changed
	// nothing.
	Pushes      []pushed
	Told, Quiet bool
	// Try goes through a list and writes nothing; Push does it.
	Try, Push *commands
	// Example is a list of one key.
	Example string
}

// pushed is a list as the audit trail has it.
type pushed struct {
	At      time.Time
	By      string
	Result  string
	Refused bool
}

// showSource shows all of a source: what it is, what its lists did, how to push one.
func (v *visit) showSource() error {
	row, err := v.source(policy.Read)
	if err != nil {
		return err
	}
	d := &sourcePage{sourceRow: row, Example: row.example()}
	if row.LastSyncBy != nil {
		if d.By, err = v.whoDid(*row.LastSyncBy, nil); err != nil {
			return err
		}
	}
	if d.Pushes, d.Told, err = v.pushes(row); err != nil {
		return err
	}
	d.Quiet = d.Told && row.LastSyncAt != nil && quiet(d.Pushes, *row.LastSyncAt)
	d.Try, d.Push = v.pushCommands(row, true), v.pushCommands(row, false)
	return v.show(view{Page: "source", Block: "source", Title: row.Name + " – sources", Data: d})
}

// quiet reports that the list of that time left no trace, as one that changes nothing
// does: none of the latest traces is its, and they go back far enough to tell.
func quiet(latest []pushed, last time.Time) bool {
	for _, p := range latest {
		switch {
		case p.At.Before(last):
			return true
		case !p.Refused:
			return false
		}
	}
	return len(latest) < shownPushes
}

// example is the beginning of a list, as the CLI reads it.
func (s sourceRow) example() string {
	return fmt.Sprintf(`keys:
  - client_id: ci-deploy   # stays the same from one list to the next
    name: deploys
    role_id: %s
    secret_sha256: "%s"
`, s.MaxRoleID, strings.Repeat("0", 64))
}

// pushCommands push a list from a file.
func (v *visit) pushCommands(s sourceRow, dry bool) *commands {
	first, flags := "", []string(nil)
	if dry {
		first, flags = "dry_run=true", []string{"--dry-run"}
	}
	return v.commands(call{Method: http.MethodPut, Path: "/v1/sources/" + s.Name + "/keys" + s.query(first), Body: fromFile("keys.json")},
		s.cli("push", append([]string{"-f", "keys.yaml"}, flags...)...)...)
}

// cli is a command of the CLI about the source.
func (s sourceRow) cli(verb string, flags ...string) []string {
	line := append([]string{"source", verb, s.Name}, flags...)
	if s.named {
		line = append(line, "--customer", s.CustomerID)
	}
	return line
}

// pushes are the latest lists of a source that left a trace.
func (v *visit) pushes(s sourceRow) (all []pushed, told bool, err error) {
	if !v.may(lifecycle.ResourceAudit, policy.Read) {
		return nil, false, nil
	}
	events, err := v.svc().ListAudit(v.ctx(), v.actor, lifecycle.AuditFilter{CustomerID: s.CustomerID, Action: "source.sync",
		TargetKind: string(keystore.KindSource), TargetID: s.Name, Since: lifecycle.Some(s.CreatedAt)}, "", lifecycle.Paging{Size: lifecycle.Some(shownPushes)})
	if err != nil {
		return nil, false, unlessHidden(err)
	}
	for _, e := range events.Items {
		all = append(all, pushOf(e))
	}
	return all, true, nil
}

// pushOf reads what the audit trail keeps of a list.
func pushOf(e lifecycle.AuditEvent) pushed {
	var did struct {
		Created, Updated, Unchanged, Removed int
		Refused                              string
		DryRun                               bool `json:"dry_run"`
	}
	_ = json.Unmarshal(e.After, &did) // another version's shows nothing
	p := pushed{At: e.At, By: e.Actor.Name, Refused: did.Refused != ""}
	if p.Refused {
		p.Result = "Refused: it has client IDs that other keys have."
		if did.DryRun {
			p.Result = "A dry run, refused: it has client IDs that other keys have."
		}
		return p
	}
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{{did.Created, "new"}, {did.Updated, "changed"}, {did.Removed, "removed"}, {did.Unchanged, "as before"}} {
		if part.n > 0 {
			parts = append(parts, number(part.n)+" "+part.what)
		}
	}
	p.Result = strings.Join(parts, ", ")
	return p
}
