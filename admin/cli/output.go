package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"github.com/keyreeve/keyreeve/admin/sheet"
)

// The forms of output. JSON is what the API answered, byte for byte; YAML is
// the same in other clothes; table is for reading and may change; CSV has a
// fixed set of columns, to which later versions only append.
const (
	formTable = "table"
	formJSON  = "json"
	formYAML  = "yaml"
	formCSV   = "csv"
)

var forms = []string{formTable, formJSON, formYAML, formCSV}

// outputFlag is -o.
type outputFlag struct{ form string }

func (f *outputFlag) register(flags *pflag.FlagSet) {
	flags.StringVarP(&f.form, "output", "o", formTable, "form of the output: "+strings.Join(forms, ", "))
}

func (f *outputFlag) check() error {
	if !slices.Contains(forms, f.form) {
		return usagef("unknown output form %q, expected %s", printable(f.form), strings.Join(forms, ", "))
	}
	return nil
}

// writeJSON writes the API's answer unchanged, ended by a newline.
func writeJSON(w io.Writer, body []byte) error {
	_, err := w.Write(append(bytes.TrimRight(body, "\n"), '\n'))
	return err
}

// writeYAML writes JSON as YAML, its members in the same order.
func writeYAML(w io.Writer, body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	node, err := yamlNode(dec)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(node); err != nil {
		return err
	}
	return enc.Close()
}

// yamlNode turns the next JSON value into a YAML node.
func yamlNode(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		node := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if v == '[' {
			node.Kind, node.Tag = yaml.SequenceNode, "!!seq"
		}
		for dec.More() { // for an object, names and values in turn
			child, err := yamlNode(dec)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, child)
		}
		_, err := dec.Token()
		return node, err
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(v.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: v.String()}, nil
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	case string:
		return textNode(v), nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}, nil
	}
}

// textNode is a text in YAML. The encoder knows when one needs quotes, but not
// that a block cannot begin with white space or hold a tab in its margin.
func textNode(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.TrimSpace(line) != line || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			node.Style = yaml.DoubleQuotedStyle
		}
	}
	if strings.HasPrefix(text, "\n") || strings.HasSuffix(text, "\n") {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

// csvWriter writes rows whose cells no spreadsheet takes for a formula.
type csvWriter struct{ sheet.Writer }

func newCSV(w io.Writer) csvWriter { return csvWriter{sheet.NewWriter(w, false)} }

// all writes rows and sends them on their way.
func (w csvWriter) all(rows [][]string) error {
	for _, r := range rows {
		if err := w.Row(r); err != nil {
			return err
		}
	}
	return w.Flush()
}

// writeTable writes rows under a header, or without one where header is nil.
func writeTable(w io.Writer, header []string, rows [][]string) error {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	if header != nil {
		t.AppendHeader(tableRow(header))
	}
	for _, r := range rows {
		t.AppendRow(tableRow(r))
	}
	_, err := io.WriteString(w, t.Render()+"\n")
	return err
}

func tableRow(cells []string) table.Row {
	row := make(table.Row, len(cells))
	for i, c := range cells {
		row[i] = c
	}
	return row
}

// colours reports whether w is a terminal that shows them: never with NO_COLOR
// set to anything (no-color.org), nor on a dumb one.
func (s *console) colours(w io.Writer) bool {
	return isTerminal(w) && s.env.Getenv("NO_COLOR") == "" && s.env.Getenv("TERM") != "dumb"
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// paint colours a key's state.
func paint(state string) string {
	code := map[string]string{"active": "32", "disabled": "90", "locked": "31", "expired": "33", "ended": "90", "live": "32", "expiring": "33", "retired": "90", "serving": "32", "lagging": "33", "refusing": "31", "stopped": "90"}[state]
	if code == "" {
		return state
	}
	return "\x1b[" + code + "m" + state + "\x1b[0m"
}

// printable makes text from elsewhere safe for a terminal: what could move the
// cursor, ring, or turn the direction of writing is shown, not sent.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// printableLines is printable for a text of several lines.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = printable(l)
	}
	return strings.Join(lines, "\n")
}
