package page

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// deed is an action of the audit trail in words.
type deed struct {
	Action string
	// Did stands between who and what: `operator [created the key] nightly`.
	Did string
	// Title is its name in the filter.
	Title, Icon string
}

// deedGroups are all actions by what they are about. Each group can be asked for as
// a whole, by its prefix.
var deedGroups = []struct {
	Title, Prefix string
	Deeds         []deed
}{
	{"Keys", "key.", []deed{
		{"key.create", "created the key", "Key created", "plus"},
		{"key.update", "changed the key", "Key changed", "edit"},
		{"key.delete", "deleted the key", "Key deleted", "trash"},
		{"key.rotate", "created a new secret for the key", "New secret created", "refresh"},
		{"key.lock", "locked the key", "Key locked", "lock"},
		{"key.unlock", "unlocked the key", "Key unlocked", "unlock"},
		{"key.end_sessions", "ended all sessions of the key", "All sessions of a key ended", "out"},
	}},
	{"Secrets", "secret.", []deed{{"secret.retire", "retired a secret of the key", "Secret retired", "minus"}}},
	{"Sessions", "session.", []deed{{"session.end", "ended a session of the key", "Session ended", "out"}}},
	{"Roles", "role.", []deed{
		{"role.create", "created the role", "Role created", "plus"},
		{"role.update", "changed the role", "Role changed", "edit"},
		{"role.delete", "deleted the role", "Role deleted", "trash"},
	}},
	{"Sources", "source.", []deed{
		{"source.create", "created the source", "Source created", "plus"},
		{"source.update", "changed the source", "Source changed", "edit"},
		{"source.delete", "deleted the source", "Source deleted", "trash"},
		{"source.sync", "pushed the keys of the source", "Keys of a source pushed", "link"},
	}},
	{"Microtenants", "microtenant.", []deed{
		{"microtenant.create", "created the microtenant", "Microtenant created", "plus"},
		{"microtenant.update", "changed the microtenant", "Microtenant changed", "edit"},
		{"microtenant.delete", "deleted the microtenant", "Microtenant deleted", "trash"},
	}},
	{"Customers", "customer.", []deed{
		{"customer.create", "created the customer", "Customer created", "plus"},
		{"customer.update", "changed the customer", "Customer changed", "edit"},
		{"customer.delete", "deleted the customer", "Customer deleted", "trash"},
	}},
	{"Shared views", "view.", []deed{
		{"view.create", "created the shared view", "Shared view created", "plus"},
		{"view.update", "changed the shared view", "Shared view changed", "edit"},
		{"view.delete", "deleted the shared view", "Shared view deleted", "trash"},
	}},
	{"Nodes", "node.", []deed{{"node.forget", "forgot the node", "Node forgotten", "server"}}},
	{"Key store", "store.", []deed{
		{"store.restore_replay", "revoked again what a restore had brought back in the", "Revoked again after a restore", "refresh"},
		{"store.accept_restore", "accepted the restored", "Restored key store accepted", "shield"},
	}},
	{"Signing keys", "signing_key.", []deed{
		{"signing_key.create", "created the signing key", "Signing key created", "plus"},
		{"signing_key.extend", "extended the time of the signing key", "Signing key used for longer", "refresh"},
		{"signing_key.rewrap", "sealed anew, under the current master key, the signing key", "Signing key sealed anew", "shield"},
	}},
}

// deedsByAction are those of deedGroups by their action.
var deedsByAction = func() map[string]deed {
	all := map[string]deed{}
	for _, g := range deedGroups {
		for _, d := range g.Deeds {
			all[d.Action] = d
		}
	}
	return all
}()

// actionTitle is an action, or all of a kind, in words; one that is not known as it is.
func actionTitle(action string) string {
	if d, known := deedsByAction[action]; known {
		return d.Title
	}
	for _, g := range deedGroups {
		if g.Prefix == action {
			return g.Title + ": everything"
		}
	}
	return visible(action)
}

// switched are the verbs of changes that do nothing but switch something.
var switched = map[string][2]string{
	"enabled":       {"disabled", "enabled"},
	"disabled_here": {"lifted the disabling here of", "disabled here"},
}

// whatWasDone is the verb of an event; known is false for an action without words.
func whatWasDone(e *lifecycle.AuditEvent) (did, icon string, known bool) {
	d, known := deedsByAction[e.Action]
	if !known {
		return visible(e.Action), "info", false
	}
	if e.Action == "session.end" && e.Actor.Kind == keystore.ActorKey && member(e.After, "end_reason") == "sign_out" {
		return "signed out of a session of the key", d.Icon, true
	}
	if kind, _, _ := strings.Cut(e.Action, "."); strings.HasSuffix(e.Action, ".update") && len(e.Changes) == 1 {
		if verbs, is := switched[e.Changes[0]]; is {
			if member(e.After, e.Changes[0]) == true {
				return verbs[1] + " the " + kind, d.Icon, true
			}
			return verbs[0] + " the " + kind, d.Icon, true
		}
	}
	return d.Did, d.Icon, true
}

// outcomeOf is what came of it beyond that it was done. refused: nothing was done.
func outcomeOf(e *lifecycle.AuditEvent) (text string, refused bool) {
	record, _ := decode(e.After)
	after, _ := record.(map[string]any)
	switch e.Action {
	case "key.lock":
		text = "after some wrong secrets"
		if n, ok := after["failed_attempts"].(json.Number); ok {
			text = "after " + n.String() + " wrong secrets" + lastFrom(e) + ", until " + stampText(after["locked_until"])
		}
		if source, _ := after["source"].(string); source != "" {
			text += ", for callers in " + visible(source) + " alone"
		}
	case "key.unlock":
		if reason, _ := after["reason"].(string); reason != "" {
			text = "Reason: " + visible(reason)
		}
	case "session.end":
		if reason, _ := after["end_reason"].(string); reason != "" && reason != "sign_out" {
			text = endReason(reason)
		}
	case "source.sync":
		if code, _ := after["refused"].(string); code != "" {
			text = "the list named client IDs that other keys have (" + visible(code) + ")"
			if after["dry_run"] == true {
				text += "; it was a dry run"
			}
			return text, true
		}
		var parts []string
		for _, name := range []string{"created", "updated", "removed", "unchanged"} {
			if n := after[name]; n != nil && fmt.Sprint(n) != "0" {
				parts = append(parts, fmt.Sprint(n, " ", name))
			}
		}
		text = visible(strings.Join(parts, ", "))
	}
	return text, false
}

// lastFrom is where the last of the wrong secrets came from.
func lastFrom(e *lifecycle.AuditEvent) string {
	if e.Actor.Address == "" {
		return ""
	}
	return ", the last from " + visible(e.Actor.Address)
}

// actorKinds is how an actor came in.
var actorKinds = map[string]string{
	keystore.ActorKey:     "API key",
	keystore.ActorSession: "signed in here",
	keystore.ActorLocal:   "at the machine",
	keystore.ActorSystem:  "by itself",
}

var targetKinds = []struct{ kind, title string }{
	{"key", "Key"}, {"session", "Session"}, {"role", "Role"}, {"source", "Source"}, {"microtenant", "Microtenant"},
	{"customer", "Customer"}, {"view", "Shared view"}, {"signing_key", "Signing key"},
}

// endReasons are those of sessions.
var endReasons = map[string]string{
	"sign_out":            "signed out",
	"admin":               "by an administrator",
	keystore.EndPushedOut: "to make room for newer ones of the key",
	"sessions_ended":      "with all others of the key or its tenant",
	"secret_ended":        "with the secret that it was opened with",
	"revoked":             "by its client",
}

func endReason(code string) string {
	if text, known := endReasons[code]; known {
		return text
	}
	return visible(code)
}

// memberTitles are members of records whose names do not speak for themselves.
var memberTitles = map[string]string{
	"client_id": "Client ID", "customer_id": "Customer", "microtenant_id": "Microtenant", "role_id": "Role", "max_role_id": "Highest role",
	"enabled": "Enabled", "disabled_here": "Disabled here", "session_validity_seconds": "Session validity", "expires_at": "Expires",
	"allowed_cidrs": "Allowed networks", "secret_ids": "Secrets", "session_generation": "Session generation", "key_id": "Key",
	"secret_id": "Secret", "master_key_id": "Master key", "retired_at": "Retired", "locked_until": "Locked until", "rule": "Rule for its keys",
}

// memberTitle is a member's name in words. Names below the outermost are people's
// own, such as those of labels, unless they are known.
func memberTitle(name string, outermost bool) string {
	if title, known := memberTitles[name]; known && (outermost || strings.HasSuffix(name, "_at")) {
		return title
	}
	if !outermost || name == "" {
		return visible(name)
	}
	return initial(strings.ReplaceAll(visible(name), "_", " "), unicode.ToUpper)
}

// initial changes the first letter of a text.
func initial(text string, change func(rune) rune) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 || first == utf8.RuneError {
		return text
	}
	return string(change(first)) + text[size:]
}

// visible shows characters that would change how the text around them is read, or
// not be seen, by their numbers.
func visible(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return strings.ToValidUTF8(text, "\ufffd")
	}
	var out strings.Builder
	for _, r := range strings.ToValidUTF8(text, "\ufffd") {
		if hidden(r) {
			fmt.Fprintf(&out, "[U+%04X]", r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// joiners are invisible and part of words and emoji.
var joiners = []rune{'\u200c', '\u200d'}

func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && !slices.Contains(joiners, r)
}
