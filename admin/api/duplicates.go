package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// maxElements is the most elements of a list, and members of an object, that are
// looked at: a short body can have very many. The longest of ours is a source's.
const maxElements = lifecycle.MaxSourceKeys

var errNested = errors.New("nested too deeply")

// lengthyError is a list or object with more elements than are looked at.
type lengthyError struct{ path string }

func (e *lengthyError) Error() string { return e.path + " has too many elements" }

// duplicates lists the paths of members that occur twice in their object, fit to be
// quoted back; those beyond lifecycle.MaxFaults are only counted, as "". body is
// known to be JSON. The error is errNested for one nested deeper than any of ours, and
// a lengthyError for one too long.
func duplicates(body []byte) (twice []string, err error) {
	w := walk{d: json.NewDecoder(bytes.NewReader(body))}
	w.d.UseNumber()
	err = w.value()
	return w.twice, err
}

// walk goes through a body once. What it keeps at a time is bounded by the body:
// the names of the objects that it is in, and where in them it is.
type walk struct {
	d     *json.Decoder
	at    []step
	twice []string
}

// step is a member of an object or, where inArray, an element of an array.
type step struct {
	name    string
	index   int
	inArray bool
}

// value goes through one value.
func (w *walk) value() error {
	token, _ := w.d.Token() // every error is one of syntax
	begin, container := token.(json.Delim)
	if !container {
		return nil
	}
	depth := len(w.at)
	if depth == maxDepth {
		return errNested
	}
	w.at = append(w.at, step{inArray: begin == '['})
	var seen map[string]bool
	for i := 0; w.d.More(); i++ {
		if i == maxElements {
			w.at = w.at[:depth]
			return &lengthyError{w.path()}
		}
		w.at[depth].index = i
		if begin == '{' {
			if seen == nil {
				seen = map[string]bool{}
			}
			w.member(depth, seen)
		}
		if err := w.value(); err != nil {
			return err
		}
	}
	_, _ = w.d.Token() // the closing bracket
	w.at = w.at[:depth]
	return nil
}

// member reads the name of a member of the object at a depth.
func (w *walk) member(depth int, seen map[string]bool) {
	key, _ := w.d.Token()
	name, _ := key.(string)
	w.at[depth].name = name
	if seen[name] {
		w.note()
	}
	seen[name] = true
}

// note adds the member that the walk is at.
func (w *walk) note() {
	if len(w.twice) >= lifecycle.MaxFaults {
		w.twice = append(w.twice, "")
		return
	}
	w.twice = append(w.twice, w.path())
}

// path is where the walk is, as in keys[3].name.
func (w *walk) path() string {
	var path strings.Builder
	for i, s := range w.at {
		switch {
		case s.inArray:
			path.WriteString("[" + strconv.Itoa(s.index) + "]")
		case i > 0:
			path.WriteString("." + printable(s.name))
		default:
			path.WriteString(printable(s.name))
		}
	}
	return path.String()
}
