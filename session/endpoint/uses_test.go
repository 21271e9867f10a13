package endpoint_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

// lastUse is when a key was used last, as the store has it.
func (w *world) lastUse(name string) (k *keystore.Key) {
	w.t.Helper()
	require.NoError(w.t, w.keys.FlushUses(w.t.Context()))
	require.NoError(w.t, w.keys.View(w.t.Context(), func(r keystore.Reader) (err error) {
		k, err = r.Key(w.t.Context(), name)
		return err
	}))
	return k
}

func TestEveryCredentialThatIsProvenIsUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.tokenOf(w.alice)
	used := func(what, name string) {
		k := w.lastUse(name)
		require.Equal(t, []any{w.clock.Now().Wall, "192.0.2.1", ""}, []any{k.LastUsed.UTC(), k.LastUsedAddress, k.LastUsedRoute}, what)
		require.Equal(t, k.LastUsed, k.Secrets[0].LastUsed, what)
	}
	used("token endpoint", "alice")
	for what, ask := range map[string]func() answer{
		"sign-in": func() answer { return w.post("/signin", w.alice.post()) },
		"introspect": func() answer {
			return w.post("/oauth2/v1/introspect", "token="+url.QueryEscape(token), "Authorization", w.alice.basic())
		},
		"introspect by token": func() answer {
			return w.post("/oauth2/v1/introspect", "token="+url.QueryEscape(token), "Authorization", "Bearer "+token)
		},
		"an audience that is not allowed": func() answer {
			w.post("/oauth2/v1/token", "grant_type=client_credentials&audience=x", "Authorization", w.alice.basic())
			return answer{status: 200}
		},
	} {
		w.clock.Advance(10 * time.Second)
		require.Equal(t, 200, ask().status, what)
		used(what, "alice")
	}
}

func TestARefusedCredentialIsNoUseAndARetiredOneIsRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wrong := w.alice
	wrong.secret += "x"
	require.Equal(t, 401, w.post("/signin", wrong.post()).status)
	require.True(t, w.lastUse("alice").LastUsed.IsZero())

	w.edit("alice", func(k *keystore.Key) { k.Secrets[0].Retired = w.clock.Now().Wall })
	require.Equal(t, 401, w.post("/signin", w.alice.post()).status)
	k := w.lastUse("alice")
	require.Equal(t, "192.0.2.1", k.Secrets[0].TriedAddress)
	require.True(t, k.LastUsed.IsZero())
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.observed[len(w.observed)-1]
	require.True(t, last.RetiredUse, "operators are told")
	require.Equal(t, "alice", last.Key.ID)
}
