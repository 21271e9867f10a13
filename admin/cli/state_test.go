package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// readAll is what a state file holds: each record as section and members.
func readAll(text string) (items []string, err error) {
	file := &stateFile{name: "state", text: []byte(text)}
	var faults []error
	err = file.walk(stateVisitor{section: func(*stateKind) {}, item: func(i stateItem, found []error) error {
		faults = append(faults, found...)
		items = append(items, fmt.Sprint(i.at, " ", i.want))
		return nil
	}})
	if err == nil && len(faults) > 0 {
		err = faults[0]
	}
	return items, err
}

func TestAStateFileIsReadInEveryUsualSpelling(t *testing.T) {
	t.Parallel()
	want := []string{"customers[0] map[enabled:true id:acme]", "customers[1] map[id:globex]", "keys[0] map[client_id:ci name:a]", "keys[1] map[name:b]"}
	for name, text := range map[string]string{
		"indented":     "version: 1\ncustomers:\n  - id: acme\n    enabled: true\n  - id: globex\nkeys:\n  - client_id: ci\n    name: a\n  - name: b\n",
		"not indented": "version: 1\ncustomers:\n- id: acme\n  enabled: true\n- id: globex\nkeys:\n- client_id: ci\n  name: a\n- name: b",
		"flow items":   "version: 1\ncustomers:\n- {id: acme, enabled: true}\n- {id: globex}\nkeys:\n- {client_id: ci,\n   name: a}\n- {name: b}\n",
		"flow lists":   "version: 1\ncustomers: [{id: acme, enabled: true}, {id: globex}]\nkeys: [\n  {client_id: ci, name: a},\n  {name: b},\n]\n",
		"comments":     "# all of it\n---\nversion: 1 # the only one\n\n# who\ncustomers: # list\n  # first\n  - id: acme # !\n# margin\n    enabled: true\n\n  # second\n  - id: globex\nkeys:\n\n  - client_id: ci\n\n    name: a\n  - name: b\n",
		"a dash alone": "version: 1\ncustomers:\n  -\n    id: acme\n    enabled: true\n  - id: globex\nkeys:\n  - client_id: ci\n    name: a\n  -\n    name: b\n",
		"quoted":       "\"version\": 1\n\"customers\":\n  - \"id\": \"acme\"\n    enabled: true\n  - id: 'globex'\nkeys:\n  - client_id: ci\n    name: >-\n      a\n  - name: |-\n      b\n",
		"CRLF, BOM":    "\ufeffversion: 1\r\ncustomers:\r\n  - id: acme\r\n    enabled: true\r\n  - id: globex\r\nkeys:\r\n  - client_id: ci\r\n    name: a\r\n  - name: b\r\n",
		"JSON":         `{"version":1,"customers":[{"id":"acme","enabled":true},{"id":"globex"}],"keys":[{"client_id":"ci","name":"a"},{"name":"b"}]}`,
	} {
		got, err := readAll(text)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
}

func TestABadStateFileIsRefusedNamingThePlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, says string }{
		{"customers: []\n", "version is missing"},
		{"version: 2\n", "version is 2, this program reads version 1"},
		{"version: one\n", "reads version 1"},
		{"{\"version\":1,\"version\":1}", "version is given twice"},
		{"version: 1\nkeys: []\nkeys: []\n", "line 3: keys is given twice"},
		{"version: 1\npeople: []\n", "there is no member \"people\""},
		{"version: 1\ncomplete: true\nkeys: []\n", "line 3: keys stands behind complete"},
		{`{"version":1,"complete":true,"keys":[]}`, "keys stands behind complete"},
		{"version: 1\ncomplete: false\n", "line 2: complete must be true"},
		{"version: 1\ncomplete: 'true'\n", "complete must be true"},
		{"version: 1\ncomplete:\n", "complete must be true"},
		{`{"version":1,"complete":null}`, "complete must be true"},
		{"version: 1\nkeys: []\nroles: []\n", "roles must stand before keys"},
		{"version: 1\nkeys:\n  - name: a\n    rol: x\n", "keys[0].rol does not exist"},
		{"version: 1\nkeys:\n  - name: a\n  - client_id: b\n", "keys[1].name is missing"},
		{"version: 1\nkeys:\n  - name: ''\n", "keys[0].name is empty"},
		{"version: 1\nkeys:\n  - name: 7\n", "keys[0].name must be text"},
		{"version: 1\nkeys:\n  - name: 2030-01-01\n", "keys[0].name must be text"},
		{"version: 1\nkeys:\n  - name: a\n    enabled: 'true'\n", "keys[0].enabled must be true or false"},
		{"version: 1\nkeys:\n  - name: a\n    enabled: null\n", "keys[0].enabled cannot be null"},
		{"version: 1\nkeys:\n  - name: a\n    session_validity_seconds: 1.5\n", "must be a whole number"},
		{"version: 1\nkeys:\n  - name: a\n    expires_at: soon\n", "keys[0].expires_at must be a time"},
		{"version: 1\nkeys:\n  - name: a\n    allowed_cidrs: [here]\n", "expected networks"},
		{"version: 1\nkeys:\n  - name: a\n    labels: {a: 1}\n", "put it in quotes"},
		{"version: 1\nroles:\n  - name: a\n    permissions: {x: some}\n", "neither full nor view"},
		{"version: 1\nkeys:\n  - name: a\n    name: b\n", "\"name\" is given twice"},
		{`{"version":1,"keys":[{"name":"a","name":"b"}]}`, "\"name\" is given twice"},
		{"version: 1\nkeys:\n  - just text\n", "keys[0] must have members"},
		{"version: 1\nkeys:\n  name: a\n", "line 3: expected a list"},
		{"version: 1\nkeys: text\n", "keys must be a list"},
		{`{"version":1,"keys":{}}`, "keys must be a list"},
		{"version: 1\nkeys:\n  - &x {name: a}\n  - *x\n", "line 4"},
		{"version: 1\nkeys:\n  - {name: a, labels: &x {}, allowed_cidrs: *x}\n", "aliases"},
		{"version: 1\nkeys:\n  - name: \"a\n  - b\"\n", "not YAML"},
		{"version: 1\nkeys:\n  - name: a\n---\nversion: 1\n", "line 4: expected a single document"},
		{"  - name: a\n", "line 1: expected a list"},
		{"\n\n  x: y\n", "line 3"},
		{"- name: a\n", "line 1: expected a member"},
		{"{\"version\":1,\n\"keys\":[{\"name\":}]}", "line 2"},
		{"{\"version\":1} x", "follows the end"},
		{"", "version is missing"},
	} {
		_, err := readAll(c.text)
		require.Error(t, err, c.text)
		require.Contains(t, err.Error(), c.says, c.text)
	}
}

func TestWhateverIsWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ \n\t:#'"|>&*!%@\-\[\]{},a0~]{0,40}`), rapid.SampledFrom([]string{"yes", "null", "1e3", "- x", "2030-01-01", "\n  - a\n", "a\n\n   \nb", " \n", "keys:\n- a"}))
		count := rapid.IntRange(0, 4).Draw(t, "records")
		for _, form := range []string{formYAML, formJSON} {
			var b bytes.Buffer
			w := (&console{out: outputFlag{form: form}}).newStateWriter(&b)
			var want []string
			require.NoError(t, w.begin())
			require.NoError(t, w.section(customersSection))
			require.NoError(t, w.endSection())
			require.NoError(t, w.section(keysSection))
			for i := range count {
				name, description, label := "n"+text.Draw(t, "name"), text.Draw(t, "description"), text.Draw(t, "label")
				if strings.ToValidUTF8(name+description+label, "") != name+description+label {
					t.Skip("names are UTF-8")
				}
				require.NoError(t, w.item([]stateField{{"name", name}, {"description", description}, {"labels", map[string]any{"x": label}}}))
				at := fmt.Sprintf("keys[%d]", i)
				record, faults := kindOf(keysSection).read(at, map[string]any{"name": name, "description": description, "labels": map[string]any{"x": label}})
				require.Empty(t, faults)
				want = append(want, fmt.Sprint(at, " ", record))
			}
			require.NoError(t, w.endSection())
			require.NoError(t, w.end())
			got, err := readAll(b.String())
			require.NoError(t, err, b.String())
			require.Equal(t, want, got, b.String())
		}
	})
}
