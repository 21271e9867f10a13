package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

var secretGroup = Group{
	Name:  "secret",
	Short: "Rotate and retire the secrets of keys",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "secret", "Rotate and retire the secrets of keys", secretLong, secretExample)
		s.addSecretList(cmd)
		s.addSecretRotate(cmd)
		s.addSecretRetire(cmd)
	},
}

const secretLong = `
Rotate and retire the secrets of keys. A key has at most two live secrets: the
current one, and the one before while deployments move to the new one. The
client ID stays the same.

Exit codes: 0 done, 1 error, 2 wrong usage, 4 not authorised, 5 not found,
6 conflict (two live secrets already; a secret that is in use).`

const secretExample = `
  PROGRAM secret rotate ci-deploy --previous-expires-in 7d
  PROGRAM secret list ci-deploy
  PROGRAM secret retire ci-deploy sec_8v2n4b6w1t5r`

// secretItem is a secret as the admin API represents it.
type secretItem struct {
	ID        string `json:"id"`
	Hint      string `json:"hint"`
	State     string `json:"state"`
	CreatedAt string `json:"created_at"`
	ExpiresAt string `json:"expires_at"`
	RetiredAt string `json:"retired_at"`
	UsedAt    string `json:"last_used_at"`
	UsedFrom  string `json:"last_used_address"`
	TriedAt   string `json:"last_tried_at"`
	TriedFrom string `json:"last_tried_address"`
}

// secretList is the list of a key's secrets, at the path of that key.
func secretList(keyID string) listing {
	return listingOf(keyPath(keyID)+"/secrets", "secrets",
		[]string{"ID", "LAST 4", "STATE", "CREATED", "ENDS", "LAST USED", "TRIED AFTER ITS END"},
		[]string{"id", "hint", "state", "created_at", "expires_at", "retired_at", "last_used_at", "last_used_address", "last_tried_at", "last_tried_address"},
		func(i *secretItem, colours bool) []string {
			state := printable(i.State)
			if colours {
				state = paint(state)
			}
			return []string{printable(i.ID), orDash(i.Hint), state, shortTime(i.CreatedAt), firstOf(shortTime(firstOf(i.RetiredAt, i.ExpiresAt)), "-"),
				seen(i.UsedAt, i.UsedFrom), seen(i.TriedAt, i.TriedFrom)}
		},
		func(i *secretItem) []string {
			return []string{i.ID, i.Hint, i.State, i.CreatedAt, i.ExpiresAt, i.RetiredAt, i.UsedAt, i.UsedFrom, i.TriedAt, i.TriedFrom}
		})
}

// seen is when and from where.
func seen(at, from string) string {
	if from != "" {
		from = " from " + printable(from)
	}
	return firstOf(strings.TrimSpace(shortTime(at)+from), "-")
}

func (s *console) addSecretList(parent *cobra.Command) {
	var in narrow
	cmd := s.add(parent, verb{
		use:   "list KEY",
		short: "List a key's secrets, never the secrets themselves",
		long: `
List a key's secrets: the live ones first, then those that ended within the last
30 days. One that is shown after its end is a deployment that still has it; its
address is listed. A secret is told by its last four characters.`,
		example: `
  PROGRAM secret list ci-deploy
  PROGRAM secret list ci-deploy -o json | jq '.items[] | select(.last_tried_at)'`,
		args:   []string{"KEY"},
		keyArg: true,
		run: func(ctx context.Context, c *client, args []string) error {
			k, err := c.findKey(ctx, args[0], in)
			if err != nil {
				return err
			}
			return c.list(ctx, secretList(k.ID), url.Values{}, false)
		},
	})
	in.register(cmd.Flags())
}

func (s *console) addSecretRotate(parent *cobra.Command) {
	var in narrow
	overlap := ""
	cmd := s.add(parent, verb{
		use:   "rotate KEY",
		short: "Give a key a new secret and show it, once",
		long: `
Give a key a new secret; its client ID stays. The secret is shown this one time
and stored nowhere. The one before goes on working for a day, or as
--previous-expires-in says, so that deployments can move to the new one.

With two live secrets already, it is refused (exit code 6): retire the one that
nobody uses any more first. If the secret leaked, --previous-expires-in 0 ends
every older one at once, and the sessions opened with it.`,
		example: `
  PROGRAM secret rotate ci-deploy
  PROGRAM secret rotate ci-deploy --previous-expires-in 7d
  PROGRAM secret rotate ci-deploy --previous-expires-in 0 -o json |
      jq -r '"\(.client_id):\(.client_secret)"' > credentials`,
		args:   []string{"KEY"},
		keyArg: true,
		run: func(ctx context.Context, c *client, args []string) error {
			return c.rotateSecret(ctx, args[0], in, overlap)
		},
	})
	cmd.Flags().StringVar(&overlap, "previous-expires-in", "", "how long the present secret stays good: seconds, 24h, 7d, 0 for not at all,\nnever for until it is retired (default 24h, at most 30d)")
	s.complete(cmd, "previous-expires-in", "0", "1h", "24h", "7d", "never")
	in.register(cmd.Flags())
}

func (c *client) rotateSecret(ctx context.Context, ref string, in narrow, overlap string) error {
	body := map[string]any{}
	if overlap != "" {
		if body["previous_expires_in"] = nil; overlap != "never" {
			seconds, err := parseOverlap(overlap)
			if err != nil {
				return err
			}
			body["previous_expires_in"] = seconds
		}
	}
	k, err := c.findKey(ctx, ref, in)
	if err != nil {
		return err
	}
	r, err := c.do(ctx, call{method: http.MethodPost, path: keyPath(k.ID) + "/secrets", body: body, match: k.reply.etag})
	if err != nil {
		return err
	}
	var rotated struct {
		key
		Secret secretItem `json:"secret"`
	}
	if err := json.Unmarshal(r.body, &rotated); err != nil {
		return fmt.Errorf("the secret was rotated, but the answer of %s cannot be read: %w", c.where, err)
	}
	if err := c.console.writeKey(&rotated.key, r.body); err != nil {
		return fmt.Errorf("the secret was rotated, but could not be written and is lost; retire %s and rotate again: %w", rotated.Secret.ID, err)
	}
	c.console.note("the client secret is shown only this once; store it now")
	for _, other := range rotated.Secrets {
		if other.ID != rotated.Secret.ID {
			c.console.note("%s stays good until %s", printable(other.ID), firstOf(shortTime(other.ExpiresAt), "it is retired"))
		}
	}
	return nil
}

// parseOverlap reads how long a secret stays good: whole seconds, a duration of
// them, or whole days. Its bounds are the server's.
func parseOverlap(text string) (seconds int64, err error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	if days, found := strings.CutSuffix(text, "d"); found {
		if n, err := strconv.ParseInt(days, 10, 32); err == nil {
			return n * int64(24*time.Hour/time.Second), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d%time.Second == 0 {
		return int64(d / time.Second), nil
	}
	return 0, usagef("--previous-expires-in %q is not in whole seconds, expected such as 86400, 24h, 7d, 0 or never", printable(text))
}

func (s *console) addSecretRetire(parent *cobra.Command) {
	var in narrow
	force := false
	cmd := s.add(parent, verb{
		use:   "retire KEY SECRET",
		short: "End a secret at once",
		long: `
End a secret, by its id, and the sessions opened with it. One that was used
within the last 7 days is refused (exit code 6), saying when and from where:
give whoever uses it the new one first, or lock them out with --force. Retiring
a secret that is over already does nothing.`,
		example: `
  PROGRAM secret list ci-deploy
  PROGRAM secret retire ci-deploy sec_8v2n4b6w1t5r
  PROGRAM secret retire ci-deploy sec_8v2n4b6w1t5r --force`,
		args:   []string{"KEY", "SECRET"},
		keyArg: true,
		run: func(ctx context.Context, c *client, args []string) error {
			if !recordID.MatchString(args[1]) {
				return usagef("%q is not the id of a secret; `secret list` shows them", printable(args[1]))
			}
			k, err := c.findKey(ctx, args[0], in)
			if err != nil {
				return err
			}
			q := url.Values{}
			if force {
				q.Set("force", "true")
			}
			path := keyPath(k.ID) + "/secrets/" + url.PathEscape(args[1])
			if _, err := c.do(ctx, call{method: http.MethodDelete, path: path, query: q}); err != nil {
				return err
			}
			s.note("%s of %s is retired", printable(args[1]), k.label())
			return nil
		},
	})
	cmd.Flags().BoolVar(&force, "force", false, "retire it although it is in use")
	in.register(cmd.Flags())
}
