// Package sheet writes CSV (RFC 4180) that no spreadsheet takes for anything but
// text: what an attacker puts into a name must not be evaluated by whoever opens
// an export of it.
package sheet

import (
	"encoding/csv"
	"io"
	"strings"
	"unicode"
)

// Writer writes rows of neutral cells.
type Writer struct{ csv *csv.Writer }

// NewWriter writes to w; crlf ends rows as RFC 4180 section 2 does.
func NewWriter(w io.Writer, crlf bool) Writer {
	c := csv.NewWriter(w)
	c.UseCRLF = crlf
	return Writer{c}
}

// Row adds one row.
func (w Writer) Row(cells []string) error {
	safe := make([]string, len(cells))
	for i, c := range cells {
		safe[i] = Neutral(c)
	}
	return w.csv.Write(safe)
}

// Flush sends what was added on its way.
func (w Writer) Flush() error {
	w.csv.Flush()
	return w.csv.Error()
}

// formula begins what a spreadsheet evaluates (OWASP, CSV injection), in the full
// width of East Asian input too.
const formula = "=+-@\t\r＝＋－＠"

// Neutral puts an apostrophe before a cell that a spreadsheet would evaluate,
// also behind white space and invisible characters, which some of them skip.
func Neutral(cell string) string {
	for _, r := range cell {
		if strings.ContainsRune(formula, r) {
			return "'" + cell
		}
		if !unicode.IsSpace(r) && !unicode.IsControl(r) && !unicode.Is(unicode.Cf, r) {
			break
		}
	}
	return cell
}
