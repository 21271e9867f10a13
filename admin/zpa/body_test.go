package zpa

import (
	"io"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestWhoLacksTheRightIsRefusedBeforeTheBodyIsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		by, method, path string
		status           int
	}{
		{w.viewer.ClientID, "POST", acmeKeys, 403},
		{w.viewer.ClientID, "PUT", acmeKeys + "/" + w.nobody.ID, 403},
		{w.nobody.ClientID, "POST", acmeKeys, 403},
		{w.foreign.ClientID, "POST", acmeKeys, 404},
		{w.foreign.ClientID, "PUT", acmeKeys + "/" + w.nobody.ID, 404},
	} {
		req := httptest.NewRequest(c.method, c.path, unread{t})
		req.ContentLength = 1 << 30
		req.SetBasicAuth(c.by, "")
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", "x")
		res := httptest.NewRecorder()
		w.face.ServeHTTP(res, req)
		require.Equal(t, c.status, res.Code, "%s %s: %s", c.method, c.path, res.Body)
	}
}

func TestABodyHasNoContentCoding(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const body = `{"name":"coded","roleId":"28"}`
	w.do(w.operator, "POST", acmeKeys, body, "Content-Encoding", "gzip").refused(t, 415, "unsupported.media.type", "Content-Encoding")
	require.Equal(t, 201, w.do(w.operator, "POST", acmeKeys, body, "Content-Encoding", "identity").status)
}
