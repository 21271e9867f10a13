package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// commandPaths lists every command that does something, such as `key create`,
// with the flags of its own.
func commandPaths(cmds []*cobra.Command, before string) map[string][]*pflag.Flag {
	found := map[string][]*pflag.Flag{}
	for _, cmd := range cmds {
		path := strings.TrimSpace(before + " " + cmd.Name())
		if cmd.HasSubCommands() {
			for name, flags := range commandPaths(cmd.Commands(), path) {
				found[name] = flags
			}
			continue
		}
		var flags []*pflag.Flag
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { flags = append(flags, f) })
		found[path] = flags
	}
	return found
}

var documented = regexp.MustCompile("`((?:key|secret|lock|session|role|customer|microtenant|source|audit|policy|node|apply|export|migrate|schema|doctor)\\b(?: [a-z]+(?:-[a-z]+)*)*)")

func TestTheDocsNameEveryCommandAndFlagAndNoOther(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/cli.md")
	require.NoError(t, err)
	docs := string(text)
	tree := commandPaths(Commands(Env{}), "")
	groups := map[string]bool{}
	for path, flags := range tree {
		group, _, _ := strings.Cut(path, " ")
		groups[group] = true
		if group == "microtenant" { // the same as customer, and said to be
			path = "customer" + strings.TrimPrefix(path, group)
		}
		require.True(t, strings.Contains(docs, "`"+path), "docs/cli.md does not name `%s`", path)
		for _, flag := range flags {
			named := regexp.MustCompile("--"+flag.Name+`\b`).MatchString(docs) || flag.Shorthand != "" && strings.Contains(docs, "`-"+flag.Shorthand)
			require.True(t, named || flag.Name == "help", "docs/cli.md does not name --%s of `%s`", flag.Name, path)
		}
	}
	for _, match := range documented.FindAllStringSubmatch(docs, -1) {
		words := strings.Fields(match[1])
		path := strings.Join(words[:min(2, len(words))], " ")
		_, known := tree[path]
		require.True(t, known || len(words) == 1 && (groups[path] || tree[path] != nil), "docs/cli.md names `%s`, which does not exist", path)
	}
}
