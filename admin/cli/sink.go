package cli

import (
	"bytes"
	"fmt"
	"io"
)

// sink joins pages into one list.
type sink interface {
	add(*page) error
	end() error
}

func (s *console) sink(l listing, w io.Writer) sink {
	switch s.out.form {
	case formJSON:
		return &jsonSink{w: w}
	case formCSV:
		return &csvSink{listing: l, w: newCSV(w)}
	case formYAML:
		body := &bytes.Buffer{}
		return &yamlSink{jsonSink: jsonSink{w: body}, body: body, out: w}
	}
	return &tableSink{listing: l, w: w, colours: s.colours(s.env.Stdout)}
}

// jsonSink writes an answer of the API's form whose items are those of all pages.
type jsonSink struct {
	w     io.Writer
	count int
}

func (s *jsonSink) add(p *page) error {
	for _, item := range p.Items {
		before := ","
		if s.count == 0 {
			before = `{"items":[`
		}
		if _, err := fmt.Fprintf(s.w, "%s%s", before, item); err != nil {
			return err
		}
		s.count++
	}
	return nil
}

func (s *jsonSink) end() error {
	before := ""
	if s.count == 0 {
		before = `{"items":[`
	}
	_, err := fmt.Fprintf(s.w, "%s],\"next_cursor\":null,\"total\":%d}\n", before, s.count)
	return err
}

type yamlSink struct {
	jsonSink
	body *bytes.Buffer
	out  io.Writer
}

func (s *yamlSink) end() error {
	if err := s.jsonSink.end(); err != nil {
		return err
	}
	return writeYAML(s.out, s.body.Bytes())
}

type csvSink struct {
	listing
	w      csvWriter
	headed bool
}

func (s *csvSink) add(p *page) error {
	rows, err := s.cells(p.Items)
	if err != nil {
		return err
	}
	if !s.headed {
		s.headed = true
		rows = append([][]string{s.columns}, rows...)
	}
	return s.w.all(rows)
}

func (s *csvSink) end() error { return nil }

type tableSink struct {
	listing
	w       io.Writer
	colours bool
	all     [][]string
}

func (s *tableSink) add(p *page) error {
	rows, err := s.rows(p.Items, s.colours)
	s.all = append(s.all, rows...)
	return err
}

func (s *tableSink) end() error { return writeTable(s.w, s.header, s.all) }
