package cli

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/keystore"
)

const (
	// completeWithin bounds what the shell waits for when it asks what could follow.
	completeWithin = 2 * time.Second
	// completeMost is how many suggestions are looked up.
	completeMost = "50"
)

// complete gives a flag a fixed set of values to suggest, "" for none at all.
func (s *console) complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("cli: " + err.Error()) // no such flag, or twice: a mistake of ours
	}
}

// completeRole suggests roles for --role: those there are, or the predefined
// ones where they cannot be asked for.
func (s *console) completeRole(cmd *cobra.Command) {
	err := cmd.RegisterFlagCompletionFunc("role", func(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		found := s.suggest(c.Context(), rolesPath, nil)
		if found == nil {
			for _, r := range keystore.PredefinedRoles() {
				found = append(found, cobra.CompletionWithDesc(r.ID, r.Name))
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic("cli: " + err.Error())
	}
}

// completeKey suggests keys for --key.
func (s *console) completeKey(cmd *cobra.Command) {
	err := cmd.RegisterFlagCompletionFunc("key", func(c *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return s.suggest(c.Context(), keysPath, url.Values{"q": {word}}), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic("cli: " + err.Error())
	}
}

// completeArgs suggests a verb's argument: a key, or nothing; never a file.
func (s *console) completeArgs(v verb) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if !v.keyArg || (len(args) > 0 && !v.many) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.suggest(c.Context(), keysPath, url.Values{"q": {word}}), cobra.ShellCompDirectiveNoFileComp
	}
}

// suggest lists ids and names at path; nil if they cannot be had soon. A store
// is never opened for it.
func (s *console) suggest(ctx context.Context, path string, q url.Values) []cobra.Completion {
	if s.reach.config != "" {
		return nil
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	c, err := s.connect(ctx)
	if err != nil {
		return nil
	}
	defer func() { _ = c.close() }()
	if q == nil || q.Get("q") == "" {
		q = url.Values{}
	}
	q.Set("page_size", completeMost)
	p, err := c.page(ctx, path, q)
	if err != nil {
		return nil
	}
	found := []cobra.Completion{}
	for _, item := range p.Items {
		var named struct{ ID, Name string }
		if json.Unmarshal(item, &named) == nil && recordID.MatchString(named.ID) {
			found = append(found, cobra.CompletionWithDesc(named.ID, printable(named.Name)))
		}
	}
	return found
}
