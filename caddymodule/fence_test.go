package caddymodule

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEverySpellingThatACGIVariableMergesIsFenced(t *testing.T) {
	t.Parallel()
	gate := new(Gate)
	for _, separator := range "-_.!#$%&'*+^`|~" { // what a header name may hold (RFC 9110 section 5.6.2)
		c := string(separator)
		for _, name := range []string{
			"Keyreeve" + c + "Client" + c + "Id", "keyreeve" + c + "role", "KEYREEVE" + c, "Keyreeve" + c + "Key-Id",
			"X" + c + "Http" + c + "Method" + c + "Override", "X" + c + "HTTP" + c + "METHOD", "x-original" + c + "url", "Http" + c + "Method" + c + "Override",
		} {
			require.True(t, gate.fenced(name), name)
		}
	}
	for name := range overrideHeaders {
		require.GreaterOrEqual(t, len(name), minOverride, name)
		require.LessOrEqual(t, len(name), maxOverride, name)
		require.Contains(t, "xh", name[:1], name)
		require.True(t, gate.fenced(http.CanonicalHeaderKey(name)), name)
		require.False(t, (&Gate{ForwardOverrides: true}).fenced(name), name)
	}
	for _, name := range []string{
		"", "K", "Key", "Keyreeve", "Keyreeves-Id", "Key-Reeve-Id", "Keep-Alive", "X-Client-Id", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id",
		"X-Http-Methods", "X-Http-Method-Overrides", "Http2-Settings", "Host", "X-Requested-With", "Xhttp-Method",
	} {
		require.False(t, gate.fenced(name), name)
	}
}

func TestLookingAtAHeadersNameDoesNotAllocate(t *testing.T) {
	gate, some := new(Gate), false
	require.Zero(t, testing.AllocsPerRun(50, func() {
		for _, name := range [...]string{"X-Http-Method-Override", "X-Forwarded-For", "Keyreeve-Client-Id", "Accept", "X-Forwarded-Proto"} {
			some = gate.fenced(name) || some
		}
	}))
	require.True(t, some)
}

func TestConnectionMayNotNameAnIdentityHeaderInAnySpelling(t *testing.T) {
	t.Parallel()
	h := http.Header{"Connection": {"close, Keyreeve!Client!Id", "keyreeve+role"}}
	fenceConnection(h, h["Connection"])
	require.Equal(t, []string{"close"}, h["Connection"])
}
