package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

const locksPath = "/v1/locks"

var lockGroup = Group{
	Name:  "lock",
	Short: "Show and end the locks of keys",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "lock", "Show and end the locks of keys", lockLong, lockExample)
		s.addLockList(cmd)
		s.addLockGet(cmd)
		s.addUnlock(cmd, "lock")
	},
}

const lockLong = `
Show and end the locks of keys. Wrong secrets lock a key for a while; in guard
mode mostly the network that they came from, and the key goes on elsewhere.

Exit codes: 0 done, 1 error, 2 wrong usage, 4 not authorised, 5 not found,
6 conflict (also: several keys go by that name).`

const lockExample = `
  PROGRAM lock list
  PROGRAM lock get ci-deploy
  PROGRAM lock unlock ci-deploy`

// lockedKey is a lock in force as the admin API lists it.
type lockedKey struct {
	KeyID         string `json:"key_id"`
	KeyName       string `json:"key_name"`
	ClientID      string `json:"client_id"`
	CustomerID    string `json:"customer_id"`
	MicrotenantID string `json:"microtenant_id"`
	Source        string `json:"source"`
	LockedAt      string `json:"locked_at"`
	LockedUntil   string `json:"locked_until"`
}

var lockList = listingOf(locksPath, "locks",
	[]string{"NAME", "CLIENT ID", "SOURCE", "LOCKED", "UNTIL", "CUSTOMER", "MICROTENANT", "KEY ID"},
	[]string{"key_id", "key_name", "client_id", "customer_id", "microtenant_id", "source", "locked_at", "locked_until"},
	func(l *lockedKey, _ bool) []string {
		return []string{printable(l.KeyName), printable(l.ClientID), firstOf(printable(l.Source), "any"), shortTime(l.LockedAt), shortTime(l.LockedUntil),
			orDash(l.CustomerID), orDash(l.MicrotenantID), printable(l.KeyID)}
	},
	func(l *lockedKey) []string {
		return []string{l.KeyID, l.KeyName, l.ClientID, l.CustomerID, l.MicrotenantID, l.Source, l.LockedAt, l.LockedUntil}
	})

func (s *console) addLockList(parent *cobra.Command) {
	var in narrow
	var f pageFlags
	cmd := s.add(parent, verb{
		use:   "list",
		short: "List the locks in force",
		long: `
List the locks in force of the keys that you may see, by the key's name. A lock
of one source network is listed with it; any stands for the whole client.`,
		example: `
  PROGRAM lock list
  PROGRAM lock list --customer acme --all -o json | jq -r '.items[].key_id'`,
		run: func(ctx context.Context, c *client, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			in.apply(q)
			return c.list(ctx, lockList, q, f.all)
		},
	})
	in.registerFilter(cmd.Flags())
	f.register(cmd.Flags(), "locks")
}

func (s *console) addLockGet(parent *cobra.Command) {
	var in narrow
	cmd := s.add(parent, verb{
		use:   "get KEY",
		short: "Show where a key stands with the lockout policy",
		long: `
Show where a key stands with the lockout policy: whether it is locked and until
when, how many failed attempts count, and the latest of them: when, from where,
and by letters which of them showed the same wrong secret. One letter all along
is mostly a deployment that was not given the new secret; many are a guesser.`,
		example: `
  PROGRAM lock get ci-deploy
  PROGRAM lock get ci-deploy -o json | jq .locked_until`,
		args:   []string{"KEY"},
		keyArg: true,
		run: func(ctx context.Context, c *client, args []string) error {
			k, err := c.findKeyID(ctx, args[0], in)
			if err != nil {
				return err
			}
			r, err := c.do(ctx, call{method: http.MethodGet, path: keyPath(k.ID) + "/lock"})
			if err != nil {
				return err
			}
			return s.writeLock(k, r.body)
		},
	})
	in.register(cmd.Flags())
}

// findKeyID is findKey for what needs no more of a key than its id: a caller who
// may not read keys can still name one so.
func (c *client) findKeyID(ctx context.Context, ref string, in narrow) (*key, error) {
	k, err := c.findKey(ctx, ref, in)
	var refused *problem
	id := strings.TrimPrefix(ref, idPrefix)
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden && !refused.foreign && recordID.MatchString(id) {
		return &key{ID: id}, nil
	}
	if err != nil {
		return nil, err
	}
	return &k.key, nil
}

// label names a key in messages.
func (k *key) label() string {
	if k.Name == "" {
		return printable(k.ID)
	}
	return fmt.Sprintf("%s (%s)", printable(k.Name), printable(k.ClientID))
}

func (s *console) writeLock(k *key, body []byte) error {
	switch s.out.form {
	case formJSON:
		return writeJSON(s.env.Stdout, body)
	case formYAML:
		return writeYAML(s.env.Stdout, body)
	}
	var tries struct {
		Recent []failedTry `json:"recent_failures"`
	}
	if err := errors.Join(json.Unmarshal(body, &k.Lock), json.Unmarshal(body, &tries)); err != nil {
		return fmt.Errorf("reading the lock: %w", err)
	}
	if s.out.form == formCSV {
		return newCSV(s.env.Stdout).all([][]string{
			{"key_id", "locked", "failed_attempts", "locked_until"},
			{k.ID, strconv.FormatBool(k.Lock.Locked), strconv.FormatFloat(k.Lock.Failed, 'f', -1, 64), k.Lock.LockedUntil},
		})
	}
	rows := [][]string{{"Key", k.label()}, {"Lock", firstOf(k.lockText(), "not locked")}}
	if k.Lock.Locked && k.Lock.Failed > 0 {
		rows = append(rows, []string{"Failed attempts", strconv.FormatFloat(k.Lock.Failed, 'f', -1, 64)})
	}
	for i, t := range tries.Recent {
		title := ""
		if i == 0 {
			title = "Wrong secrets"
		}
		rows = append(rows, []string{title, t.text()})
	}
	return writeTable(s.env.Stdout, nil, append(rows, []string{"ID", printable(k.ID)}))
}

// failedTry is one wrong secret that was shown for a key, as the admin API has it.
type failedTry struct {
	At      string `json:"at"`
	Address string `json:"address"`
	Secret  string `json:"secret"`
}

func (t *failedTry) text() string {
	text := shortTime(t.At)
	if t.Secret != "" {
		text += " secret " + printable(t.Secret)
	}
	if t.Address != "" {
		text += " from " + printable(t.Address)
	}
	return text
}

// addUnlock adds unlock to the group of that name: it is looked for in both.
func (s *console) addUnlock(parent *cobra.Command, group string) {
	var f batchFlags
	reason := ""
	cmd := s.add(parent, verb{
		use:   "unlock KEY...",
		short: "End a key's lock and clear its failed attempts",
		long: `
End a key's lock, and its locks by source network, and clear its count of
failed attempts. A lock also ends by itself when its time is over. A key that
is disabled or expired stays so. The audit trail keeps the --reason, which goes
with one key at a time.`,
		example: strings.ReplaceAll(`
  PROGRAM lock list
  PROGRAM GROUP unlock ci-deploy
  PROGRAM GROUP unlock ci-deploy --reason "new secret was not deployed"
  PROGRAM GROUP unlock ci-deploy nightly`, "GROUP", group),
		args:   []string{"KEY"},
		many:   true,
		keyArg: true,
		run: func(ctx context.Context, c *client, args []string) error {
			if !f.one(args) {
				if reason != "" {
					return usagef("--reason goes with one key, and not with --dry-run")
				}
				return c.batchByName(ctx, "unlock", args, f)
			}
			k, err := c.findKeyID(ctx, args[0], f.narrow)
			if err != nil {
				return err
			}
			q := url.Values{}
			if reason != "" {
				q.Set("reason", reason)
			}
			if _, err := c.do(ctx, call{method: http.MethodDelete, path: keyPath(k.ID) + "/lock", query: q}); err != nil {
				return err
			}
			was := "was not locked; its count is cleared"
			if k.Lock.Locked || k.Name == "" { // of a key that could not be read nothing is known
				was = "is unlocked"
			}
			s.note("%s %s", k.label(), was)
			return nil
		},
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit trail: at most 200 characters")
	f.register(cmd.Flags())
}
