package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// keyUsage is how often a key was called, as the admin API tells it.
type keyUsage struct {
	Calls int64 `json:"calls_24h"`
	Hours []struct {
		From  string `json:"from"`
		Calls int64  `json:"calls"`
	} `json:"hours"`
}

func (s *console) addKeyUsage(parent *cobra.Command) {
	var in narrow
	cmd := s.add(parent, verb{
		use:   "usage KEY",
		short: "Show how often a key was called in each of the last 24 hours",
		long: `
Show how often a key was called in each of the last 24 hours, by the clock in
UTC; the last one is still going on. A call is a request that came to a gate with
this key proven, whether it was let in or refused by its route, tenant or role.
Sign-ins, the admin API and the page are no calls.`,
		example: `
  PROGRAM key usage ci-deploy
  PROGRAM key usage ci-deploy -o json | jq .calls_24h`,
		args:   []string{"KEY"},
		keyArg: true,
		run: func(ctx context.Context, c *client, args []string) error {
			k, err := c.findKey(ctx, args[0], in)
			if err != nil {
				return err
			}
			r, err := c.do(ctx, call{method: http.MethodGet, path: keyPath(k.ID) + "/usage"})
			if err != nil {
				return err
			}
			return s.writeUsage(&k.key, r.body)
		},
	})
	in.register(cmd.Flags())
}

func (s *console) writeUsage(k *key, body []byte) error {
	switch s.out.form {
	case formJSON:
		return writeJSON(s.env.Stdout, body)
	case formYAML:
		return writeYAML(s.env.Stdout, body)
	}
	var u keyUsage
	if err := json.Unmarshal(body, &u); err != nil {
		return fmt.Errorf("reading the usage: %w", err)
	}
	if s.out.form == formCSV {
		rows := [][]string{{"key_id", "from", "calls"}}
		for _, h := range u.Hours {
			rows = append(rows, []string{k.ID, h.From, strconv.FormatInt(h.Calls, 10)})
		}
		return newCSV(s.env.Stdout).all(rows)
	}
	var rows [][]string
	most := int64(1)
	for _, h := range u.Hours {
		most = max(most, h.Calls)
	}
	const width = 40 // of the longest bar
	for _, h := range u.Hours {
		bar := strings.Repeat("#", int(float64(h.Calls)/float64(most)*width))
		rows = append(rows, []string{shortTime(h.From), strconv.FormatInt(h.Calls, 10), bar})
	}
	s.note("%s: %d calls in 24 hours", k.label(), u.Calls)
	return writeTable(s.env.Stdout, []string{"FROM", "CALLS", ""}, rows)
}
