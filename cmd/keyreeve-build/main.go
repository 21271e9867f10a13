// Command keyreeve-build builds Caddy with Keyreeve as xcaddy.toml declares it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const usage = `keyreeve-build builds Caddy with Keyreeve, as xcaddy.toml declares it.

Usage:
  go run ./cmd/keyreeve-build [-n] [-C dir] [-file xcaddy.toml]

  -n          print the command instead of running it; it can be pasted into a shell
  -C dir      work in this directory, such as the root of a checkout
  -file name  the file to read (default xcaddy.toml); paths in it begin at its directory

The file:
  caddy_version = "v2.11.9"          # a released version; required
  output        = "bin/caddy"        # where the program goes; required
  build_flags   = ["-trimpath"]      # for go build; left out: xcaddy's own

  [[plugins]]                        # at least one
  module      = "github.com/keyreeve/keyreeve"
  version     = "v1.2.3"             # left out: the newest release
  replacement = "."                  # build from this directory, or from module@version

  [[replacements]]                   # of modules that are no plugins
  module      = "golang.org/x/net"
  replacement = "../net"

What the file says is read strictly: a name it should not have, a value of the
wrong type or one that is missing is an error that names the line.

xcaddy itself needs not be installed: go runs version ` + xcaddyVersion + ` of it.
Exit codes: 0 done, 1 the build or the file is wrong, 2 wrong usage.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("keyreeve-build", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // its own words are fewer than ours
	dry := flags.Bool("n", false, "")
	dir := flags.String("C", ".", "")
	file := flags.String("file", "xcaddy.toml", "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, usage)
		return 0
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "keyreeve-build: %v\nsee keyreeve-build -help\n", err)
		return 2
	}
	name := *file
	if !filepath.IsAbs(name) {
		name = filepath.Join(*dir, name)
	}
	b, err := readBuild(name)
	if err != nil {
		fmt.Fprintf(stderr, "keyreeve-build: %v\n", err)
		return 1
	}
	c := b.command(filepath.Dir(name))
	if *dry {
		fmt.Fprintln(stdout, c)
		return 0
	}
	if err := c.run(stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "keyreeve-build: %v\n", err)
		return 1
	}
	return 0
}

// command is a program to be run with additions to the environment.
type command struct {
	dir  string
	env  []string // NAME=value
	args []string
}

// String is the command as a POSIX shell takes it.
func (c command) String() string {
	var words []string
	if c.dir != "." {
		words = append(words, "cd", quote(c.dir), "&&")
	}
	for _, e := range c.env {
		name, value, _ := strings.Cut(e, "=")
		words = append(words, name+"="+quote(value))
	}
	for _, a := range c.args {
		words = append(words, quote(a))
	}
	return strings.Join(words, " ")
}

func (c command) run(stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // xcaddy removes its directory then
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, stdout, stderr
	cmd.Env = append(os.Environ(), c.env...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the build failed (%w); the command was:\n  %s", err, c)
	}
	return nil
}

// quote makes text one word of a shell. A single quote is ended, written and
// begun again; xcaddy splits its build flags by the same rule.
func quote(text string) string {
	plain := text != "" && strings.IndexFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@,+%", r))
	}) < 0
	if plain {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
