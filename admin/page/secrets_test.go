package page

import (
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// use notes that a secret of a key was good, or, of one that is over, was tried.
func (w *world) use(keyID, secretID, address, route string, retired bool) {
	w.Helper()
	require.NoError(w, w.store.Use(w.Context(), []keystore.Use{{KeyID: keyID, SecretID: secretID, At: w.clock.Now().Wall,
		Address: address, Route: route, Retired: retired}}))
}

func rotateURL(k lifecycle.Key) string { return "/keyreeve/keys/" + k.ID + "/secrets/new" }

func retireURL(k lifecycle.Key, secretID string) string {
	return "/keyreeve/keys/" + k.ID + "/secrets/" + secretID + "/retire"
}

// secretsOf are those of a key that are good, newest first.
func (w *world) secretsOf(k lifecycle.CreatedKey) []lifecycle.Secret {
	w.Helper()
	now, err := w.svc.GetKey(w.Context(), atMachine, k.ID)
	require.NoError(w, err)
	return now.Secrets
}

// list is the part of a key's page that shows its secrets.
func (w *world) list(k lifecycle.CreatedKey) *secretsList {
	w.Helper()
	now, err := w.svc.GetKey(w.Context(), atMachine, k.ID)
	require.NoError(w, err)
	r, err := http.NewRequestWithContext(w.Context(), http.MethodGet, "/", nil)
	require.NoError(w, err)
	d, err := (&visit{page: w.page, r: r, actor: atMachine}).secretsList(now)
	require.NoError(w, err)
	return d
}

func TestARotationShowsTheNewSecretAndKeepsTheClientID(t *testing.T) {
	for overlap, wantEnd := range map[string]time.Duration{"86400": 24 * time.Hour, "3600": time.Hour, "null": -1, "0": 0} {
		w := newWorld(t)
		b := w.as(w.admin)
		k := w.viewer
		a := b.get(rotateURL(k.Key))
		require.Equal(t, http.StatusOK, a.StatusCode)
		holds(t, a.body, `value="86400" checked`)
		holds(t, a.body, k.ClientID)
		form := url.Values{"once": {a.hidden("once")}, "version": {a.hidden("version")}, "previous_expires_in": {overlap}}
		a = b.post(rotateURL(k.Key), form, "HX-Request", "true")
		require.Equal(t, http.StatusCreated, a.StatusCode, a.says())
		secret := a.shown()["secret"]
		require.Equal(t, k.ClientID, a.shown()["id"])
		require.NotEqual(t, k.ClientSecret, secret)
		lacks(t, a.body, k.ClientSecret)

		live := w.secretsOf(k)
		switch {
		case wantEnd == 0:
			require.Len(t, live, 1)
		case wantEnd < 0:
			require.Len(t, live, 2)
			require.Nil(t, live[1].ExpiresAt)
		default:
			require.WithinDuration(t, w.clock.Now().Wall.Add(wantEnd), *live[1].ExpiresAt, time.Second)
		}
		again := b.post(rotateURL(k.Key), form, "HX-Request", "true")
		lacks(t, again.body, secret)
		holds(t, again.body, "was shown before")
		require.Len(t, w.secretsOf(k), len(live), "sent twice, done once")
	}
}

func TestAThirdSecretIsRefusedAndTheWayOutTold(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	k := w.viewer
	_, _, err := w.svc.RotateSecret(t.Context(), atMachine, k.ID, lifecycle.Rotation{PreviousExpiresIn: lifecycle.Null[int64]()}, nil)
	require.NoError(t, err)
	live := w.secretsOf(k)
	a := b.get(rotateURL(k.Key))
	for _, one := range live {
		holds(t, a.body, retireURL(k.Key, one.ID))
	}
	lacks(t, a.body, `value="3600"`, "what would be refused is not offered")
	require.Equal(t, http.StatusBadRequest, b.post(rotateURL(k.Key), url.Values{"once": {"x"}}).StatusCode, "ending both takes a tick")
	a = b.post(rotateURL(k.Key), url.Values{"once": {"x"}, "previous_expires_in": {"3600"}})
	require.Equal(t, http.StatusConflict, a.StatusCode)
	holds(t, a.body, "Retire one of them first")
	a = b.post(rotateURL(k.Key), url.Values{"once": {"x"}, "previous_expires_in": {"0"}})
	require.Equal(t, http.StatusCreated, a.StatusCode, a.says())
	holds(t, a.body, "Both secrets before it are retired.")
	require.Len(t, w.secretsOf(k), 1)
}

func TestASecretInUseIsRetiredOnlyByForce(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	k := w.bystander
	require.Equal(t, http.StatusForbidden, b.post(retireURL(k.Key, k.Secrets[0].ID), nil).StatusCode, "it can do more than the actor")

	k = w.viewer
	at := retireURL(k.Key, k.Secrets[0].ID)
	lacks(t, b.get(at).body, `name="force"`, "never used")
	holds(t, b.get(at).body, "only secret of this key")
	w.use(k.ID, k.Secrets[0].ID, "198.51.100.7", "", false)
	w.clock.Advance(time.Minute)
	a := b.post(at, url.Values{})
	require.Equal(t, http.StatusConflict, a.StatusCode)
	holds(t, a.body, "198.51.100.7")
	holds(t, a.body, `name="force"`)
	holds(t, html.UnescapeString(a.body), "?force=true")
	require.Len(t, w.secretsOf(k), 1)
	require.Equal(t, http.StatusPreconditionFailed, b.post(at, url.Values{"force": {"true"}, "version": {"1"}}).StatusCode)

	a = b.post(at, url.Values{"force": {"true"}})
	require.Equal(t, http.StatusSeeOther, a.StatusCode, a.says())
	require.Equal(t, "/keyreeve/keys/"+k.ID, a.Header.Get("Location"))
	require.Empty(t, w.secretsOf(k))
	holds(t, b.get(at).body, "over already")
}

func TestSecretsOfOthersAreNotThere(t *testing.T) {
	w := newWorld(t)
	foreign, viewer := w.as(w.foreign), w.as(w.viewer)
	k := w.viewer.Key
	sid := k.Secrets[0].ID
	for _, path := range []string{rotateURL(k), retireURL(k, sid)} {
		require.Equal(t, http.StatusNotFound, foreign.get(path).StatusCode, path)
		require.Equal(t, http.StatusNotFound, foreign.post(path, url.Values{"previous_expires_in": {"0"}}).StatusCode, path)
		require.Equal(t, http.StatusForbidden, viewer.get(path).StatusCode, path)
		require.Equal(t, http.StatusForbidden, viewer.post(path, url.Values{"previous_expires_in": {"0"}}).StatusCode, path)
	}
	require.Equal(t, http.StatusNotFound, w.as(w.admin).get(retireURL(k, "sec_none")).StatusCode)
	require.Equal(t, http.StatusNotFound, w.as(w.admin).get(retireURL(k, w.bystander.Secrets[0].ID)).StatusCode, "another key's")
	require.Len(t, w.secretsOf(w.viewer), 1)
}

func TestSecretsOfASourceAreItsOwnersToRotate(t *testing.T) {
	w := newWorld(t)
	w.source("acme", "idp")
	w.push(lifecycle.SourceRef{Name: "idp", CustomerID: "acme"}, "from-idp")
	k := w.stored("from-idp")
	b := w.as(w.operator)
	for _, path := range []string{rotateURL(k), retireURL(k, k.Secrets[0].ID)} {
		holds(t, b.get(path).body, "issued by its source", path)
	}
	holds(t, b.post(rotateURL(k), url.Values{"previous_expires_in": {"0"}, "once": {"x"}}).body, "issued by its source")
	holds(t, b.post(retireURL(k, k.Secrets[0].ID), nil).body, "issued by its source")
}

func TestTheLightTurnsGreenWithTheFirstUse(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	k := w.viewer.Key
	began := w.clock.Now().Wall.Unix()
	at := "/keyreeve/keys/" + k.ID + "/secrets/" + k.Secrets[0].ID + "/use?since=" + strconv.FormatInt(began, 10)
	htmx := []string{"HX-Request", "true"}
	require.Equal(t, http.StatusNoContent, b.get(at, htmx...).StatusCode)
	w.use(k.ID, k.Secrets[0].ID, "198.51.100.7", "/orders/{id}", false)
	a := b.get(at, htmx...)
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, a.body, `class="light on"`)
	holds(t, a.body, "198.51.100.7")
	holds(t, a.body, "/orders/{id}")
	lacks(t, a.body, "hx-get", "it stops asking")

	// After half an hour, or where there is nothing to wait for, it stops too.
	idle := w.bystander.Key
	at = "/keyreeve/keys/" + idle.ID + "/secrets/" + idle.Secrets[0].ID + "/use?since=" + strconv.FormatInt(began, 10)
	w.clock.Advance(31 * time.Minute)
	b = w.as(w.admin)
	a = b.get(at, htmx...)
	holds(t, a.body, "Not used within half an hour")
	lacks(t, a.body, "hx-trigger")
	a = b.get(html.UnescapeString(firstLink(a.body))+"&again=1", htmx...)
	holds(t, a.body, `hx-trigger="every 2s"`, "asked to, it looks again")
	gone := w.as(w.foreign).get(at, htmx...)
	holds(t, gone.body, "no longer good")
	lacks(t, gone.body, "hx-get")
	require.Equal(t, http.StatusSeeOther, b.get(at).StatusCode, "without script it leads to the key")
}

func TestHowFarARotationGotIsTold(t *testing.T) {
	w := newWorld(t)
	k := w.viewer
	old := k.Secrets[0].ID
	require.Empty(t, w.list(k).Live[0].Words, "one alone is in no rotation")
	w.use(k.ID, old, "198.51.100.7", "", false)
	_, _, err := w.svc.RotateSecret(t.Context(), atMachine, k.ID, lifecycle.Rotation{PreviousExpiresIn: lifecycle.Null[int64]()}, nil)
	require.NoError(t, err)
	w.clock.Advance(5 * time.Minute)
	d := w.list(k)
	require.True(t, d.Full())
	require.Contains(t, d.Live[0].Words, "Not used yet")
	require.Equal(t, "Still used 5 minutes ago from 198.51.100.7.", d.Live[1].Words)
	require.Equal(t, "warn", d.Live[1].Tone)

	w.clock.Advance(3*24*time.Hour - 5*time.Minute)
	require.Contains(t, w.list(k).Live[1].Words, "nor is the newer one", "nobody uses anything: no reason to trust the new one")
	w.use(k.ID, d.Live[0].ID, "198.51.100.8", "", false)
	d = w.list(k)
	require.Equal(t, "Not used for 3 days, and the newer one is: most likely safe to retire.", d.Live[1].Words)
	w.clock.Advance(5 * 24 * time.Hour)
	require.Equal(t, "Not used for 8 days: safe to retire.", w.list(k).Live[1].Words)

	_, err = w.svc.RetireSecret(t.Context(), atMachine, k.ID, old, true, nil)
	require.NoError(t, err)
	w.use(k.ID, old, "198.51.100.9", "", true)
	w.clock.Advance(2 * time.Hour)
	d = w.list(k)
	require.Len(t, d.Past, 1)
	require.Equal(t, "Still tried 2 hours ago from 198.51.100.9, and refused: a deployment that lags.", d.Past[0].Words)
}

func TestRotatingAndRetiringCanBeShownAsCommands(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	k := w.viewer.Key
	a := b.post(rotateURL(k), url.Values{"once": {"x"}, "previous_expires_in": {"null"}, "as": {"commands"}})
	text := html.UnescapeString(a.body)
	holds(t, text, "keyreeve secret rotate id:"+k.ID+" --previous-expires-in never --url")
	holds(t, text, `{"previous_expires_in":null}`)
	require.Len(t, w.secretsOf(w.viewer), 1)
	text = html.UnescapeString(b.get(retireURL(k, k.Secrets[0].ID)).body)
	holds(t, text, "keyreeve secret retire id:"+k.ID+" "+k.Secrets[0].ID+" --url")
	holds(t, text, "-X DELETE")
}

func TestNamesOfKubernetesAreMadeOfAnyName(t *testing.T) {
	for name, want := range map[string]string{"Billing export (prod)": "keyreeve-billing-export-prod", "Zürich": "keyreeve-z-rich", "日本": "keyreeve", "--x--": "keyreeve-x"} {
		require.Equal(t, want, resourceName(name))
	}
	require.LessOrEqual(t, len(resourceName("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")), 63)
}

// firstLink is the first link of a part.
func firstLink(body string) string {
	_, rest, _ := strings.Cut(body, `href="`)
	href, _, _ := strings.Cut(rest, `"`)
	return href
}
