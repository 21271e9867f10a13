package keystore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxAuditDepth bounds how deep a record may be nested: far more than any is.
const maxAuditDepth = 32

// CanonicalJSON is value in one spelling; nil for none and for null. What two
// readers could understand differently (a member that stands twice, bytes that
// are no UTF-8) is an error, so that it cannot hide behind a hash.
func CanonicalJSON(value json.RawMessage) ([]byte, error) {
	if value == nil {
		return nil, nil
	}
	if !utf8.Valid(value) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber() // numbers stay as they are written
	v, err := uniqueValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v) // sorts members
}

// uniqueValue reads the next value, whose members each stand once.
func uniqueValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxAuditDepth {
		return nil, errors.New("nested too deeply")
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		members := make(map[string]any)
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			key, ok := name.(string)
			if _, twice := members[key]; twice || !ok {
				return nil, fmt.Errorf("member %q stands twice", key)
			}
			if members[key], err = uniqueValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return members, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := uniqueValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return token, nil
}
