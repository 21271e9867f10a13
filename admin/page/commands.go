package page

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/keystore"
)

// commands tell how to do by program what a dialog does: lines to copy.
type commands struct {
	Curl, CLI string
	// CLI is "" where the command-line tool has no such command.
	// Open: they were asked for, so they are in sight.
	Open bool
}

// call is a request of the admin API.
type call struct {
	Method string
	// Path begins with /v1/.
	Path string
	// Body is written as JSON, or read from where a fromFile says; nil is none.
	Body any
	// Version is that of the record that is changed; 0 is not to look at it.
	Version keystore.Revision
}

// fromFile is a body that the caller has in a file of this name, as JSON.
type fromFile string

// commands are the lines for a call and for the CLI's arguments, each quoted for a
// POSIX shell. Who signs in with them comes from the environment: nothing secret
// stands in a line.
func (v *visit) commands(c call, cli ...string) *commands {
	line := []string{"curl", "-u", `"$KEYREEVE_CLIENT_ID:$KEYREEVE_CLIENT_SECRET"`}
	if c.Method != "GET" {
		line = append(line, "-X", c.Method)
	}
	if c.Version > 0 {
		line = append(line, "-H", quoted("If-Match: "+api.ETag(c.Version)))
	}
	if name, is := c.Body.(fromFile); is {
		line = append(line, "-H", quoted("Content-Type: application/json"), "--data-binary", quoted("@"+string(name)))
	} else if c.Body != nil {
		kind := "application/json"
		if c.Method == "PATCH" {
			kind = "application/merge-patch+json"
		}
		var body bytes.Buffer
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(c.Body); err != nil {
			panic("page: the body of a command was not written as JSON: " + err.Error())
		}
		line = append(line, "-H", quoted("Content-Type: "+kind), "--data", quoted(strings.TrimSpace(body.String())))
	}
	origin := v.origin()
	lines := &commands{Curl: oneLine(append(line, quoted(origin+c.Path))), Open: v.r.PostForm.Get("as") == "commands"}
	if len(cli) > 0 { // not all that the API can do has a command
		lines.CLI = toolLine(origin, cli)
	}
	return lines
}

// toolLine is a line for the command-line tool. Flags stand before the "--" that naming
// put before a name.
func toolLine(origin string, cli []string) string {
	tool := []string{"keyreeve"}
	for _, arg := range cli {
		tool = append(tool, quoted(arg))
	}
	at := len(tool)
	if n := len(cli); n > 2 && cli[n-2] == "--" {
		at -= 2
	}
	return oneLine(slices.Insert(tool, at, "--url", quoted(origin)))
}

// naming puts a name into arguments that begin with a noun and a verb. One that would be
// read as a flag stands at the end, where none is.
func naming(cli []string, name string) []string {
	if strings.HasPrefix(name, "-") {
		return append(slices.Clone(cli), "--", name)
	}
	return slices.Insert(slices.Clone(cli), 2, name)
}

// orPlaceholder is what was typed, or a word in its place: commands can be looked at
// before a form is filled in.
func orPlaceholder(typed, word string) string {
	if strings.TrimSpace(typed) == "" {
		return word
	}
	return typed
}

// maxCommand bounds a line to copy, in bytes: shells and terminals bound it too.
const maxCommand = 16 << 10

func oneLine(words []string) string {
	line := strings.Join(words, " ")
	if len(line) > maxCommand {
		return "# This is too long for a line. Send the values from a file."
	}
	return line
}

// origin is where the browser found this page.
func (v *visit) origin() string {
	if v.page.cfg.Secure(v.r) {
		return "https://" + v.r.Host
	}
	return "http://" + v.r.Host
}

// plain is what a shell takes as it stands.
const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:=@,+%"

// quoted is a word for a POSIX shell.
func quoted(word string) string {
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// asksForCommands reports a form that was sent to see its commands, not to be done.
func (f *Form) asksForCommands() bool { return f.Get("as") == "commands" }
