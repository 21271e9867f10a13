package policy

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"
)

const (
	// fileVersion is the only version of the format there is.
	fileVersion = 1
	// maxFileSize bounds a policy file, in bytes.
	maxFileSize = 4 << 20
)

// File is one parsed policy file.
type File struct {
	// Name is what messages call the file.
	Name    string
	Version int
	// Resources by name.
	Resources map[string]Resource
	Routes    []RouteSpec
	// Tenancy is zero when the file does not say.
	Tenancy Tenancy
}

// LoadFile reads and parses a policy file.
func LoadFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	return ParseFile(path, data)
}

// ParseFile parses a policy file, YAML or JSON, strictly. Errors name the line
// and what was expected there.
func ParseFile(name string, data []byte) (*File, error) {
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("%s: the file is larger than %d MiB: split it, a gate takes several", name, maxFileSize>>20)
	}
	p := &fileParser{name: name}
	root, err := p.document(data)
	if err != nil {
		return nil, err
	}
	f := p.file(root)
	if err := joinErrors(p.errs); err != nil {
		return nil, err
	}
	return f, nil
}

// document reads the one YAML document that a policy file is.
func (p *fileParser) document(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := decoder.Decode(&doc); {
	case err == io.EOF:
		return nil, fmt.Errorf("%s: the file is empty: expected at least `version: %d`", p.name, fileVersion)
	case err != nil:
		return nil, fmt.Errorf("%s: not valid YAML: %w", p.name, err)
	}
	switch err := decoder.Decode(new(yaml.Node)); {
	case err == nil:
		return nil, fmt.Errorf("%s: a second document begins with ---: put each policy in a file of its own", p.name)
	case err != io.EOF:
		return nil, fmt.Errorf("%s: not valid YAML: %w", p.name, err)
	}
	return doc.Content[0], nil
}

func (p *fileParser) file(n *yaml.Node) *File {
	f := &File{Name: p.name, Resources: map[string]Resource{}}
	versioned := false
	p.fields(n, "a policy file", map[string]func(*yaml.Node){
		"version": func(v *yaml.Node) {
			versioned = true
			if v.Kind != yaml.ScalarNode || v.Tag != "!!int" || v.Value != fmt.Sprint(fileVersion) {
				p.errorf(v, "unknown version, expected version: %d", fileVersion)
			}
			f.Version = fileVersion
		},
		"resources": func(v *yaml.Node) { p.resources(v, f) },
		"routes": func(v *yaml.Node) {
			for _, item := range p.list(v, "routes") {
				if spec, ok := p.route(item); ok {
					f.Routes = append(f.Routes, spec)
				}
			}
		},
		"tenancy": func(v *yaml.Node) { f.Tenancy = p.tenancy(v) },
	})
	if !versioned {
		p.errorf(n, "no version, expected version: %d", fileVersion)
	}
	return f
}

func (p *fileParser) resources(n *yaml.Node, f *File) {
	p.entries(n, "resources, from names to {group, title},", func(key, value *yaml.Node) {
		r := Resource{Name: key.Value, Origin: p.at(key)}
		p.fields(value, "a resource", map[string]func(*yaml.Node){
			"group": func(v *yaml.Node) { r.Group = p.text(v, "group") },
			"title": func(v *yaml.Node) { r.Title = p.text(v, "title") },
		})
		// Its error carries the line already.
		if err := checkResource(r); err != nil {
			p.errs = append(p.errs, err)
		}
		f.Resources[r.Name] = r
	})
}

func (p *fileParser) route(n *yaml.Node) (spec RouteSpec, ok bool) {
	before := len(p.errs)
	spec.Origin = p.at(n)
	text := func(name string, to *string) func(*yaml.Node) {
		return func(v *yaml.Node) { *to = p.text(v, name) }
	}
	truth := func(name string, to *bool) func(*yaml.Node) {
		return func(v *yaml.Node) { *to = p.truth(v, name) }
	}
	p.fields(n, "a route", map[string]func(*yaml.Node){
		"methods": func(v *yaml.Node) {
			for _, item := range p.list(v, "methods") {
				spec.Methods = append(spec.Methods, p.text(item, "a method"))
			}
		},
		"path":                text("path", &spec.Path),
		"resource":            text("resource", &spec.Resource),
		"action":              text("action", &spec.Action),
		"public":              truth("public", &spec.Public),
		"tenant":              text("tenant", &spec.Tenant),
		"microtenant":         text("microtenant", &spec.Microtenant),
		"encoded":             truth("encoded", &spec.Encoded),
		"forward_credentials": truth("forward_credentials", &spec.ForwardCredentials),
	})
	if len(p.errs) > before {
		return spec, false
	}
	if err := spec.Check(); err != nil {
		p.errorf(n, "%w", err)
		return spec, false
	}
	return spec, true
}

func (p *fileParser) tenancy(n *yaml.Node) Tenancy {
	t := DefaultTenancy()
	t.Origin = p.at(n)
	p.fields(n, "tenancy", map[string]func(*yaml.Node){
		"customer_param": func(v *yaml.Node) {
			t.CustomerParam = p.text(v, "customer_param")
			if err := checkName(t.CustomerParam); err != nil {
				p.errorf(v, "customer_param: %w", err)
			}
		},
		"microtenant_query": func(v *yaml.Node) {
			t.MicrotenantQuery = p.text(v, "microtenant_query")
			if err := checkQueryName(t.MicrotenantQuery); err != nil {
				p.errorf(v, "microtenant_query: %w", err)
			}
		},
	})
	return t
}
