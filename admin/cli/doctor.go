package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// Status is the outcome of one of doctor's checks.
type Status string

// The outcomes. Only StatusFail makes the command fail.
const (
	StatusOK   Status = "ok"
	StatusWarn Status = "warn"
	StatusFail Status = "fail"
)

// Finding is what one of doctor's checks found.
type Finding struct {
	// Check is what was looked at, in a word or two.
	Check  string `json:"check"`
	Status Status `json:"status"`
	// Detail is what was found.
	Detail string `json:"detail"`
	// Advice is what to do about it; "" where there is nothing to do.
	Advice string `json:"advice,omitempty"`
}

// Diagnosis is what can be found out from a configuration with no server.
type Diagnosis struct {
	Findings []Finding
	// Admin is the address of Caddy's admin endpoint by that configuration, "" if
	// it has none.
	Admin string
	// Store is the admin API over the store in this process, for reading; nil where
	// the store could not be opened. Close closes it; nil with Store.
	Store http.Handler
	Close func() error
}

var doctorGroup = Group{
	Name:  "doctor",
	Short: "Check an installation and say what to mend",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "doctor", "Check an installation and say what to mend", doctorLong, doctorExample)
		cmd.Args = func(c *cobra.Command, args []string) error { return s.finish(c, verb{}.checkArgs(args)) }
		cmd.ValidArgsFunction = cobra.NoFileCompletions
		cmd.RunE = func(c *cobra.Command, _ []string) error { return s.finish(c, s.doctor(c)) }
	},
}

const doctorLong = `
Check an installation and say what to mend. Nothing is changed.

  by default   the server whose admin endpoint is at --address: that it answers,
               its key store, that it can be written, what you may do, locks,
               nodes, external sources, the audit trail
  --url        the same over a site that serves keyreeve_admin
  --config     everything that server would need, whether it runs or not: the
               configuration, policy files, key store, schema, master key, clock,
               external sources, the audit trail and the admin endpoint; run it as
               the user that the server runs as

Each check is ok, warn or fail, and says what to do. Exit codes: 0 nothing
failed, 1 something did, 2 wrong usage.`

const doctorExample = `
  PROGRAM doctor
  PROGRAM doctor --config /etc/caddy/Caddyfile
  PROGRAM doctor -o json | jq '.checks[] | select(.status != "ok")'`

// doctor runs the checks and shows them. The error is that some failed.
func (s *console) doctor(cmd *cobra.Command) error {
	if err := s.out.check(); err != nil {
		return err
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	var all []Finding
	if s.reach.config == "" {
		c, err := s.connect(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = c.close() }() // nothing was written
		all = c.examine(ctx)
	} else {
		var err error
		if all, err = s.examineConfig(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return errors.New("interrupted")
	}
	failed := 0
	for _, f := range all {
		if f.Status == StatusFail {
			failed++
		}
	}
	if err := s.writeFindings(all, failed); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(all))
	}
	return nil
}

// examineConfig checks what a configuration names, and whether a server runs it.
func (s *console) examineConfig(ctx context.Context) ([]Finding, error) {
	if s.reach.address != "" || s.reach.url != "" {
		return nil, usagef("--address, --url and --config exclude each other")
	}
	if s.env.Diagnose == nil {
		return nil, usagef("this build cannot look into a --config")
	}
	d := s.env.Diagnose(ctx, s.reach.config)
	if d.Close != nil {
		defer func() { _ = d.Close() }() // nothing was written
	}
	if d.Admin == "" {
		return append(s.examineOffline(ctx, d), Finding{"admin endpoint", StatusWarn, "this configuration has none",
			"commands need --config or --url; enable Caddy's admin endpoint to use them without"}), nil
	}
	c, err := s.local(d.Admin)
	if err != nil {
		return append(s.examineOffline(ctx, d), Finding{"admin endpoint", StatusFail, err.Error(), "correct `admin` in the configuration"}), nil
	}
	defer func() { _ = c.close() }()
	online := c.examine(ctx)
	if online[0].Status != StatusFail {
		return append(d.Findings, online...), nil
	}
	// A server that is not running is no fault of the installation.
	online[0].Status, online[0].Advice = StatusWarn, "no server seems to run with this configuration; start it, or look at its log"
	return append(s.examineOffline(ctx, d), online...), nil
}

// examineOffline adds to a diagnosis what else a running server would have been
// asked for.
func (s *console) examineOffline(ctx context.Context, d Diagnosis) []Finding {
	if d.Store == nil {
		return d.Findings
	}
	c := s.within(d.Store, "the store of "+s.reach.config)
	return append(d.Findings, c.examineSources(ctx), c.examineAudit(ctx))
}

// oneLine is a text of several lines in one; those of a database driver begin with tabs.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	for i, l := range lines {
		lines[i] = strings.Join(strings.Fields(l), " ")
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}

func (s *console) writeFindings(all []Finding, failed int) error {
	body, err := json.Marshal(struct {
		Checks []Finding `json:"checks"`
		Failed int       `json:"failed"`
	}{all, failed})
	if err != nil {
		return err
	}
	switch s.out.form {
	case formJSON:
		return writeJSON(s.env.Stdout, body)
	case formYAML:
		return writeYAML(s.env.Stdout, body)
	case formCSV:
		rows := [][]string{{"check", "status", "detail", "advice"}}
		for _, f := range all {
			rows = append(rows, []string{f.Check, string(f.Status), f.Detail, f.Advice})
		}
		return newCSV(s.env.Stdout).all(rows)
	}
	var b strings.Builder
	colours := s.colours(s.env.Stdout)
	for _, f := range all {
		status := fmt.Sprintf("%-4s", f.Status)
		if colours {
			status = "\x1b[" + map[Status]string{StatusOK: "32", StatusWarn: "33", StatusFail: "31"}[f.Status] + "m" + status + "\x1b[0m"
		}
		fmt.Fprintf(&b, "%s  %-15s %s\n", status, f.Check, printable(oneLine(f.Detail)))
		if f.Advice != "" {
			fmt.Fprintf(&b, "%22s-> %s\n", "", printable(f.Advice))
		}
	}
	_, err = s.env.Stdout.Write([]byte(b.String()))
	return err
}
