package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A YAML document can only be read whole, and takes some twenty times its size
// then. So a state file is cut into its items first, by their indentation, and
// each is read alone: block lists of the usual form under the members of the
// file. What is written otherwise (an anchor used in another item, a quoted text
// that runs over into the margin) is refused, never misread: a piece cut in the
// wrong place is not YAML.

// topMember is a member of the file: a name in the first column.
var topMember = regexp.MustCompile(`^"?([A-Za-z_]+)"?[ \t]*:(?:[ \t]+(.*)|)$`)

// yamlCutter cuts a state file.
type yamlCutter struct {
	walk *stateWalk
	// piece is what is being gathered, begun in line start.
	piece bytes.Buffer
	start int
	// inline: the piece is the value of a member that begins in its own line.
	inline, plain bool
	// indent is that of the section's items, -1 before the first.
	indent int
	// open: a list may follow.
	open bool
}

// yaml reads a file in YAML.
func (w *stateWalk) yaml(text []byte) error {
	c := &yamlCutter{walk: w, indent: -1}
	number := 0
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		number++
		if err := c.line(number, strings.TrimSuffix(string(line), "\r")); err != nil {
			return err
		}
	}
	return c.flush()
}

func (c *yamlCutter) line(number int, line string) error {
	bare := strings.TrimLeft(line, " ")
	indent := len(line) - len(bare)
	switch {
	case strings.TrimSpace(bare) == "":
		if c.piece.Len() > 0 {
			c.gather(line) // it may be part of a text
		}
		return nil
	case indent == 0 && bare[0] == '#':
		return nil
	case indent == 0 && bare == "---" && len(c.walk.seen) == 0:
		return nil
	case indent == 0 && (bare[0] == '%' || strings.HasPrefix(bare, "---") || strings.HasPrefix(bare, "...")):
		return fmt.Errorf("line %d: expected a single document without directives", number)
	case indent == 0 && strings.ContainsRune("]}", rune(bare[0])) && c.inline:
		c.gather(line)
		return nil
	case c.open && isItem(bare) && (c.indent < 0 || c.indent == indent):
		if err := c.flush(); err != nil {
			return err
		}
		c.indent, c.start = indent, number
		c.gather(line)
		return nil
	case indent == 0:
		return c.member(number, bare)
	case c.piece.Len() == 0 && bare[0] == '#':
		return nil
	case c.piece.Len() == 0 || (!c.inline && indent <= c.indent && bare[0] != '#'):
		return fmt.Errorf("line %d: expected a list: lines that begin with a dash", number)
	}
	c.gather(line)
	return nil
}

func isItem(bare string) bool { return bare == "-" || strings.HasPrefix(bare, "- ") }

func (c *yamlCutter) gather(line string) {
	c.piece.WriteString(line)
	c.piece.WriteByte('\n')
}

// member is the beginning of a member of the file.
func (c *yamlCutter) member(number int, line string) error {
	if err := c.flush(); err != nil {
		return err
	}
	found := topMember.FindStringSubmatch(line)
	if found == nil {
		return fmt.Errorf("line %d: expected a member such as keys: in the first column", number)
	}
	plain, err := c.walk.begin(found[1])
	if err != nil {
		return fmt.Errorf("line %d: %w", number, err)
	}
	value := strings.TrimSpace(found[2])
	c.plain, c.indent, c.start = plain, -1, number
	c.inline = plain || (value != "" && value[0] != '#')
	c.open = !c.inline
	if c.inline {
		c.gather(line)
	}
	return nil
}

// flush reads the piece that was gathered.
func (c *yamlCutter) flush() error {
	defer c.piece.Reset()
	if len(bytes.TrimSpace(c.piece.Bytes())) == 0 {
		return nil
	}
	value, err := yamlValue(c.piece.Bytes())
	if err == nil {
		err = c.take(value)
	}
	if err != nil {
		return fmt.Errorf("line %d: %w", c.start, err)
	}
	return nil
}

func (c *yamlCutter) take(value any) error {
	if !c.inline {
		list, ok := value.([]any)
		if !ok || len(list) != 1 {
			return fmt.Errorf("%s[%d] is not one item", c.walk.kind.name, c.walk.count)
		}
		return c.walk.take(list[0])
	}
	members, ok := value.(map[string]any)
	if !ok || len(members) != 1 {
		return errors.New("expected a member and its value")
	}
	for _, inner := range members {
		if c.plain {
			return c.walk.plain(inner)
		}
		list, ok := inner.([]any)
		if inner != nil && !ok {
			return fmt.Errorf("%s must be a list", c.walk.kind.name)
		}
		for _, one := range list {
			if err := c.walk.take(one); err != nil {
				return err
			}
		}
	}
	return nil
}

// yamlValue is a document as the values that a reader of JSON gives, but that
// times stay times: what is not in quotes is not text.
func yamlValue(text []byte) (any, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, errors.New("not YAML: " + strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) != 1 {
		return nil, nil
	}
	return nodeValue(doc.Content[0])
}

func nodeValue(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, child := range n.Content {
			var err error
			if list[i], err = nodeValue(child); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.MappingNode:
		members := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i]
			if name.Kind != yaml.ScalarNode || name.Tag == "!!merge" {
				return nil, errors.New("expected plain names of members")
			}
			if _, twice := members[name.Value]; twice {
				return nil, fmt.Errorf("%q is given twice", printable(name.Value))
			}
			value, err := nodeValue(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			members[name.Value] = value
		}
		return members, nil
	case yaml.ScalarNode:
		return scalarValue(n)
	}
	return nil, errors.New("aliases are not read in state files")
}

func scalarValue(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!str":
		return n.Value, nil
	case "!!bool":
		var truth bool
		err := n.Decode(&truth)
		return truth, err
	case "!!int", "!!float":
		return json.Number(n.Value), nil
	case "!!timestamp":
		var at time.Time
		err := n.Decode(&at)
		return at, err
	}
	return nil, fmt.Errorf("%s is not a kind of value that is read here", printable(n.Tag))
}
