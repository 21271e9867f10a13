package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxState bounds a state file, in bytes. It is held as text; its items are read
// one by one, so that a hundred thousand keys never stand in memory as values.
const maxState = 256 << 20

// Members of the file that are no sections. completeMember is the last: its value
// is true, and a file that was cut off has none.
const (
	versionMember  = "version"
	completeMember = "complete"
)

// stateItem is one record of a state file.
type stateItem struct {
	kind *stateKind
	// at is its place, such as keys[17].
	at   string
	want record
}

// stateFile is a state file as text.
type stateFile struct {
	name string
	text []byte
	// complete: the file says that it ends where it does; known once it was walked.
	complete bool
}

// readState reads the file, - for standard input.
func (s *console) readState(name string) (*stateFile, error) {
	text, err := s.readFile(name, "state file", maxState)
	if err != nil {
		return nil, err
	}
	if name == "-" {
		name = "standard input"
	}
	return &stateFile{name: name, text: text}, nil
}

// stateVisitor is shown what a state file holds, in its order.
type stateVisitor struct {
	// section is called once for each section there is, empty ones too.
	section func(*stateKind)
	// item is called for each record; faults are what is wrong with how it is written.
	item func(item stateItem, faults []error) error
}

// walk reads the file from the beginning to the end.
func (f *stateFile) walk(v stateVisitor) error {
	w := &stateWalk{visitor: v, seen: map[string]bool{}}
	text := bytes.TrimPrefix(f.text, []byte("\ufeff"))
	read := w.yaml
	if first := bytes.TrimSpace(text); len(first) > 0 && first[0] == '{' {
		read = w.json
	}
	err := read(text)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", f.name, err)
	case !w.seen[versionMember]:
		return fmt.Errorf("%s: version is missing, expected version: %d as its first member", f.name, stateVersion)
	}
	f.complete = w.seen[completeMember]
	return nil
}

// stateWalk is one reading of a state file.
type stateWalk struct {
	visitor stateVisitor
	// seen are the members of the file so far, member is the one that is being read.
	seen   map[string]bool
	member string
	// kind is its section, nil if it is none; count is how many of its items were read.
	kind  *stateKind
	count int
}

// begin is the start of a member of the file; plain says that it is no section.
func (w *stateWalk) begin(name string) (plain bool, err error) {
	w.member, w.kind, w.count = name, kindOf(name), 0
	plain = name == versionMember || name == completeMember
	switch {
	case w.seen[name]:
		return false, fmt.Errorf("%s is given twice", name)
	case !plain && w.kind == nil:
		names := []string{versionMember}
		for _, k := range stateKinds {
			names = append(names, k.name)
		}
		names = append(names, completeMember)
		return false, fmt.Errorf("there is no member %q, expected one of %s", printable(name), strings.Join(names, ", "))
	case w.seen[completeMember]:
		return false, fmt.Errorf("%s stands behind %s, which must be the last member", name, completeMember)
	}
	w.seen[name] = true
	if w.kind != nil {
		for _, later := range stateKinds[indexOfKind(w.kind)+1:] {
			if w.seen[later.name] {
				return false, fmt.Errorf("%s must stand before %s, which depend on them", w.kind.name, later.name)
			}
		}
		w.visitor.section(w.kind)
	}
	return plain, nil
}

func indexOfKind(k *stateKind) int {
	for i := range stateKinds {
		if &stateKinds[i] == k {
			return i
		}
	}
	return len(stateKinds)
}

// plain is the value of a member that is no section.
func (w *stateWalk) plain(value any) error {
	if w.member == completeMember {
		if value != true {
			return fmt.Errorf("%s must be true; leave it out where the file is not all of it", completeMember)
		}
		return nil
	}
	if number, ok := value.(json.Number); ok && number.String() == strconv.Itoa(stateVersion) {
		return nil
	}
	return fmt.Errorf("version is %v, this program reads version %d", value, stateVersion)
}

// take is one item of the section.
func (w *stateWalk) take(value any) error {
	at := w.kind.name + "[" + strconv.Itoa(w.count) + "]"
	w.count++
	members, ok := value.(map[string]any)
	if !ok {
		return w.visitor.item(stateItem{kind: w.kind, at: at}, []error{fmt.Errorf("%s must have members: %s", at, w.kind.names())})
	}
	want, faults := w.kind.read(at, members)
	return w.visitor.item(stateItem{kind: w.kind, at: at, want: want}, faults)
}

// read checks the members of a record.
func (k *stateKind) read(at string, members map[string]any) (record, []error) {
	var faults []error
	want := make(record, len(members))
	for name := range members {
		if k.member(name) == nil {
			faults = append(faults, fmt.Errorf("%s.%s does not exist, expected %s", at, printable(name), k.names()))
		}
	}
	for i := range k.members {
		m := &k.members[i]
		value, given := members[m.name]
		if !given {
			if m.required {
				faults = append(faults, fmt.Errorf("%s.%s is missing", at, m.name))
			}
			continue
		}
		form, err := m.read(value)
		if err == nil && m.required && form == "" {
			err = errors.New("is empty")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s.%s %w", at, m.name, err))
		}
		want[m.name] = form
	}
	return want, faults
}

// json reads a file in JSON.
func (w *stateWalk) json(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if _, err := dec.Token(); err != nil { // the brace that was seen
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return jsonFault(text, dec, err)
		}
		plain, err := w.begin(name.(string))
		if err != nil {
			return err
		}
		if plain {
			value, err := jsonValue(dec)
			if err == nil {
				err = w.plain(value)
			}
			if err != nil {
				return jsonFault(text, dec, err)
			}
			continue
		}
		if err := w.jsonItems(text, dec); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return jsonFault(text, dec, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the end of the document")
	}
	return nil
}

func (w *stateWalk) jsonItems(text []byte, dec *json.Decoder) error {
	open, err := dec.Token()
	if err != nil {
		return jsonFault(text, dec, err)
	}
	if open == nil {
		return nil // null is no item
	}
	if open != json.Delim('[') {
		return fmt.Errorf("%s must be a list", w.kind.name)
	}
	for dec.More() {
		value, err := jsonValue(dec)
		if err != nil {
			return jsonFault(text, dec, err)
		}
		if err := w.take(value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return jsonFault(text, dec, err)
	}
	return nil
}

// jsonFault says in which line JSON is broken.
func jsonFault(text []byte, dec *json.Decoder, err error) error {
	end := min(int(dec.InputOffset()), len(text))
	return fmt.Errorf("line %d: %w", 1+bytes.Count(text[:end], []byte("\n")), err)
}

// jsonValue is the next value; a member that stands twice is an error.
func jsonValue(dec *json.Decoder) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := jsonValue(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	case json.Delim('{'):
		members := map[string]any{}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := jsonValue(dec)
			if err != nil {
				return nil, err
			}
			if _, twice := members[name.(string)]; twice {
				return nil, fmt.Errorf("%q is given twice", printable(name.(string)))
			}
			members[name.(string)] = v
		}
		_, err = dec.Token()
		return members, err
	}
	return token, nil
}
