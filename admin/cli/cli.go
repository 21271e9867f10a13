// Package cli is the command line door to the admin API: the verbs that stand
// at the top of the keyreeve binary and under `caddy keyreeve` in any other
// build of Caddy. It holds no rule of its own about keys: every verb is a call
// of the admin API, over one of three reaches (see reach.go).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Env is what the commands need of the process around them. Zero fields take
// the process's own.
type Env struct {
	// Program is how the tree is called in help texts, such as "keyreeve" or
	// "caddy keyreeve". Default "keyreeve".
	Program string
	// Stdin, Stdout and Stderr default to those of the process.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Getenv defaults to os.Getenv.
	Getenv func(string) string
	// Now is the time that durations given as an expiry are added to.
	Now func() time.Time
	// Offline opens the store that a configuration file names and returns the
	// admin API over it, its paths beginning with /v1/, acting as `local`, and
	// what closes it again. nil where the build cannot.
	Offline func(ctx context.Context, configPath string) (http.Handler, func() error, error)
	// Diagnose looks at what a configuration file names, without a server and
	// without changing anything. nil where the build cannot.
	Diagnose func(ctx context.Context, configPath string) Diagnosis
	// Migrate moves everything from one store to another. nil where the build cannot.
	Migrate migrateFunc
	// Schema makes or upgrades the tables of a store that several nodes share. nil where
	// the build cannot.
	Schema schemaFunc
	// Exit turns an exit code other than 0 into the error that the command
	// returns, after err was reported on Stderr. The default is *CodeError.
	// Within Caddy's main function, it must be an error from which that takes
	// its exit code; err is reported by then and must not be logged again.
	Exit func(code int, err error) error
}

func (e Env) withDefaults() Env {
	if e.Program == "" {
		e.Program = "keyreeve"
	}
	if e.Stdin == nil {
		e.Stdin = os.Stdin
	}
	if e.Stdout == nil {
		e.Stdout = os.Stdout
	}
	if e.Stderr == nil {
		e.Stderr = os.Stderr
	}
	if e.Getenv == nil {
		e.Getenv = os.Getenv
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.Exit == nil {
		e.Exit = func(code int, err error) error { return &CodeError{Code: code, Err: err} }
	}
	return e
}

// Group is one noun of the tree with its verbs, such as `key`.
type Group struct {
	// Name is the word, Short its one line in a list of commands.
	Name, Short string
	// Configure makes an empty command of that name the group: for a host that
	// creates the commands itself, as Caddy's command registry does.
	Configure func(cmd *cobra.Command, env Env)
}

// Groups lists every group of the tree.
func Groups() []Group {
	return []Group{keyGroup, secretGroup, lockGroup, sessionGroup, roleGroup, customerGroup, microtenantGroup, sourceGroup, nodeGroup, policyGroup, auditGroup, exportGroup, applyGroup, migrateGroup, schemaGroup, doctorGroup}
}

// Commands returns the groups as commands, ready to be added to a parent.
func Commands(env Env) []*cobra.Command {
	groups := Groups()
	cmds := make([]*cobra.Command, 0, len(groups))
	for _, g := range groups {
		cmd := &cobra.Command{Use: g.Name, Short: g.Short}
		g.Configure(cmd, env)
		cmds = append(cmds, cmd)
	}
	return cmds
}

// console is one invocation of a group's command: its surroundings and the
// flags that every verb shares.
type console struct {
	env   Env
	reach reachFlags
	out   outputFlag
}

// newConsole prepares cmd, the command of a group, for verbs to be added.
func newConsole(cmd *cobra.Command, env Env) *console {
	s := &console{env: env.withDefaults()}
	cmd.SetIn(s.env.Stdin)
	cmd.SetOut(s.env.Stdout)
	cmd.SetErr(s.env.Stderr)
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return s.finish(c, &usageError{err: err})
	})
	cmd.SetHelpTemplate(helpTemplate)
	s.reach.register(cmd.PersistentFlags())
	s.out.register(cmd.PersistentFlags())
	s.complete(cmd, "output", forms...)
	for _, plain := range []string{"address", "url", "timeout"} {
		s.complete(cmd, plain) // never a file
	}

	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return s.finish(c, usagef("there is no `%s %s`", c.CommandPath(), printable(args[0])))
	}
	return s
}

// newGroup is newConsole with what the group says of itself.
func newGroup(cmd *cobra.Command, env Env, use, short, long, example string) *console {
	s := newConsole(cmd, env)
	program := strings.NewReplacer("PROGRAM", s.env.Program)
	cmd.Use, cmd.Short = use, short
	cmd.Long = program.Replace(strings.TrimSpace(long))
	cmd.Example = program.Replace(strings.Trim(example, "\n"))
	return s
}

// helpTemplate is cobra's own, without what the root command may have appended.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}`

// verb is one command of a group.
type verb struct {
	// use is the command's name and arguments, as cobra writes them.
	use, short, long, example string
	// args names the arguments; each must be given, but the last where optional.
	args     []string
	optional bool
	// many: the last may be given several times.
	many bool
	// keyArg: the argument is a key, which the shell may complete.
	keyArg bool
	run    func(ctx context.Context, c *client, args []string) error
}

// add makes v a command under parent. Flags are then added to what it returns.
func (s *console) add(parent *cobra.Command, v verb) *cobra.Command {
	program := strings.NewReplacer("PROGRAM", s.env.Program)
	cmd := &cobra.Command{
		Use:           v.use,
		Short:         v.short,
		Long:          program.Replace(strings.TrimSpace(v.long)),
		Example:       program.Replace(strings.Trim(v.example, "\n")),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.Args = func(c *cobra.Command, args []string) error {
		return s.finish(c, v.checkArgs(args))
	}
	cmd.ValidArgsFunction = s.completeArgs(v)
	cmd.RunE = func(c *cobra.Command, args []string) error {
		return s.finish(c, s.run(c, v, args))
	}
	parent.AddCommand(cmd)
	return cmd
}

func (v verb) checkArgs(args []string) error {
	least := len(v.args)
	if v.optional {
		least--
	}
	if len(args) < least {
		return usagef("%s is missing", v.args[len(args)])
	}
	if len(args) > len(v.args) && !v.many {
		return usagef("unexpected argument %q", printable(args[len(v.args)]))
	}
	return nil
}

func (s *console) run(c *cobra.Command, v verb, args []string) (err error) {
	if err := s.out.check(); err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context())
	defer stop()
	api, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, api.close()) }()
	return v.run(ctx, api, args)
}

// note writes one line beside the data.
func (s *console) note(format string, args ...any) {
	fmt.Fprintf(s.env.Stderr, format+"\n", args...)
}
