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

func (s *console) sink(w io.Writer) sink {
	switch s.out.form {
	case formJSON:
		return &jsonSink{w: w}
	case formCSV:
		return &csvSink{w: newCSV(w)}
	case formYAML:
		body := &bytes.Buffer{}
		return &yamlSink{jsonSink: jsonSink{w: body}, body: body, out: w}
	}
	return &tableSink{w: w, colours: s.colours(s.env.Stdout), rows: [][]string{}}
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
	w      csvWriter
	headed bool
}

func (s *csvSink) add(p *page) error {
	keys, err := p.keys()
	if err != nil {
		return err
	}
	if !s.headed {
		s.headed = true
		if err := s.w.row(keyColumns); err != nil {
			return err
		}
	}
	return s.w.keys(keys)
}

func (s *csvSink) end() error { return nil }

type tableSink struct {
	w       io.Writer
	colours bool
	rows    [][]string
}

func (s *tableSink) add(p *page) error {
	keys, err := p.keys()
	if err != nil {
		return err
	}
	for i := range keys {
		s.rows = append(s.rows, keys[i].row(s.colours))
	}
	return nil
}

func (s *tableSink) end() error { return writeTable(s.w, keyHeader, s.rows) }
