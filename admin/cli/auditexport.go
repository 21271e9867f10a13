package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// The forms of an export.
const (
	exportNDJSON = "ndjson"
	exportCSV    = "csv"
)

// progressEvery is how many lines go by between two words on the progress.
const progressEvery = 1000

func (s *console) addAuditExport(parent *cobra.Command) {
	var in auditFlags
	var form string
	cmd := s.add(parent, verb{
		use:   "export",
		short: "Export audit events",
		long: `
Export all audit events that you may see, or those that pass the filters, the
oldest first, to standard output. Memory does not depend on how many there are.

ndjson is one event a line, and a last line with the member end: what has none
was cut off. Where nothing but the customer is filtered, that line names the head
of each chain, and ` + "`audit verify --file`" + ` proves the export by itself. csv is for
spreadsheets, and proves nothing.`,
		example: `
  PROGRAM audit export > trail.ndjson
  PROGRAM audit export --customer acme | gzip > acme.ndjson.gz
  PROGRAM audit export --since 2026-01-01 --until 2026-02-01 --format csv > january.csv`,
		run: func(ctx context.Context, c *client, _ []string) error {
			q := url.Values{}
			if err := in.apply(q, s.env.Now()); err != nil {
				return err
			}
			switch {
			case form != exportNDJSON && form != exportCSV:
				return usagef("--format %q is no form of an export, expected %s or %s", printable(form), exportNDJSON, exportCSV)
			case s.out.form == formCSV:
				form = exportCSV
			case s.out.form != formTable:
				return usagef("an export is in one of its own forms: --format %s or %s", exportNDJSON, exportCSV)
			}
			return c.exportAudit(ctx, q, form)
		},
	})
	in.register(s, cmd)
	cmd.Flags().StringVar(&form, "format", exportNDJSON, exportNDJSON+" or "+exportCSV)
	s.complete(cmd, "format", exportNDJSON, exportCSV)
}

func (c *client) exportAudit(ctx context.Context, q url.Values, form string) error {
	q.Set("format", form)
	accept := map[string]string{exportNDJSON: "application/x-ndjson", exportCSV: "text/csv"}[form]
	return c.stream(ctx, call{method: http.MethodGet, path: auditPath, query: q}, accept, func(r io.Reader) error {
		out := bufio.NewWriterSize(c.console.env.Stdout, 1<<16)
		if form == exportCSV {
			_, err := io.Copy(out, r)
			return errors.Join(err, out.Flush())
		}
		err := c.copyEvents(out, r)
		return errors.Join(err, out.Flush())
	})
}

// copyEvents copies an export in NDJSON and makes sure that it has its end.
func (c *client) copyEvents(out io.Writer, r io.Reader) error {
	s := c.console
	progress := isTerminal(s.env.Stderr)
	if progress {
		defer fmt.Fprint(s.env.Stderr, "\r\x1b[K")
	}
	in := bufio.NewReaderSize(r, 1<<16)
	var last []byte
	count := -1 // the end is no event
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			if _, err := out.Write(line); err != nil {
				return fmt.Errorf("writing the export: %w", err)
			}
			last = line
			if count++; progress && count%progressEvery == 0 {
				fmt.Fprintf(s.env.Stderr, "\r%d events ", count)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	var end struct {
		End   bool `json:"end"`
		Count int  `json:"count"`
	}
	if json.Unmarshal(bytes.TrimSpace(last), &end) != nil || !end.End || end.Count != count {
		return fmt.Errorf("the export from %s has no end: it is not whole, try again", c.where)
	}
	s.note("exported %d %s", count, plural(count, "event"))
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return strings.TrimSpace(noun + "s")
}
