package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func TestAnAnswerThatCaddyWritesCarriesTheCORSHeadersToo(t *testing.T) {
	const origin = "https://app.example.com"
	g := startEdited(t, "", inGate("cors "+origin+"\nerror_format caddy"))
	k := g.newKey("a", keystore.RoleFullAccess)
	g.upstream.Close() // nobody answers any more: reverse_proxy returns an error
	for status, with := range map[int]func(*http.Request){
		401: func(*http.Request) {},
		502: func(r *http.Request) { r.SetBasicAuth(k.clientID, k.secret) },
	} {
		r, err := http.NewRequest(http.MethodGet, g.gateURL+"/things/a", http.NoBody)
		require.NoError(t, err)
		r.Header.Set("Origin", origin)
		with(r)
		resp, err := client.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, status, resp.StatusCode)
		require.Equal(t, []string{origin}, resp.Header.Values("Access-Control-Allow-Origin"), status)
		require.Contains(t, resp.Header.Values("Vary"), "Origin")
		require.Contains(t, resp.Header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate")
	}
}

// inGate puts lines into the gate's block.
func inGate(lines string) func(string) string {
	return func(s string) string {
		return strings.Replace(s, "\t\tpublic GET /healthz\n", "\t\tpublic GET /healthz\n"+lines+"\n", 1)
	}
}
