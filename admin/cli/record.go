package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// writeRecord writes one record in the chosen form. details are its fields for
// reading; empty ones are left out.
func writeRecord[T any](s *console, l listing, body []byte, details func(*T) [][]string) error {
	if s.out.form != formTable {
		return s.writePage(l, &page{Items: []json.RawMessage{body}, raw: body})
	}
	var item T
	if err := json.Unmarshal(body, &item); err != nil {
		return fmt.Errorf("reading one of the %s: %w", l.noun, err)
	}
	rows := slices.DeleteFunc(details(&item), func(r []string) bool { return r[1] == "" })
	return writeTable(s.env.Stdout, nil, rows)
}

// askable refuses to delete where nobody can be asked and yes was not said.
func (s *console) askable(yes bool) error {
	if !yes && !isTerminal(s.env.Stdin) {
		return usagef("--yes is missing: without a terminal nothing can be asked")
	}
	return nil
}

// agreed asks before something is deleted, unless yes was said.
func (s *console) agreed(ctx context.Context, yes bool, question string) error {
	if yes || s.confirm(ctx, question) {
		return nil
	}
	return errors.New("not deleted")
}

// readFile reads a file of at most so many bytes, - for standard input. what
// names it in errors.
func (s *console) readFile(file, what string, most int64) ([]byte, error) {
	in := s.env.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("the %s cannot be read: %w", what, err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("the %s cannot be read: %w", what, err)
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("the %s is over %d KiB", what, most>>10)
	}
	return text, nil
}
