package cli

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const auditPath = "/v1/audit-events"

var auditGroup = Group{
	Name:  "audit",
	Short: "Show, export and verify the audit trail",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "audit", "Show, export and verify the audit trail", auditLong, auditExample)
		s.addAuditList(cmd)
		s.addAuditExport(cmd)
		s.addAuditVerify(cmd)
	},
}

const auditLong = `
Show, export and verify the audit trail: every change, lock, unlock and end of a
session, by whom, from where, and what was there before and after, without
secrets. The events of a customer are a chain, sealed with the master key: none
can be changed, left out or put in unnoticed.

Exit codes: 0 done, 1 error (also: the trail is not proved), 2 wrong usage,
4 not authorised, 5 not found.`

const auditExample = `
  PROGRAM audit list --action key. --since 24h
  PROGRAM audit export --customer acme > acme.ndjson
  PROGRAM audit verify --file acme.ndjson --master-key-file master.key`

// auditEvent is an event as the admin API represents it.
type auditEvent struct {
	ID            string `json:"id"`
	Seq           int64  `json:"seq"`
	Number        int64  `json:"number"`
	At            string `json:"at"`
	CustomerID    string `json:"customer_id"`
	MicrotenantID string `json:"microtenant_id"`
	Actor         struct {
		Kind    string `json:"kind"`
		ID      string `json:"id"`
		Name    string `json:"name"`
		Address string `json:"address"`
	} `json:"actor"`
	RequestID string `json:"request_id"`
	Action    string `json:"action"`
	Target    struct {
		Kind string `json:"kind"`
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"target"`
	Before      json.RawMessage `json:"before"`
	After       json.RawMessage `json:"after"`
	Changes     []string        `json:"changes"`
	Hash        string          `json:"hash"`
	MAC         string          `json:"mac"`
	MasterKeyID string          `json:"master_key_id"`
}

var auditList = listingOf(auditPath, "events",
	[]string{"AT", "ACTION", "TARGET", "ACTOR", "FROM", "CHANGES", "CUSTOMER", "MICROTENANT", "REQUEST"},
	[]string{"id", "seq", "number", "at", "customer_id", "microtenant_id", "actor_kind", "actor_id", "actor_name", "address", "request_id",
		"action", "target_kind", "target_id", "target_name", "changes", "before", "after", "hash", "mac", "master_key_id"},
	(*auditEvent).row, (*auditEvent).cells)

func (e *auditEvent) row(bool) []string {
	actor := firstOf(e.Actor.Name, e.Actor.ID)
	if actor != e.Actor.Kind {
		actor = strings.TrimSpace(e.Actor.Kind + " " + actor)
	}
	return []string{shortTime(e.At), printable(e.Action), orDash(firstOf(e.Target.Name, e.Target.ID)), printable(actor), orDash(e.Actor.Address),
		orDash(strings.Join(e.Changes, ", ")), orDash(e.CustomerID), orDash(e.MicrotenantID), orDash(e.RequestID)}
}

func (e *auditEvent) cells() []string {
	record := func(raw json.RawMessage) string {
		if string(raw) == "null" {
			return ""
		}
		return string(raw)
	}
	return []string{e.ID, strconv.FormatInt(e.Seq, 10), strconv.FormatInt(e.Number, 10), e.At, e.CustomerID, e.MicrotenantID, e.Actor.Kind, e.Actor.ID, e.Actor.Name, e.Actor.Address,
		e.RequestID, e.Action, e.Target.Kind, e.Target.ID, e.Target.Name, strings.Join(e.Changes, " "), record(e.Before), record(e.After), e.Hash, e.MAC, e.MasterKeyID}
}

// auditFlags select events.
type auditFlags struct {
	narrow
	noCustomer                                             bool
	actor, action, targetKind, target, request, from, till string
}

func (f *auditFlags) register(s *console, cmd *cobra.Command) {
	flags := cmd.Flags()
	f.registerFilter(flags)
	f.registerNoCustomer(flags)
	flags.StringVar(&f.actor, "actor", "", "id of the key that did it, or local or system")
	flags.StringVar(&f.action, "action", "", "one such as key.update, or all of a kind such as key. with the dot")
	flags.StringVar(&f.targetKind, "target-kind", "", "such as key, role or session")
	flags.StringVar(&f.target, "target", "", "id of what it was done to")
	flags.StringVar(&f.request, "request", "", "id of the request that did it")
	flags.StringVar(&f.from, "since", "", "a time such as 2026-01-01T00:00:00Z, a day, or how long ago: 24h, 90d")
	flags.StringVar(&f.till, "until", "", "likewise; what happened before")
	for _, plain := range []string{"actor", "action", "target-kind", "target", "request", "since", "until"} {
		s.complete(cmd, plain) // never a file
	}
}

func (f *auditFlags) registerNoCustomer(flags *pflag.FlagSet) {
	flags.BoolVar(&f.noCustomer, "no-customer", false, "the events of no customer, such as those of signing keys")
}

func (f *auditFlags) apply(q url.Values, now time.Time) error {
	f.narrow.apply(q)
	since, err := parseMoment("since", f.from, now)
	if err != nil {
		return err
	}
	until, err := parseMoment("until", f.till, now)
	if err != nil {
		return err
	}
	set(q, map[string]string{"actor_id": f.actor, "action": f.action, "target_kind": f.targetKind, "target_id": f.target,
		"request_id": f.request, "since": since, "until": until})
	if f.noCustomer {
		q.Set("no_customer", "true")
	}
	return nil
}

// parseMoment reads a time in the past: RFC 3339, a day (its beginning in UTC), or
// how long ago, in Go's units or whole days such as 90d.
func parseMoment(flag, text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC().Format(time.RFC3339Nano), nil
		}
	}
	if days, found := strings.CutSuffix(text, "d"); found {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.UTC().AddDate(0, 0, -int(n)).Format(time.RFC3339Nano), nil
		}
	}
	ago, err := time.ParseDuration(text)
	if err != nil || ago < 0 {
		return "", usagef("--%s %q is no time, expected one such as 2026-01-01T00:00:00Z, 2026-01-01, 24h or 90d", flag, printable(text))
	}
	return now.UTC().Add(-ago).Format(time.RFC3339Nano), nil
}

func (s *console) addAuditList(parent *cobra.Command) {
	var in auditFlags
	var f pageFlags
	var sort string
	cmd := s.add(parent, verb{
		use:   "list",
		short: "List audit events",
		long: `
List the audit events that you may see, the newest first. Filters add up: an
event must pass each of them.`,
		example: `
  PROGRAM audit list --since 24h
  PROGRAM audit list --action key.lock --since 7d
  PROGRAM audit list --target key_3kq7c2m5x9d1 --sort at --all
  PROGRAM audit list --request 4f0c -o json | jq '.items[0].after'`,
		run: func(ctx context.Context, c *client, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			if err := in.apply(q, s.env.Now()); err != nil {
				return err
			}
			set(q, map[string]string{"sort": sort})
			return c.list(ctx, auditList, q, f.all)
		},
	})
	in.register(s, cmd)
	cmd.Flags().StringVar(&sort, "sort", "", "at for the oldest first, -at for the newest (default -at)")
	s.complete(cmd, "sort", "at", "-at")
	f.register(cmd.Flags(), "events")
}
