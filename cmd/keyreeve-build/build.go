package main

import (
	"strings"
)

// xcaddyVersion is the xcaddy that builds. It is run as a tool and is no part of
// this module.
const xcaddyVersion = "v0.4.7"

const xcaddy = "github.com/caddyserver/xcaddy/cmd/xcaddy@" + xcaddyVersion

// build is what xcaddy.toml declares.
type build struct {
	caddyVersion string
	output       string
	buildFlags   []string
	plugins      []dependency
	replacements []dependency
}

// dependency is a module, at a version or in another's place.
type dependency struct {
	module, version, replacement string
}

// String is the module as xcaddy takes it: module[@version][=replacement].
func (d dependency) String() string {
	text := d.module
	if d.version != "" {
		text += "@" + d.version
	}
	if d.replacement != "" {
		text += "=" + d.replacement
	}
	return text
}

// command is the one that builds b, run where its paths begin.
func (b *build) command(dir string) command {
	// Keyreeve and Caddy are pure Go: one setting, so that go compiles nothing twice.
	c := command{dir: dir, env: []string{"CGO_ENABLED=0"}, args: []string{"go", "run", xcaddy, "build", b.caddyVersion}}
	if len(b.buildFlags) > 0 {
		quoted := make([]string, len(b.buildFlags))
		for i, f := range b.buildFlags {
			quoted[i] = quote(f)
		}
		c.env = append(c.env, "XCADDY_GO_BUILD_FLAGS="+strings.Join(quoted, " "))
	}
	for _, p := range b.plugins {
		c.args = append(c.args, "--with", p.String())
	}
	for _, r := range b.replacements {
		c.args = append(c.args, "--replace", r.String())
	}
	c.args = append(c.args, "--output", b.output)
	return c
}
