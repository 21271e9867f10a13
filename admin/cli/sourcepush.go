package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// maxList is the largest list that is read, in bytes: what the API takes.
const maxList = 16 << 20

// pushedItem is what became of one key of a list.
type pushedItem struct {
	ClientID string `json:"client_id"`
	ID       string `json:"id"`
	Result   string `json:"result"`
}

// pushed is what became of a list.
type pushed struct {
	DryRun    bool              `json:"dry_run"`
	Created   int               `json:"created"`
	Updated   int               `json:"updated"`
	Unchanged int               `json:"unchanged"`
	Removed   int               `json:"removed"`
	Items     []json.RawMessage `json:"items"`
}

var pushedList = listingOf("", "keys",
	[]string{"RESULT", "CLIENT ID", "ID"}, []string{"result", "client_id", "id"},
	func(p *pushedItem, _ bool) []string {
		return []string{printable(p.Result), printable(p.ClientID), orDash(p.ID)}
	},
	func(p *pushedItem) []string { return []string{p.Result, p.ClientID, p.ID} })

func (s *console) addSourcePush(parent *cobra.Command) {
	var ref sourceRef
	var file, match string
	dryRun, most := false, -1
	cmd := s.add(parent, verb{
		use:   "push NAME",
		short: "Make the keys of a source what a list says",
		long: `
Make the keys of a source what a list says, as one change: if one of them is
refused, nothing is written. The list is whole: keys that are not in it are
removed, and what it does not say of a key is the default. It is JSON or YAML,
a list of keys or an object with such a list as its member keys:

  keys:
    - client_id: ci-deploy
      name: deploys
      role_id: role_api_read_only
      secret_sha256: 64 hexadecimal digits   # of a new key, or a new secret
      # also: description, microtenant_id, enabled, expires_at, allowed_cidrs,
      # labels, session_validity_seconds

A list that would remove more than a tenth of the source's keys (but more than
ten) is refused, unless --max-removals allows it.`,
		example: `
  PROGRAM source push idp -f keys.yaml --dry-run
  PROGRAM source push idp -f keys.json --max-removals 50
  export-keys | PROGRAM source push idp -f - --if-match '"r42"'`,
		args: []string{"NAME"},
		run: func(ctx context.Context, c *client, args []string) error {
			if file == "" {
				return usagef("--file is missing: the list, or - for standard input")
			}
			body, err := s.readList(file)
			if err != nil {
				return err
			}
			in := ref.on(args[0], http.MethodPut)
			in.path += "/keys"
			in.body, in.match = body, match
			if dryRun {
				in.query.Set("dry_run", "true")
			}
			if most >= 0 {
				in.query.Set("max_removals", strconv.Itoa(most))
			}
			r, err := c.doSource(ctx, in)
			if err != nil {
				return err
			}
			return s.writePushed(r)
		},
	})
	ref.register(cmd.Flags())
	cmd.Flags().StringVarP(&file, "file", "f", "", "the list, - for standard input (required)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would become of each key and write nothing")
	cmd.Flags().IntVar(&most, "max-removals", -1, "how many keys the list may remove (default a tenth, but at least 10)")
	cmd.Flags().StringVar(&match, "if-match", "", "ETag that the source must still have")
}

// readList reads a list as the body that the API takes.
func (s *console) readList(file string) (json.RawMessage, error) {
	text, err := s.readFile(file, "list", maxList)
	if err != nil {
		return nil, err
	}
	body, err := listBody(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a list of keys: %w", file, err)
	}
	return body, nil
}

// listBody is a list, in JSON or YAML, as the body that the API takes.
func listBody(text []byte) (json.RawMessage, error) {
	text = bytes.TrimSpace(text)
	if !json.Valid(text) {
		var value any
		if err := yaml.Unmarshal(text, &value); err != nil {
			return nil, err
		}
		var err error
		if text, err = json.Marshal(value); err != nil {
			return nil, errors.New("it has names that are not text")
		}
	}
	switch text[0] {
	case '[':
		return append(append([]byte(`{"keys":`), text...), '}'), nil
	case '{':
		return text, nil
	}
	return nil, errors.New("expected a list, or an object with the member keys")
}

// writePushed writes what became of a list. A table is for reading: it leaves
// out what stayed as it was.
func (s *console) writePushed(r *reply) error {
	var all pushed
	if err := json.Unmarshal(r.body, &all); err != nil {
		return fmt.Errorf("the list was taken, but the answer cannot be read: %w", err)
	}
	shown := all.Items
	if s.out.form == formTable {
		shown = nil
		for _, raw := range all.Items {
			var item pushedItem
			if err := json.Unmarshal(raw, &item); err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
			if item.Result != "unchanged" {
				shown = append(shown, raw)
			}
		}
	}
	if s.out.form != formTable || len(shown) > 0 {
		if err := s.writePage(pushedList, &page{Items: shown, raw: r.body}); err != nil {
			return err
		}
	}
	verb := "wrote"
	if all.DryRun {
		verb = "would write"
	}
	s.note("%s: %d created, %d updated, %d unchanged, %d removed", verb, all.Created, all.Updated, all.Unchanged, all.Removed)
	return nil
}
