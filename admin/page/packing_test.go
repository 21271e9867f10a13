package page

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLongAnswersAreCompressedForWhoTakesThat(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	asked := func(accept string) answer { return b.get("/keyreeve/keys", "Accept-Encoding", accept) }

	a := asked("br, gzip;q=0.5")
	require.Equal(t, "gzip", a.Header.Get("Content-Encoding"))
	require.Contains(t, a.Header.Values("Vary"), "Accept-Encoding")
	zip, err := gzip.NewReader(strings.NewReader(a.body))
	require.NoError(t, err)
	plain, err := io.ReadAll(zip)
	require.NoError(t, err)
	holds(t, string(plain), "<h1>API keys</h1>")
	require.Less(t, 3*len(a.body), len(plain))

	for _, refused := range []string{"identity", "gzip;q=0", "br"} {
		a := asked(refused)
		require.Empty(t, a.Header.Get("Content-Encoding"), refused)
		require.Contains(t, a.Header.Values("Vary"), "Accept-Encoding")
		holds(t, a.body, "<h1>API keys</h1>")
	}
}

// Of a compressed answer, its length alone tells whether a text is in it twice.
func TestNoAnswerWithASecretIsCompressed(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	a := b.post("/keyreeve/keys/new", url.Values{"name": {"Plain"}, "role_id": {w.adminRole}, "enabled": {"true"}}, "Accept-Encoding", "gzip")
	require.Equal(t, http.StatusCreated, a.StatusCode, a.says())
	require.Empty(t, a.Header.Get("Content-Encoding"))
	holds(t, a.body, `id="shown-secret"`)
	require.Empty(t, w.browser().get("/keyreeve/login", "Accept-Encoding", "gzip").Header.Get("Content-Encoding"))
}
