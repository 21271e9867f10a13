package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// object writes the members of a record in their order.
func object(fields []stateField) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", f.name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// jsonState writes a state file in JSON, a record in each line.
type jsonState struct {
	w     io.Writer
	count int
}

func (j *jsonState) begin() error {
	_, err := fmt.Fprintf(j.w, "{\"version\":%d", stateVersion)
	return err
}

func (j *jsonState) section(name string) error {
	j.count = 0
	_, err := fmt.Fprintf(j.w, ",\n%q:[", name)
	return err
}

func (j *jsonState) item(fields []stateField) error {
	text, err := object(fields)
	if err != nil {
		return err
	}
	before := ",\n"
	if j.count++; j.count == 1 {
		before = "\n"
	}
	_, err = fmt.Fprintf(j.w, "%s%s", before, text)
	return err
}

func (j *jsonState) endSection() error {
	_, err := io.WriteString(j.w, "]")
	return err
}

func (j *jsonState) end() error {
	_, err := fmt.Fprintf(j.w, ",\n%q:true}\n", completeMember)
	return err
}

// abandon has nothing to do: JSON without its end is none.
func (j *jsonState) abandon() error { return nil }

// yamlState writes a state file in YAML. Each record is encoded alone, which
// bounds the memory, and moved under its section.
type yamlState struct {
	w     io.Writer
	name  string
	count int
}

func (y *yamlState) begin() error {
	_, err := fmt.Fprintf(y.w, "version: %d\n", stateVersion)
	return err
}

func (y *yamlState) section(name string) error {
	y.name, y.count = name, 0
	return nil
}

func (y *yamlState) item(fields []stateField) error {
	text, err := object(fields)
	if err != nil {
		return err
	}
	node, err := yamlNode(newDecoder(text))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(node); err != nil {
		return err
	}
	if err := enc.Close(); err != nil {
		return err
	}
	if y.count++; y.count == 1 {
		if _, err := fmt.Fprintf(y.w, "%s:\n", y.name); err != nil {
			return err
		}
	}
	before := "  - "
	for line := range bytes.Lines(b.Bytes()) {
		if line[0] == '\n' {
			before = "" // an empty line of a text
		}
		if _, err := fmt.Fprintf(y.w, "%s%s", before, line); err != nil {
			return err
		}
		before = "    "
	}
	return nil
}

func (y *yamlState) endSection() error {
	if y.count > 0 {
		return nil
	}
	_, err := fmt.Fprintf(y.w, "%s: []\n", y.name)
	return err
}

func (y *yamlState) end() error {
	_, err := fmt.Fprintf(y.w, "%s: true\n", completeMember)
	return err
}

// abandon ends the document with a member that none has.
func (y *yamlState) abandon() error {
	_, err := io.WriteString(y.w, "unfinished: true\n")
	return err
}
