package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// direction is which way a schema's values go: what may widen in a request may
// only narrow in an answer.
type direction bool

const (
	request  direction = false
	answered direction = true
)

// Breaking lists what in the document `after` breaks a client or a server-side
// consumer that was written for `before`: what is gone, what is newly demanded,
// and what is newly refused or newly answered. Words of description never count.
func Breaking(before, after []byte) ([]string, error) {
	c := &comparison{}
	if err := json.Unmarshal(before, &c.old); err != nil {
		return nil, fmt.Errorf("the document before: %w", err)
	}
	if err := json.Unmarshal(after, &c.new); err != nil {
		return nil, fmt.Errorf("the document after: %w", err)
	}
	for _, path := range sorted(c.old.Paths) {
		for _, method := range sorted(c.old.Paths[path]) {
			at := strings.ToUpper(method) + " " + path
			now, ok := c.new.Paths[path][method]
			if !ok {
				c.found("%s is gone", at)
				continue
			}
			c.operation(at, c.old.Paths[path][method], now)
		}
	}
	return c.faults, nil
}

type comparison struct {
	old, new description
	faults   []string
	open     []string // pairs of schemas being compared, for those that hold themselves
}

type description struct {
	Paths      map[string]map[string]described
	Components struct{ Schemas map[string]*schema }
}

type described struct {
	Parameters []struct {
		Name, In string
		Required bool
		Schema   *schema
	}
	RequestBody *struct {
		Required bool
		Content  map[string]media
	}
	Responses map[string]struct {
		Content map[string]media
		Headers map[string]media
	}
}

type media struct{ Schema *schema }

// schema is what of a schema is promised. AdditionalProperties may be a schema
// or a boolean and is compared as text.
type schema struct {
	Ref                  string `json:"$ref"`
	Type                 any
	Format               string
	Enum                 []any
	Properties           map[string]*schema
	Required             []string
	Items                *schema
	OneOf                []*schema
	AdditionalProperties json.RawMessage
	Minimum, Maximum     *float64
	MinLength, MaxLength *float64
	MinItems, MaxItems   *float64
}

func (c *comparison) found(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *comparison) operation(at string, old, now described) {
	for _, p := range now.Parameters {
		i := slices.IndexFunc(old.Parameters, func(o struct {
			Name, In string
			Required bool
			Schema   *schema
		}) bool {
			return o.Name == p.Name && o.In == p.In
		})
		name := at + ": " + p.In + " parameter " + p.Name
		switch {
		case i < 0 && p.Required:
			c.found("%s is new and required", name)
		case i >= 0 && p.Required && !old.Parameters[i].Required:
			c.found("%s has become required", name)
		case i >= 0:
			c.schema(name, request, old.Parameters[i].Schema, p.Schema)
		}
	}
	for _, o := range old.Parameters {
		kept := false
		for _, p := range now.Parameters {
			kept = kept || o.Name == p.Name && o.In == p.In
		}
		if !kept {
			c.found("%s: %s parameter %s is gone", at, o.In, o.Name)
		}
	}
	c.requestBody(at, old, now)
	for _, status := range sorted(old.Responses) {
		r, ok := now.Responses[status]
		if !ok {
			c.found("%s: status %s is gone", at, status)
			continue
		}
		c.content(at+": "+status, answered, old.Responses[status].Content, r.Content)
		for name, header := range old.Responses[status].Headers {
			if h, ok := r.Headers[name]; ok {
				c.schema(at+": "+status+": header "+name, answered, header.Schema, h.Schema)
			} else {
				c.found("%s: %s: header %s is gone", at, status, name)
			}
		}
	}
}

func (c *comparison) requestBody(at string, old, now described) {
	switch {
	case now.RequestBody == nil && old.RequestBody != nil:
		c.found("%s: takes no body any more", at)
	case now.RequestBody != nil && old.RequestBody == nil:
		if now.RequestBody.Required {
			c.found("%s: has come to require a body", at)
		}
	case now.RequestBody != nil:
		if now.RequestBody.Required && !old.RequestBody.Required {
			c.found("%s: has come to require a body", at)
		}
		c.content(at+": body", request, old.RequestBody.Content, now.RequestBody.Content)
	}
}

func (c *comparison) content(at string, d direction, old, now map[string]media) {
	for _, mediaType := range sorted(old) {
		m, ok := now[mediaType]
		if !ok {
			c.found("%s: %s is gone", at, mediaType)
			continue
		}
		c.schema(at, d, old[mediaType].Schema, m.Schema)
	}
}

// schema compares two schemas of one place.
func (c *comparison) schema(at string, d direction, old, now *schema) {
	old, now = resolve(c.old, old), resolve(c.new, now)
	if old == nil || now == nil {
		if (old == nil) != (now == nil) {
			c.found("%s: its schema came or went", at)
		}
		return
	}
	pair := fmt.Sprintf("%p %p %v", old, now, d)
	if slices.Contains(c.open, pair) {
		return
	}
	c.open = append(c.open, pair)
	defer func() { c.open = c.open[:len(c.open)-1] }()
	c.types(at, d, old, now)
	c.enum(at, d, old, now)
	if d == request {
		c.bounds(at, old, now)
	}
	if string(old.AdditionalProperties) != string(now.AdditionalProperties) && string(old.AdditionalProperties) != "" {
		c.found("%s: additionalProperties changed", at)
	}
	for _, name := range sorted(old.Properties) {
		p, ok := now.Properties[name]
		if !ok {
			c.found("%s: member %s is gone", at, name)
			continue
		}
		c.schema(at+"."+name, d, old.Properties[name], p)
		if d == answered && slices.Contains(old.Required, name) && !slices.Contains(now.Required, name) {
			c.found("%s: member %s may now be missing", at, name)
		}
	}
	for _, name := range now.Required {
		if d == request && !slices.Contains(old.Required, name) {
			c.found("%s: member %s has become required", at, name)
		}
	}
	if old.Items != nil || now.Items != nil {
		c.schema(at+"[]", d, old.Items, now.Items)
	}
	if len(old.OneOf) != len(now.OneOf) {
		c.found("%s: has other alternatives", at)
	} else {
		for i := range old.OneOf {
			c.schema(fmt.Sprintf("%s(%d)", at, i), d, old.OneOf[i], now.OneOf[i])
		}
	}
}

func (c *comparison) types(at string, d direction, old, now *schema) {
	from, to := typesOf(old), typesOf(now)
	if d == answered {
		from, to = to, from // an answer may not have what was not there before
	}
	for _, t := range from {
		if len(to) > 0 && !slices.Contains(to, t) {
			c.found("%s: type %v has become %v", at, old.Type, now.Type)
			break
		}
	}
	if old.Format != now.Format {
		c.found("%s: format %q has become %q", at, old.Format, now.Format)
	}
}

func typesOf(s *schema) []string {
	switch t := s.Type.(type) {
	case string:
		return []string{t}
	case []any:
		var out []string
		for _, one := range t {
			out = append(out, fmt.Sprint(one))
		}
		return out
	}
	return nil
}

func (c *comparison) enum(at string, d direction, old, now *schema) {
	from, to := old.Enum, now.Enum
	if d == answered {
		from, to = to, from
	}
	if len(from) == 0 && len(to) > 0 {
		c.found("%s: is bound to other values than before", at)
	}
	for _, v := range from {
		if len(to) > 0 && !slices.Contains(to, v) {
			c.found("%s: value %v came or went", at, v)
		}
	}
}

func (c *comparison) bounds(at string, old, now *schema) {
	least := func(name string, was, is *float64) {
		if is != nil && (was == nil || *is > *was) {
			c.found("%s: %s has been raised to %v", at, name, *is)
		}
	}
	most := func(name string, was, is *float64) {
		if is != nil && (was == nil || *is < *was) {
			c.found("%s: %s has been lowered to %v", at, name, *is)
		}
	}
	least("minimum", old.Minimum, now.Minimum)
	least("minLength", old.MinLength, now.MinLength)
	least("minItems", old.MinItems, now.MinItems)
	most("maximum", old.Maximum, now.Maximum)
	most("maxLength", old.MaxLength, now.MaxLength)
	most("maxItems", old.MaxItems, now.MaxItems)
}

func resolve(d description, s *schema) *schema {
	for s != nil && s.Ref != "" {
		s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	return s
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
