package page

import (
	"html/template"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

func TestMarkupWritesTextAsTemplatesDo(t *testing.T) {
	in := template.Must(template.New("").Parse(`<a title="{{.}}">{{.}}</a>`))
	texts := []string{"", "plain", `<script>alert("x")</script>`, `" onmouseover='x'`, "a+b&amp;c", "é “…” \u202e 日本", "\xff<\xc3", "ends in <"}
	for i := range 256 {
		texts = append(texts, "a"+string([]byte{byte(i)})+"b")
	}
	for _, text := range texts {
		var want strings.Builder
		require.NoError(t, in.Execute(&want, text))
		require.Equal(t, want.String(), string(written(func(m *markup) { m.raw(`<a title="`).text(text).raw(`">`).text(text).raw(`</a>`) })), "%q", text)
	}
}

// hostileRow is a key of which every text tries to get out of where it stands.
func hostileRow(text string) keyRow {
	at, seconds := time.Now(), int64(60)
	return keyRow{Role: text, Customer: text, Microtenant: text, Why: text, Until: &at, Validity: text, Tags: []string{text}, ExpiresSoon: true,
		Key: lifecycle.Key{ID: text, Name: text, ClientID: text, Description: text, Source: &text, State: text, Enabled: true, SessionValiditySeconds: &seconds,
			LastUsedAt: &at, ExpiresAt: &at, Secrets: []lifecycle.Secret{{Hint: text}}}}
}

func TestNoTextOfAKeyGetsOutOfItsPlaceInTheTable(t *testing.T) {
	const text = `"'><script>x</script>`
	full := keyMenus{unlock: true, update: true, endSessions: true, remove: true}
	of := func(text string) string {
		d := &keyTable{Rows: []keyRow{hostileRow(text)}}
		for _, c := range keyColumns {
			d.Columns = append(d.Columns, header{column: c})
		}
		return string(d.Body(full, true) + d.Changing(full))
	}
	hostile := of(text)
	lacks(t, hostile, "<script")
	holds(t, hostile, "&lt;script&gt;")
	// What is left are the very elements and quotes that a tame row has.
	tame := of("tame")
	for _, mark := range []string{"<", ">", `"`, "'"} {
		require.Equal(t, strings.Count(tame, mark), strings.Count(hostile, mark), mark)
	}
}

func TestEachColumnHasACellThatSaysWhichItIs(t *testing.T) {
	for _, row := range []keyRow{hostileRow("text"), {Key: lifecycle.Key{ID: "key_1", State: keystore.StateActive}}} {
		for _, c := range keyColumns {
			cell := string(written(func(m *markup) { m.keyCell(c.ID, &row) }))
			holds(t, cell, ` data-title="`+c.Title+`"`)
			require.Equal(t, strings.Count(cell, "<td")+strings.Count(cell, "<th"), strings.Count(cell, "</td>")+strings.Count(cell, "</th>"), cell)
			require.Equal(t, strings.Count(cell, "<span"), strings.Count(cell, "</span>"), cell)
		}
	}
}
