package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// gone is an answer that nobody takes.
type gone struct{ header http.Header }

func (g gone) Header() http.Header       { return g.header }
func (gone) WriteHeader(int)             {}
func (gone) Write(b []byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAClientThatHangsUpDuringAnExportIsNobodysFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	svc := lifecycle.New(lifecycle.Config{Store: w.store, Keyring: w.ring})
	for _, form := range []string{"csv", "ndjson"} {
		a := New(svc, func(*http.Request) (lifecycle.Actor, *AuthProblem) { return local, nil })
		a.Report = func(_ *http.Request, err error) { require.NoError(t, err, form) }
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/audit-events?format="+form, nil)
		require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() { a.ServeHTTP(gone{http.Header{}}, r) }, form)
	}
}

func TestRowsGoOnlyWhereTheirEndCanBeTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := New(lifecycle.New(lifecycle.Config{Store: w.store, Keyring: w.ring}), func(*http.Request) (lifecycle.Actor, *AuthProblem) { return local, nil })
	for form, want := range map[string]int{"csv": 400, "ndjson": 200, "json": 200} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/audit-events?format="+form, nil)
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0
		answer := httptest.NewRecorder()
		a.ServeHTTP(answer, r)
		require.Equal(t, want, answer.Code, answer.Body.String())
	}
}
