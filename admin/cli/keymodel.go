package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// key is an API key as the admin API represents it.
type key struct {
	ID            string            `json:"id"`
	Name          string            `json:"name"`
	Description   string            `json:"description"`
	ClientID      string            `json:"client_id"`
	ClientSecret  string            `json:"client_secret"` // in the answer to its creation alone
	Enabled       bool              `json:"enabled"`
	DisabledHere  bool              `json:"disabled_here"`
	State         string            `json:"state"`
	Validity      *int64            `json:"session_validity_seconds"` // nil is the server's default
	RoleID        string            `json:"role_id"`
	CustomerID    string            `json:"customer_id"`
	MicrotenantID string            `json:"microtenant_id"`
	Source        string            `json:"source"`
	ManagedBy     string            `json:"managed_by"`
	ExpiresAt     string            `json:"expires_at"`
	AllowedCIDRs  []string          `json:"allowed_cidrs"`
	Labels        map[string]string `json:"labels"`
	Lock          struct {
		Locked      bool    `json:"locked"`
		Failed      float64 `json:"failed_attempts"`
		LockedUntil string  `json:"locked_until"`
	} `json:"lock"`
	Secrets []struct {
		ID        string `json:"id"`
		ExpiresAt string `json:"expires_at"`
	} `json:"secrets"`
	LastUsed   string `json:"last_used_at"`
	UsedFrom   string `json:"last_used_address"`
	UsedRoute  string `json:"last_used_route"`
	Created    string `json:"created_at"`
	CreatedBy  string `json:"created_by"`
	Modified   string `json:"modified_at"`
	ModifiedBy string `json:"modified_by"`
}

func (p *page) keys() ([]key, error) {
	keys := make([]key, len(p.Items))
	for i, item := range p.Items {
		if err := json.Unmarshal(item, &keys[i]); err != nil {
			return nil, fmt.Errorf("reading a key of the list: %w", err)
		}
	}
	return keys, nil
}

// keyHeader are the columns of a list of keys, in a table.
var keyHeader = []string{"NAME", "CLIENT ID", "STATE", "ROLE", "CUSTOMER", "MICROTENANT", "SESSION", "CREATED", "ID"}

func (k *key) row(colours bool) []string {
	state := printable(k.State)
	if colours {
		state = paint(state)
	}
	return []string{
		printable(k.Name), printable(k.ClientID), state, printable(k.RoleID), orDash(k.CustomerID),
		orDash(k.MicrotenantID), k.validity(), shortTime(k.Created), printable(k.ID),
	}
}

// details are a key's fields for reading, one a row; empty ones are left out.
func (k *key) details(colours bool) [][]string {
	state := printable(k.State)
	if colours {
		state = paint(state)
	}
	all := [][]string{
		{"Name", printable(k.Name)},
		{"Description", printable(k.Description)},
		{"Client ID", printable(k.ClientID)},
		{"Client secret", printable(k.ClientSecret)},
		{"State", state},
		{"Refused here", yes(k.DisabledHere)},
		{"Lock", k.lockText()},
		{"Role", printable(k.RoleID)},
		{"Customer", printable(k.CustomerID)},
		{"Microtenant", printable(k.MicrotenantID)},
		{"Session validity", k.validity()},
		{"Expires", shortTime(k.ExpiresAt)},
		{"Allowed from", printable(strings.Join(k.AllowedCIDRs, ", "))},
		{"Labels", printable(k.labels(", "))},
		{"Source", printable(k.Source)},
		{"Managed by", printable(k.ManagedBy)},
		{"Last used", k.lastUse()},
		{"Created", strings.TrimSpace(shortTime(k.Created) + by(k.CreatedBy))},
		{"Modified", strings.TrimSpace(shortTime(k.Modified) + by(k.ModifiedBy))},
		{"ID", printable(k.ID)},
	}
	return slices.DeleteFunc(all, func(r []string) bool { return r[1] == "" })
}

// keyColumns are the columns of a key in CSV, in this order for good.
var keyColumns = []string{
	"id", "name", "description", "client_id", "enabled", "state", "session_validity_seconds", "role_id",
	"customer_id", "microtenant_id", "source", "managed_by", "expires_at", "allowed_cidrs", "labels", "locked",
	"failed_attempts", "locked_until", "last_used_at", "created_at", "created_by", "modified_at", "modified_by",
	"last_used_address", "last_used_route", "disabled_here",
}

func (k *key) cells() []string {
	validity := ""
	if k.Validity != nil {
		validity = strconv.FormatInt(*k.Validity, 10)
	}
	return []string{
		k.ID, k.Name, k.Description, k.ClientID, strconv.FormatBool(k.Enabled), k.State, validity, k.RoleID,
		k.CustomerID, k.MicrotenantID, k.Source, k.ManagedBy, k.ExpiresAt, strings.Join(k.AllowedCIDRs, " "), k.labels(" "),
		strconv.FormatBool(k.Lock.Locked), strconv.FormatFloat(k.Lock.Failed, 'f', -1, 64), k.Lock.LockedUntil,
		k.LastUsed, k.Created, k.CreatedBy, k.Modified, k.ModifiedBy,
		k.UsedFrom, k.UsedRoute, strconv.FormatBool(k.DisabledHere),
	}
}

// yes is "" for no, so that a row is left out.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func (k *key) validity() string {
	if k.Validity == nil {
		return "default"
	}
	return strconv.FormatInt(*k.Validity, 10) + " s"
}

func (k *key) lockText() string {
	switch {
	case k.Lock.Locked && k.Lock.LockedUntil != "":
		return "locked until " + shortTime(k.Lock.LockedUntil)
	case k.Lock.Locked:
		return "locked"
	case k.Lock.Failed > 0:
		return strconv.FormatFloat(k.Lock.Failed, 'f', -1, 64) + " failed attempts"
	}
	return ""
}

func (k *key) labels(separator string) string {
	pairs := make([]string, 0, len(k.Labels))
	for name, value := range k.Labels {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, separator)
}

// lastUse is when, from where and on which route.
func (k *key) lastUse() string {
	text := shortTime(k.LastUsed)
	if k.UsedFrom != "" {
		text += " from " + printable(k.UsedFrom)
	}
	if k.UsedRoute != "" {
		text += " on " + printable(k.UsedRoute)
	}
	return text
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + printable(who)
}

func orDash(s string) string { return firstOf(printable(s), "-") }

// shortTime is an RFC 3339 time to the second, in UTC, easier on the eye.
func shortTime(text string) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return printable(text)
	}
	return at.UTC().Format("2006-01-02 15:04:05Z")
}
