package page

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// told is a diff as a reader hears it.
func told(d diff) []string {
	var all []string
	for _, m := range d.Members {
		for _, l := range m.Lines {
			all = append(all, strings.Join(m.Path, " › ")+": "+l.Word+" "+l.Text)
		}
	}
	return all
}

func TestADiffShowsWhatDiffersAndNothingElse(t *testing.T) {
	names := lifecycle.AuditNames{Roles: map[string]string{"role_a": "Reader", "role_b": "Writer"}}
	for rule, c := range map[string]struct {
		before, after string
		want          []string
	}{
		"equal members are left out": {`{"name":"a","enabled":true}`, `{"name":"a","enabled":false}`, []string{"Enabled: was yes", "Enabled: now no"}},
		"a role goes by its name":    {`{"role_id":"role_a"}`, `{"role_id":"role_b"}`, []string{"Role: was Reader", "Role: now Writer"}},
		"labels are told one by one": {`{"labels":{"env":"prod","team":"core"}}`, `{"labels":{"env":"dev","tier":"1"}}`,
			[]string{"Labels › env: was prod", "Labels › env: now dev", "Labels › team: removed core", "Labels › tier: added 1"}},
		"lists are told by their entries":     {`{"allowed_cidrs":["a","b"]}`, `{"allowed_cidrs":["b","c"]}`, []string{"Allowed networks: removed a", "Allowed networks: added c"}},
		"another order is told too":           {`{"columns":["a","b"]}`, `{"columns":["b","a"]}`, []string{"Columns: was a, b", "Columns: now b, a"}},
		"an entry there twice is missed once": {`{"columns":["a","a"]}`, `{"columns":["a"]}`, []string{"Columns: removed a"}},
		"entries with ids are compared": {`{"secrets":[{"id":"s1"},{"id":"s2"}]}`, `{"secrets":[{"id":"s1","expires_at":"2030-01-02T03:04:05Z"},{"id":"s3"}]}`,
			[]string{"Secrets › s1 › Expires: added 2 Jan 2030, 03:04:05 UTC", "Secrets › s2: removed nothing", "Secrets › s3: added nothing"}},
		"a list that came is told by entries": {`{}`, `{"allowed_cidrs":["a","b"]}`, []string{"Allowed networks: added a", "Allowed networks: added b"}},
		"what was null has a value":           {`{"ended_at":null}`, `{"ended_at":"2030-01-02T03:04:05.678Z"}`, []string{"Ended at: was none", "Ended at: now 2 Jan 2030, 03:04:05 UTC"}},
		"durations are spelled":               {`{"session_validity_seconds":60}`, `{"session_validity_seconds":3600}`, []string{"Session validity: was 1 minute", "Session validity: now 1 hour"}},
		"numbers stay as they are":            {`{"n":9007199254740993}`, `{"n":9007199254740992}`, []string{"N: was 9007199254740993", "N: now 9007199254740992"}},
		"a new record is told whole":          {`null`, `{"name":"a","description":"","labels":{"env":"x"},"allowed_cidrs":[]}`, []string{"Labels › env: set x", "Name: set a"}},
		"one that is gone, too":               {`{"name":"a","labels":{}}`, `null`, []string{"Labels: was nothing", "Name: was a"}},
		"a member of another kind":            {`{"x":{"a":1}}`, `{"x":[1]}`, []string{`X: was {"a":1}`, "X: now [1]"}},
		"order of members is no difference":   {`{"a":1,"b":2}`, `{"b":2,"a":1}`, nil},
		"an empty text is none but empty":     {`{"description":"x"}`, `{"description":""}`, []string{"Description: was x", "Description: now empty"}},
		"what is no record tells nothing":     {`null`, `null`, nil},
		"a record that is none is shown":      {`1`, `{"\u00e4":2,"":3}`, []string{`Record: was 1`, `Record: now {"":3,"ä":2}`}},
		"a name may be anything":              {`{}`, `{"äx":2,"":3}`, []string{`: added 3`, `Äx: added 2`}},
		"hidden characters are shown":         {`{"name":"a"}`, `{"name":"a\u202eb\u0000"}`, []string{"Name: was a", "Name: now a[U+202E]b[U+0000]"}},
	} {
		require.Equal(t, c.want, told(diffOf(json.RawMessage(c.before), json.RawMessage(c.after), names)), rule)
	}
}

func TestADiffHasAnEnd(t *testing.T) {
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf(`"r%03d":["read"]`, i))
	}
	d := diffOf(json.RawMessage(`{"permissions":{}}`), json.RawMessage(`{"permissions":{`+strings.Join(many, ",")+`}}`), lifecycle.AuditNames{})
	require.Len(t, d.Members, maxDifferences)
	require.Equal(t, 100, d.More)
	require.Equal(t, "Permissions changed", d.Summary())

	deep := strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000)
	require.Len(t, diffOf(nil, json.RawMessage(deep), lifecycle.AuditNames{}).Members, 1)
}

func TestADiffIsSummedUpByItsMembers(t *testing.T) {
	of := func(before, after string) string {
		return diffOf(json.RawMessage(before), json.RawMessage(after), lifecycle.AuditNames{}).Summary()
	}
	require.Equal(t, "Enabled changed", of(`{"enabled":true}`, `{"enabled":false}`))
	require.Equal(t, "Description, labels and role changed", of(`{"labels":{"a":"1","b":"1"},"role_id":"x"}`, `{"labels":{"a":"2"},"role_id":"y","description":"z"}`))
	require.Equal(t, "Details", of(`null`, `{"a":1}`))
	require.Equal(t, "What it was", of(`{"a":1}`, `null`))
}

func TestEveryActionHasWords(t *testing.T) {
	for _, g := range deedGroups {
		require.Equal(t, g.Title+": everything", actionTitle(g.Prefix))
		for _, d := range g.Deeds {
			require.True(t, strings.HasPrefix(d.Action, g.Prefix), d.Action)
			require.NotEmpty(t, icons[d.Icon], d.Action)
			require.Equal(t, d.Title, actionTitle(d.Action))
		}
	}
	require.Equal(t, "made.up", actionTitle("made.up"))
}

func TestWhatCameOfAnEventIsToldInWords(t *testing.T) {
	for _, c := range []struct {
		event   lifecycle.AuditEvent
		did     string
		outcome string
		refused bool
	}{
		{lifecycle.AuditEvent{Action: "key.lock", After: json.RawMessage(`{"scope":"source","source":"192.0.2.0/24","failed_attempts":3,"locked_until":"2030-01-02T03:04:05Z"}`)},
			"locked the key", "after 3 wrong secrets, until 2 Jan 2030, 03:04:05 UTC, for callers in 192.0.2.0/24 alone", false},
		{lifecycle.AuditEvent{Action: "source.sync", After: json.RawMessage(`{"refused":"client_id_taken","dry_run":true}`)},
			"pushed the keys of the source", "the list named client IDs that other keys have (client_id_taken); it was a dry run", true},
		{lifecycle.AuditEvent{Action: "source.sync", After: json.RawMessage(`{"created":2,"updated":0,"unchanged":1,"removed":3}`)},
			"pushed the keys of the source", "2 created, 3 removed, 1 unchanged", false},
		{lifecycle.AuditEvent{Action: "session.end", Actor: lifecycle.AuditActor{Kind: "key"}, After: json.RawMessage(`{"end_reason":"sign_out"}`)},
			"signed out of a session of the key", "", false},
		{lifecycle.AuditEvent{Action: "session.end", Actor: lifecycle.AuditActor{Kind: "session"}, After: json.RawMessage(`{"end_reason":"admin"}`)},
			"ended a session of the key", "by an administrator", false},
		{lifecycle.AuditEvent{Action: "key.update", Changes: []string{"disabled_here"}, After: json.RawMessage(`{"disabled_here":true}`)}, "disabled here the key", "", false},
		{lifecycle.AuditEvent{Action: "microtenant.update", Changes: []string{"enabled"}, After: json.RawMessage(`{"enabled":true}`)}, "enabled the microtenant", "", false},
		{lifecycle.AuditEvent{Action: "key.unlock", After: json.RawMessage(`{"reason":"called back"}`)}, "unlocked the key", "Reason: called back", false},
		{lifecycle.AuditEvent{Action: "key.lock", After: json.RawMessage(`null`)}, "locked the key", "after some wrong secrets", false},
	} {
		did, _, _ := whatWasDone(&c.event)
		outcome, refused := outcomeOf(&c.event)
		require.Equal(t, []any{c.did, c.outcome, c.refused}, []any{did, outcome, refused})
	}
}
