package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

const (
	batchPath = keysPath + "/batch"
	// maxBatch is how many keys the API takes at once.
	maxBatch = 500
)

// batchFlags are those of verbs that take several keys.
type batchFlags struct {
	narrow narrow
	dryRun bool
}

func (f *batchFlags) register(flags *pflag.FlagSet) {
	f.narrow.register(flags)
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would happen and change nothing")
}

// one reports whether a single key is meant, to be done by its own request.
func (f *batchFlags) one(refs []string) bool { return len(refs) == 1 && !f.dryRun }

// batchResult is what became of the keys of a batch.
type batchResult struct {
	Items     []batchItem `json:"items"`
	Succeeded int         `json:"succeeded"`
	Failed    int         `json:"failed"`

	names map[string]string // by id
}

type batchItem struct {
	ID     string `json:"id"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Errors []struct {
		Detail string `json:"detail"`
	} `json:"errors"`
}

func (i *batchItem) refused() bool { return i.Status < 200 || i.Status > 299 }

// detail is why a key was refused, its fields' reasons too.
func (i *batchItem) detail() string {
	parts := []string{i.Detail}
	for _, e := range i.Errors {
		if e.Detail != i.Detail {
			parts = append(parts, e.Detail)
		}
	}
	return strings.Join(parts, "; ")
}

// findKeys are the keys that refs name. One that cannot be found, or is named
// twice, is an error: nothing is done by halves.
func (c *client) findKeys(ctx context.Context, refs []string, in narrow) ([]*key, error) {
	if len(refs) > maxBatch {
		return nil, usagef("%d keys are named, at most %d go at once", len(refs), maxBatch)
	}
	keys := make([]*key, 0, len(refs))
	named := map[string]string{}
	for _, ref := range refs {
		k, err := c.findKeyID(ctx, ref, in)
		if err != nil {
			return nil, err
		}
		if before, twice := named[k.ID]; twice {
			return nil, usagef("%q and %q are the same key", printable(before), printable(ref))
		}
		named[k.ID] = ref
		keys = append(keys, k)
	}
	return keys, nil
}

// batchByName is batch for keys as the user names them.
func (c *client) batchByName(ctx context.Context, action string, refs []string, f batchFlags) error {
	keys, err := c.findKeys(ctx, refs, f.narrow)
	if err != nil {
		return err
	}
	return c.batch(ctx, action, keys, f.dryRun)
}

// batch does one thing to several keys in one request.
func (c *client) batch(ctx context.Context, action string, keys []*key, dryRun bool) error {
	ids := make([]string, len(keys))
	result := &batchResult{names: map[string]string{}}
	for i, k := range keys {
		ids[i], result.names[k.ID] = k.ID, k.label()
	}
	r, err := c.do(ctx, call{method: http.MethodPost, path: batchPath, body: map[string]any{"action": action, "ids": ids, "dry_run": dryRun}})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(r.body, result); err != nil {
		return fmt.Errorf("it was done, but the answer of %s cannot be read: %w", c.where, err)
	}
	if err := c.console.writeBatch(result, r.body, dryRun); err != nil {
		return err
	}
	if dryRun {
		c.console.note("dry run: nothing was changed; %d would be done, %d refused", result.Succeeded, result.Failed)
	}
	return result.err()
}

// err is the outcome as an exit code: that of the refusals, if they share one.
func (b *batchResult) err() error {
	code := ExitOK
	for i := range b.Items {
		if item := &b.Items[i]; item.refused() {
			this := (&problem{Status: item.Status}).exitCode()
			if code != ExitOK && code != this {
				this = ExitError
			}
			code = this
		}
	}
	if code == ExitOK {
		return nil
	}
	return &codedError{code: code, text: fmt.Sprintf("%d of %d keys refused", b.Failed, len(b.Items))}
}

func (s *console) writeBatch(b *batchResult, body []byte, dryRun bool) error {
	switch s.out.form {
	case formJSON:
		return writeJSON(s.env.Stdout, body)
	case formYAML:
		return writeYAML(s.env.Stdout, body)
	case formCSV:
		rows := [][]string{{"id", "status", "code", "detail"}}
		for _, i := range b.Items {
			rows = append(rows, []string{i.ID, strconv.Itoa(i.Status), i.Code, i.detail()})
		}
		return newCSV(s.env.Stdout).all(rows)
	}
	done := "done"
	if dryRun {
		done = "would be done"
	}
	rows := make([][]string, len(b.Items))
	for n, i := range b.Items {
		rows[n] = []string{b.names[i.ID], done, "", printable(i.ID)}
		if i.refused() {
			rows[n] = []string{b.names[i.ID], printable(i.Code), printable(i.detail()), printable(i.ID)}
		}
	}
	return writeTable(s.env.Stdout, []string{"KEY", "RESULT", "WHY", "ID"}, rows)
}
