package cli

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const sessionsPath = "/v1/sessions"

var sessionStates = []string{"active", "ended", "expired"}

var sessionGroup = Group{
	Name:  "session",
	Short: "Show and end the sessions of keys",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "session", "Show and end the sessions of keys", sessionLong, sessionExample)
		s.addSessionList(cmd)
		s.addSessionEnd(cmd)
	},
}

const sessionLong = `
Show and end the sessions of keys: the access tokens that were issued, by their
jti. What becomes of a key governs its sessions at once, so ending them is for a
token that leaked; a secret that leaked must be replaced.

Exit codes: 0 done, 1 error, 2 wrong usage, 4 not authorised, 5 not found,
6 conflict (also: several keys go by that name).`

const sessionExample = `
  PROGRAM session list --key ci-deploy --state active
  PROGRAM session end ses_3kq7c2m5x9d1.0.sec_8v2n4b6w1t5r
  PROGRAM session end --key ci-deploy`

// sessionItem is a session as the admin API represents it.
type sessionItem struct {
	ID            string `json:"id"`
	KeyID         string `json:"key_id"`
	KeyName       string `json:"key_name"`
	ClientID      string `json:"client_id"`
	CustomerID    string `json:"customer_id"`
	MicrotenantID string `json:"microtenant_id"`
	SecretID      string `json:"secret_id"`
	Address       string `json:"address"`
	State         string `json:"state"`
	IssuedAt      string `json:"issued_at"`
	ExpiresAt     string `json:"expires_at"`
	EndedAt       string `json:"ended_at"`
	EndReason     string `json:"end_reason"`
}

var sessionList = listingOf(sessionsPath, "sessions",
	[]string{"KEY", "STATE", "ISSUED", "EXPIRES", "ENDED", "FROM", "CUSTOMER", "JTI"},
	[]string{"id", "key_id", "key_name", "client_id", "customer_id", "microtenant_id", "secret_id", "address", "state",
		"issued_at", "expires_at", "ended_at", "end_reason"},
	func(i *sessionItem, colours bool) []string {
		state := printable(i.State)
		if colours {
			state = paint(state)
		}
		return []string{printable(i.KeyName), state, shortTime(i.IssuedAt), shortTime(i.ExpiresAt), i.end(), orDash(i.Address), orDash(i.CustomerID), printable(i.ID)}
	},
	func(i *sessionItem) []string {
		return []string{i.ID, i.KeyID, i.KeyName, i.ClientID, i.CustomerID, i.MicrotenantID, i.SecretID, i.Address, i.State,
			i.IssuedAt, i.ExpiresAt, i.EndedAt, i.EndReason}
	})

// end is when and why a session ended early.
func (i *sessionItem) end() string {
	return firstOf(strings.TrimSpace(shortTime(i.EndedAt)+" "+printable(i.EndReason)), "-")
}

func (s *console) addSessionList(parent *cobra.Command) {
	var in narrow
	var f pageFlags
	var ref, state string
	cmd := s.add(parent, verb{
		use:   "list",
		short: "List sessions",
		long: `
List the sessions of the keys that you may see, or of one key, the newest first.
A session is active until it expires, is ended, its key's sessions are ended, or
the secret it was issued for ends. An active session is refused all the same
while its key is disabled, locked or expired.`,
		example: `
  PROGRAM session list --state active
  PROGRAM session list --key ci-deploy
  PROGRAM session list --customer acme --all -o csv > sessions.csv`,
		run: func(ctx context.Context, c *client, _ []string) error {
			if state != "" && !slices.Contains(sessionStates, state) {
				return usagef("--state %q is no state, expected %s", printable(state), strings.Join(sessionStates, ", "))
			}
			q, err := f.query()
			if err != nil {
				return err
			}
			set(q, map[string]string{"state": state})
			list := sessionList
			if ref == "" {
				in.apply(q)
				return c.list(ctx, list, q, f.all)
			}
			k, err := c.findKeyID(ctx, ref, in)
			if err != nil {
				return err
			}
			list.path = keyPath(k.ID) + "/sessions"
			return c.list(ctx, list, q, f.all)
		},
	})
	flags := cmd.Flags()
	flags.StringVar(&ref, "key", "", "id, client ID or name of a key")
	flags.StringVar(&state, "state", "", "one of "+strings.Join(sessionStates, ", "))
	in.registerFilter(flags)
	f.register(flags, "sessions")
	s.complete(cmd, "state", sessionStates...)
	s.completeKey(cmd)
}

func (s *console) addSessionEnd(parent *cobra.Command) {
	var in narrow
	var ref string
	cmd := s.add(parent, verb{
		use:   "end [JTI]",
		short: "End a session, or all sessions of a key",
		long: `
End the session with this jti, or with --key every session of that key. From
the answer on, its token is refused. The client can sign in again: to keep it
out, disable the key. Ending a session that is over already does nothing.`,
		example: `
  PROGRAM session end ses_3kq7c2m5x9d1.0.sec_8v2n4b6w1t5r
  PROGRAM session end --key ci-deploy`,
		args:     []string{"JTI"},
		optional: true,
		run: func(ctx context.Context, c *client, args []string) error {
			switch {
			case len(args) == 1 && ref != "":
				return usagef("name a session by its jti or a key by --key, not both")
			case len(args) == 1 && args[0] != "":
				return c.endSession(ctx, args[0])
			case ref == "":
				return usagef("JTI is missing; `session list` shows them, --key ends all of a key")
			}
			return c.endKeySessions(ctx, ref, in)
		},
	})
	cmd.Flags().StringVar(&ref, "key", "", "id, client ID or name of the key whose sessions all end")
	in.register(cmd.Flags())
	s.completeKey(cmd)
}

func (c *client) endSession(ctx context.Context, id string) error {
	if _, err := c.do(ctx, call{method: http.MethodDelete, path: sessionsPath + "/" + url.PathEscape(id)}); err != nil {
		return err
	}
	c.console.note("ended %s", printable(id))
	return nil
}

func (c *client) endKeySessions(ctx context.Context, ref string, in narrow) error {
	k, err := c.findKeyID(ctx, ref, in)
	if err != nil {
		return err
	}
	if _, err := c.do(ctx, call{method: http.MethodDelete, path: keyPath(k.ID) + "/sessions"}); err != nil {
		return err
	}
	c.console.note("ended all sessions of %s", k.label())
	return nil
}
