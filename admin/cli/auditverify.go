package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// verifyFlags say what to verify and against what.
type verifyFlags struct {
	customer   string
	noCustomer bool
	file       string
	heads      []string
	masterKeys []string
}

func (s *console) addAuditVerify(parent *cobra.Command) {
	var f verifyFlags
	cmd := s.add(parent, verb{
		use:   "verify",
		short: "Prove that the audit trail is what was written",
		long: `
Prove that no event was changed, left out or put in, from the first that is kept
to the head, chain by chain, and that no chain is gone or was put back to what it
was. The server does so with its master key.

--file verifies an export in NDJSON by itself, with no server. Alone that shows
that the file agrees with itself, as a file does that someone rewrote with care.
What proves more is --head, with what an earlier verification or export said the
head was; or --master-key-file, with which every seal is checked, and which alone
shows that no chain was left out.`,
		example: `
  PROGRAM audit verify
  PROGRAM audit verify --customer acme --head 1734:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  PROGRAM audit verify --file trail.ndjson --master-key-file master.key
  PROGRAM audit verify -o json | jq -r '.chains[] | select(.head) | "\(.customer_id // ""):\(.head.seq):\(.head.hash)"' > heads`,
		run: func(ctx context.Context, c *client, _ []string) error { return c.verifyAudit(ctx, f) },
	})
	online := cmd.RunE
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if f.file != "" {
			return s.finish(c, s.verifyFile(c.Context(), f))
		}
		return online(c, args)
	}
	flags := cmd.Flags()
	flags.StringVar(&f.customer, "customer", "", "id of the customer")
	flags.BoolVar(&f.noCustomer, "no-customer", false, "the events of no customer, such as those of signing keys")
	flags.StringVar(&f.file, "file", "", "verify this export, - for standard input")
	flags.StringArrayVar(&f.heads, "head", nil, "a head noted before, as seq:hash, or customer:seq:hash where there are several\nchains; may be repeated")
	flags.StringArrayVar(&f.masterKeys, "master-key-file", nil, "with --file: check the seals with this master key; may be repeated")
	s.complete(cmd, "customer")
	s.complete(cmd, "head")
}

func (c *client) verifyAudit(ctx context.Context, f verifyFlags) error {
	if len(f.masterKeys) > 0 {
		return usagef("--master-key-file belongs to --file: the server has its own")
	}
	if _, err := f.pins(); err != nil {
		return err
	}
	q := url.Values{}
	set(q, map[string]string{"customer_id": f.customer, "head": strings.Join(f.heads, ",")})
	if f.noCustomer {
		q.Set("no_customer", "true")
	}
	// Long trails take their time, and the answer comes at the end.
	unhurried := *c
	unhurried.http = &http.Client{Transport: c.http.Transport, CheckRedirect: c.http.CheckRedirect}
	r, err := unhurried.do(ctx, call{method: http.MethodGet, path: auditPath + "/verify", query: q})
	if err != nil {
		return err
	}
	var out lifecycle.AuditVerification
	if err := json.Unmarshal(r.body, &out); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", c.where, err)
	}
	return c.console.writeVerification(out, r.body)
}

func (f *verifyFlags) pins() ([]lifecycle.AuditPin, error) {
	var pins []lifecycle.AuditPin
	for _, text := range f.heads {
		p, ok := lifecycle.ParseAuditPin(text)
		if !ok {
			return nil, usagef("--head %q is no head, expected seq:hash or customer:seq:hash with the hash in 64 hex digits", printable(text))
		}
		pins = append(pins, p)
	}
	return pins, nil
}

// verifyFile verifies an export, with no server.
func (s *console) verifyFile(ctx context.Context, f verifyFlags) (err error) {
	if err := s.out.check(); err != nil {
		return err
	}
	if f.customer != "" || f.noCustomer || s.reach.url != "" || s.reach.address != "" || s.reach.config != "" {
		return usagef("--file verifies a whole file with no server: leave out --customer, --no-customer, --address, --url and --config")
	}
	pins, err := f.pins()
	if err != nil {
		return err
	}
	sealer, err := readSealer(f.masterKeys)
	if err != nil {
		return err
	}
	in := s.env.Stdin
	if f.file != "-" {
		file, err := os.Open(f.file)
		if err != nil {
			return fmt.Errorf("opening the export: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		in = file
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	out, err := lifecycle.VerifyExport(interruptibleReader{ctx, in}, pins, sealer)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return fmt.Errorf("reading the export: %w", err)
	}
	body, err := json.Marshal(out)
	if err != nil {
		return err
	}
	switch {
	case !out.OK || sealer != nil:
	case len(pins) == 0:
		s.note("the file agrees with itself; --head or --master-key-file proves that it was not rewritten as a whole, and --master-key-file that no chain was left out")
	default:
		s.note("proved up to the given heads; what follows on them, and that no chain was left out, takes --master-key-file")
	}
	return s.writeVerification(out, body)
}

// readSealer reads master keys; nil for none.
func readSealer(paths []string) (keystore.AuditSealer, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	var keys []credential.MasterKey
	for _, path := range paths {
		key, err := credential.ReadMasterKeyFile(path)
		if err != nil {
			return nil, fmt.Errorf("master key: %w", err)
		}
		keys = append(keys, key)
	}
	ring, err := credential.NewKeyring(keys...)
	if err != nil {
		return nil, fmt.Errorf("master keys: %w", err)
	}
	return ring, nil
}

// interruptibleReader stops reading where its context ended.
type interruptibleReader struct {
	ctx  context.Context
	from io.Reader
}

func (r interruptibleReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}

// writeVerification shows what was found. The error is that the trail is not proved.
func (s *console) writeVerification(out lifecycle.AuditVerification, body []byte) error {
	var err error
	switch s.out.form {
	case formJSON:
		err = writeJSON(s.env.Stdout, body)
	case formYAML:
		err = writeYAML(s.env.Stdout, body)
	case formCSV:
		rows := [][]string{{"customer_id", "ok", "events", "first_seq", "head_seq", "head_hash", "problem_seq", "problem", "detail", "proved_by_head"}}
		for i := range out.Chains {
			rows = append(rows, chainCells(&out.Chains[i]))
		}
		err = newCSV(s.env.Stdout).all(rows)
	default:
		rows := make([][]string, 0, len(out.Chains))
		for i := range out.Chains {
			rows = append(rows, chainRow(&out.Chains[i]))
		}
		err = writeTable(s.env.Stdout, []string{"CUSTOMER", "TRAIL", "EVENTS", "FROM", "HEAD", "PROBLEM"}, rows)
	}
	switch {
	case err != nil:
		return err
	case out.Problem != nil:
		return fmt.Errorf("the audit trail is not proved: %s (%s)", printable(out.Problem.Detail), printable(out.Problem.Code))
	case !out.OK:
		return errors.New("the audit trail is not proved")
	}
	return nil
}

func chainCells(c *lifecycle.AuditChain) []string {
	cells := []string{customerOf(c, ""), strconv.FormatBool(c.OK), strconv.FormatInt(c.Events, 10), numberOf(c.FirstSeq), "", "", "", "", "", strconv.FormatInt(c.ByHead, 10)}
	if c.Head != nil {
		cells[4], cells[5] = strconv.FormatInt(c.Head.Seq, 10), c.Head.Hash
	}
	if p := c.Problem; p != nil {
		cells[6], cells[7], cells[8] = numberOf(p.Seq), p.Code, p.Detail
	}
	return cells
}

func chainRow(c *lifecycle.AuditChain) []string {
	head, state, problem := "-", "proved", "-"
	if c.Head != nil {
		head = fmt.Sprintf("%d:%s", c.Head.Seq, printable(c.Head.Hash))
	}
	if !c.OK {
		state = "not proved"
	}
	if c.OK && c.ByHead > 0 {
		state = fmt.Sprintf("proved, %d by the head alone", c.ByHead)
	}
	if p := c.Problem; p != nil {
		problem = strings.TrimSpace(fmt.Sprintf("%s %s: %s", numberOf(p.Seq), printable(p.Code), printable(p.Detail)))
	}
	return []string{printable(customerOf(c, "(none)")), state, strconv.FormatInt(c.Events, 10), firstOf(numberOf(c.FirstSeq), "-"), head, problem}
}

func customerOf(c *lifecycle.AuditChain, none string) string {
	if c.CustomerID == nil {
		return none
	}
	return *c.CustomerID
}

func numberOf(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}
