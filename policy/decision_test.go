package policy

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryReasonHasACodeOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range Reasons() {
		require.Regexp(t, regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`), r.Code())
		require.False(t, seen[r.Code()], r.Code())
		seen[r.Code()] = true
		require.Equal(t, r.Code(), r.String())
		same, known := ReasonOf(r.Code())
		require.True(t, known)
		require.Equal(t, r, same)
	}
	_, known := ReasonOf("unknown")
	require.False(t, known)
	require.Len(t, seen, int(reasonCount))
	require.NotContains(t, seen, "unknown")
	require.Equal(t, "unknown", reasonCount.Code())
}

func TestADenialNeverAllows(t *testing.T) {
	t.Parallel()
	for _, r := range Reasons() {
		require.False(t, Deny(r).Allow, r)
	}
}

func TestATokenIsToBlameForThreeReasons(t *testing.T) {
	t.Parallel()
	var about []string
	for _, r := range Reasons() {
		if r.AboutToken() {
			about = append(about, r.Code())
		}
	}
	require.Equal(t, []string{"invalid_token", "client_inactive", "client_locked"}, about)
}

func TestTheScopeIsThePermissionTheRouteAsksFor(t *testing.T) {
	t.Parallel()
	require.Empty(t, Deny(NoRoute).Scope())
	require.Equal(t, "apps:update", Decision{Route: &Route{Resource: "apps"}, Action: Update}.Scope())
}
