package caddymodule

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// options maps the words of a block to what reads the rest of their line.
type options map[string]func() error

// eachOption reads a block whose words may each stand once.
func eachOption(d *caddyfile.Dispenser, block string, known options) error {
	seen := make(map[string]bool, len(known))
	previous := ""
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if word == "{" && previous != "" {
			return d.Errf("unexpected block after %s in %s: expected the end of the line", previous, block)
		}
		previous = word
		parse, ok := known[word]
		if !ok {
			return d.Errf("unknown word %q in %s: expected %s", word, block, oneOf(sortedKeys(known)))
		}
		if seen[word] && !repeatable[word] {
			return d.Errf("%s stands twice in %s: expected once", word, block)
		}
		seen[word] = true
		if err := parse(); err != nil {
			return err
		}
	}
	return nil
}

// repeatable words add to a list each time.
var repeatable = map[string]bool{"policy": true, "route": true, "public": true}

func noArgs(d *caddyfile.Dispenser, block string) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %s: expected a block", d.Val(), block)
	}
	return nil
}

func noMore(d *caddyfile.Dispenser, syntax string) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q: expected %s", d.Val(), syntax)
	}
	return nil
}

func someArgs(d *caddyfile.Dispenser, into *[]string, what string) error {
	word := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s: expected %s", word, what)
	}
	*into = append(*into, args...)
	return nil
}

func oneArg(d *caddyfile.Dispenser, what string) (string, error) {
	word := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%s: expected %s", word, what)
	}
	value := d.Val()
	return value, noMore(d, word+" with one value: "+what)
}

func wordArg(d *caddyfile.Dispenser, into *string, words ...string) error {
	name := d.Val()
	value, err := oneArg(d, oneOf(words))
	if err != nil {
		return err
	}
	for _, w := range words {
		if value == w {
			*into = value
			return nil
		}
	}
	return d.Errf("%s %q: expected %s", name, value, oneOf(words))
}

// durationArg reads a duration that may be 0.
func durationArg(d *caddyfile.Dispenser, into *caddy.Duration) error {
	return atLeast(d, into, 0, "a duration such as 30m, or 0")
}

// spanArg reads a duration above 0: a 0 would be left out of the JSON and so
// silently become the default.
func spanArg(d *caddyfile.Dispenser, into *caddy.Duration) error {
	return atLeast(d, into, 1, "a duration such as 30m, above 0")
}

func atLeast(d *caddyfile.Dispenser, into *caddy.Duration, least caddy.Duration, what string) error {
	name := d.Val()
	value, err := oneArg(d, what)
	if err != nil {
		return err
	}
	parsed, err := caddy.ParseDuration(value)
	if err != nil || caddy.Duration(parsed) < least {
		return d.Errf("%s %q: expected %s", name, value, what)
	}
	*into = caddy.Duration(parsed)
	return nil
}

// intArg reads a whole number above 0, for the reason that spanArg has.
func intArg(d *caddyfile.Dispenser, into *int) error {
	return intArgs(d, "a whole number above 0", into)
}

func intArgs(d *caddyfile.Dispenser, what string, into ...*int) error {
	name := d.Val()
	for _, to := range into {
		if !d.NextArg() {
			return d.Errf("%s: expected %s", name, what)
		}
		n, err := strconv.Atoi(d.Val())
		if err != nil || n < 1 {
			return d.Errf("%s %q: expected %s", name, d.Val(), what)
		}
		*to = n
	}
	return noMore(d, name+" with "+what)
}

// wrapAt adds the file and line of a token that the dispenser has left behind.
func wrapAt(at caddyfile.Token, err error) error {
	if err == nil {
		return nil
	}
	d := caddyfile.NewDispenser([]caddyfile.Token{at})
	d.Next()
	return d.WrapErr(err)
}

// oneOf lists words as a sentence does: a, b or c.
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
