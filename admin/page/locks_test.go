package page

import (
	"html"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// lock locks a key as its client's wrong secrets do.
func (w *world) lock(k lifecycle.CreatedKey) {
	w.Helper()
	rules := policy.DefaultLockout()
	for i := range rules.Attempts {
		_, err := w.store.Count(w.Context(), rules, []keystore.Proof{{KeyID: k.ID, Fingerprint: uint64(i), Address: "192.0.2.9"}})
		require.NoError(w, err)
	}
}

func TestLocksAreShownToWhoMaySeeThem(t *testing.T) {
	w := newWorld(t)
	a := w.as(w.admin).get("/keyreeve/locks")
	holds(t, a.body, "No key is locked")
	lacks(t, a.body, "<table")
	for _, k := range []lifecycle.CreatedKey{w.bystander, w.tenant, w.foreign} {
		w.lock(k)
	}
	require.Equal(t, []string{"bystander", "foreign", "tenant"}, w.as(w.operator).get("/keyreeve/locks").names())
	require.Equal(t, []string{"bystander", "tenant"}, w.as(w.admin).get("/keyreeve/locks").names())
	require.Equal(t, []string{"tenant"}, w.as(w.admin).get("/keyreeve/locks?microtenant_id=emea").names())
	require.Empty(t, w.as(w.admin).get("/keyreeve/locks?customer_id=umbrella").names())
	holds(t, w.as(w.operator).get("/keyreeve/locks?microtenant_id=none").body, "No key is locked here")
	require.Equal(t, http.StatusForbidden, w.as(w.viewer).get("/keyreeve/locks").StatusCode)

	a = w.as(w.admin).get("/keyreeve/locks")
	holds(t, a.body, `href="/keyreeve/keys/`+w.bystander.ID+`/unlock"`)
	holds(t, a.body, "data-countdown")
	lacks(t, w.as(w.auditor("")).get("/keyreeve/locks").body, "/unlock", "who may only look is not offered it")
}

func TestLocksAreAskedForAgainAndAnsweredOnlyWhenTheyChange(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	live := func(a answer) string {
		m := regexp.MustCompile(`hx-get="(/keyreeve/locks/live[^"]*)"`).FindStringSubmatch(a.body)
		require.NotNil(t, m, a.body)
		return html.UnescapeString(m[1])
	}
	at := live(b.get("/keyreeve/locks"))
	require.Equal(t, http.StatusNoContent, b.get(at, "HX-Request", "true").StatusCode)
	w.lock(w.bystander)
	a := b.get(at, "HX-Request", "true")
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Equal(t, []string{"bystander"}, a.names())
	require.Equal(t, http.StatusNoContent, b.get(live(a), "HX-Request", "true").StatusCode)
	w.clock.Advance(time.Hour)
	require.Empty(t, w.as(w.admin).get("/keyreeve/locks").names(), "it ends by itself")
	require.Equal(t, "/keyreeve/locks", w.as(w.admin).get("/keyreeve/locks/live").Header.Get("Location"))
}
