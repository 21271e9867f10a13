package page

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFormsAreBoundedAndNothingButForms(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	large := url.Values{"name": {strings.Repeat("x", maxForm)}}
	require.Equal(t, http.StatusRequestEntityTooLarge, b.post("/keyreeve/keys/new", large).StatusCode)
	require.Equal(t, http.StatusUnsupportedMediaType, b.do(http.MethodPost, "/keyreeve/keys/new", "{}", "Content-Type", "application/json").StatusCode)
	require.Equal(t, http.StatusBadRequest, b.do(http.MethodPost, "/keyreeve/keys/new", "name=%zz", "Content-Type", "application/x-www-form-urlencoded").StatusCode)
}

func TestAnAnswerToAFormIsNotManyTimesAsLong(t *testing.T) {
	w := newWorld(t)
	for path, form := range map[string]url.Values{
		"/keyreeve/audit/verify":  {"head": {strings.Repeat("a,", maxForm/2-100)}},
		"/keyreeve/keys/new":      {"labels": {strings.Repeat("'\n", maxForm/8)}, "allowed_cidrs": {strings.Repeat("'\n", maxForm/8)}, "as": {"commands"}},
		"/keyreeve/customers/new": {"name": {strings.Repeat("'", maxForm/4)}, "as": {"commands"}},
	} {
		a := w.as(w.operator).post(path, form)
		require.Less(t, len(a.body), 12*maxForm, path)
	}
}

func TestAFormTellsSoManyFaultsAndNoMore(t *testing.T) {
	f := NewForm(nil)
	for range 10 * maxFaults {
		f.Fail("labels", "Is wrong.")
	}
	require.Len(t, f.Faults(), maxFaults)
	require.NotEmpty(t, f.Summary)
}

func TestOneActorTakesSoManyTurnsAtATime(t *testing.T) {
	turns := newTurns()
	for range maxTurns {
		require.True(t, turns.enter("a"))
	}
	require.False(t, turns.enter("a"))
	require.True(t, turns.enter("b"), "another's are its own")
	turns.leave("a")
	require.True(t, turns.enter("a"))
	for range maxTurns {
		turns.leave("a")
	}
	turns.leave("b")
	require.Empty(t, turns.busy)
}

func TestANoticeIsToldToWhoItWasLeftForAlone(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	a := b.post("/keyreeve/keys/"+w.viewer.ID+"/status", url.Values{"enabled": {"false"}, "to": {"disable"}})
	require.Equal(t, http.StatusSeeOther, a.StatusCode, a.body)
	b.post("/keyreeve/logout", nil)
	require.NotContains(t, b.get("/keyreeve/login").body, "viewer")
}
