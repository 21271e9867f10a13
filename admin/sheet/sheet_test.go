package sheet

import (
	"encoding/csv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestWhatASpreadsheetWouldEvaluateIsNeutral(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string]string{
		"": "", "plain": "plain", "a=b": "a=b", "1-2": "1-2", " padded": " padded", "\nline": "\nline",
		"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "\rx": "'\rx",
		"  =1": "'  =1", "\n=1": "'\n=1", "\u00a0=1": "'\u00a0=1", "\ufeff=1": "'\ufeff=1", "\u200b@x": "'\u200b@x", "\x00=1": "'\x00=1",
		"＝1": "'＝1", "'=1": "'=1", `{"a":1}`: `{"a":1}`,
	} {
		require.Equal(t, want, Neutral(cell), "%q", cell)
	}
}

// TestRowsReadBackAsTheyWere: whatever the cells hold, a reader of RFC 4180 gets
// them back, apart from the apostrophe.
func TestRowsReadBackAsTheyWere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Readers turn CRLF inside a cell into LF.
		cell := rapid.StringOf(rapid.RuneFrom([]rune("ab ,;\"'\n=+-@\té")))
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, 2, 2), 1, 5).Draw(t, "rows")
		var out strings.Builder
		w := NewWriter(&out, rapid.Bool().Draw(t, "crlf"))
		for _, r := range rows {
			require.NoError(t, w.Row(r))
		}
		require.NoError(t, w.Flush())
		got, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
		require.NoError(t, err)
		require.Len(t, got, len(rows))
		for i := range rows {
			for j := range rows[i] {
				require.Equal(t, Neutral(rows[i][j]), got[i][j])
			}
		}
	})
}
