package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

func TestALongListIsRefusedBeforeItsKeysAreRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.sourceAdmin()
	require.Equal(t, 201, w.do(admin, "POST", "/v1/sources", idp).status)
	many := func(one string, n int) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	for _, c := range []struct{ body, field string }{
		{`{"keys":[` + many(`{}`, maxElements+1) + `]}`, "keys"},
		{`{"keys":[{"labels":{` + many(`"a":"1"`, maxElements+1) + `}}]}`, "keys[0].labels"},
		{`{"keys":[],"dry_run":[` + many(`0`, maxElements+1) + `]}`, "dry_run"},
	} {
		a := w.do(admin, "PUT", "/v1/sources/idp/keys", c.body)
		require.Equal(t, 400, a.status)
		require.Equal(t, map[string]string{c.field: lifecycle.FieldTooMany}, a.fields())
	}
	a := w.do(admin, "PUT", "/v1/sources/idp/keys", `{`+many(`"a":1`, maxElements+1)+`}`)
	require.Equal(t, 400, a.status)
	require.Equal(t, codeMalformedJSON, a.code())
}

func TestListsAreWorkedOnAFewAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.sourceAdmin()
	require.Equal(t, 201, w.do(admin, "POST", "/v1/sources", idp).status)
	w.api.listWait = 0
	for range maxLists {
		w.api.lists <- struct{}{}
	}
	a := w.do(admin, "PUT", "/v1/sources/idp/keys", list(item("a", "")))
	require.Equal(t, 503, a.status, a.raw)
	require.Equal(t, codeBusy, a.code())
	require.Equal(t, "1", a.header.Get("Retry-After"))
	w.api.listWait = listWait
	<-w.api.lists
	require.Equal(t, 400, w.do(admin, "PUT", "/v1/sources/idp/keys", `{}`).status)
	require.Equal(t, 200, w.do(admin, "PUT", "/v1/sources/idp/keys", list(item("a", ""))).status)
	require.Len(t, w.api.lists, maxLists-1, "each gave its place back")
}

func TestACustomerSendsOneListAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.sourceAdmin()
	require.Equal(t, 201, w.do(admin, "POST", "/v1/sources", idp).status)
	turn, err := w.svc.StartPush(t.Context(), local, lifecycle.SourceRef{Name: "idp", CustomerID: "acme"})
	require.NoError(t, err)
	a := w.do(admin, "PUT", "/v1/sources/idp/keys", `{`)
	require.Equal(t, 409, a.status, "before its body is read")
	require.Equal(t, lifecycle.CodePushInProgress, a.code())
	require.Equal(t, "1", a.header.Get("Retry-After"))
	turn.End()
	require.Equal(t, 200, w.do(admin, "PUT", "/v1/sources/idp/keys", list()).status)
}

// deadlines notes the read deadlines that it is given.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// dripping reads so many bytes at a time.
type dripping struct {
	from io.Reader
	n    int
}

func (d dripping) Read(into []byte) (int, error) { return d.from.Read(into[:min(d.n, len(into))]) }

func TestABodyEarnsItsTimeByWhatComes(t *testing.T) {
	t.Parallel()
	read := func(size, step int) (base time.Time, given []time.Duration) {
		w := &deadlines{}
		p := &pacedReader{from: dripping{strings.NewReader(strings.Repeat("x", size)), step}, control: http.NewResponseController(w), grace: bodyGrace}
		_, err := io.Copy(io.Discard, struct{ io.Reader }{p})
		require.NoError(t, err)
		for _, at := range w.set {
			given = append(given, at.Sub(w.set[0]))
		}
		return w.set[0], given
	}
	before := time.Now()
	base, given := read(3*bodyPace+5, 1000)
	require.False(t, base.Before(before.Add(bodyGrace)))
	require.Equal(t, []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}, given)
	_, given = read(bodyPace-1, 7000)
	require.Equal(t, []time.Duration{0}, given, "a byte now and then earns nothing")
}

func TestABodyThatStallsIsGivenUpAndItsConnectionWithIt(t *testing.T) {
	t.Parallel()
	errs := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &pacedReader{from: r.Body, control: http.NewResponseController(w), grace: time.Millisecond}
		_, err := io.ReadAll(p)
		errs <- err
		w.WriteHeader(400)
	}))
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{")
	require.NoError(t, err)
	require.ErrorIs(t, <-errs, os.ErrDeadlineExceeded)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, 400, answer.StatusCode)
	require.True(t, answer.Close)
}

func TestTheDeadlineIsLiftedOnceABodyIsReadAndLeftToAServerThatHasOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		timeout time.Duration
		body    io.Reader
		lifted  bool
		sets    int
	}{
		{"read", 0, strings.NewReader("{}"), true, 2},
		{"broken off", 0, io.MultiReader(strings.NewReader("{"), broken{errors.New("gone")}), false, 1},
		{"the server's own", time.Minute, strings.NewReader("{}"), false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &deadlines{ResponseWriter: httptest.NewRecorder()}
			r := httptest.NewRequest("PUT", "/", c.body)
			r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, &http.Server{ReadTimeout: c.timeout}))
			_, _ = readWhole(w, r, maxBody)
			require.Len(t, w.set, c.sets)
			require.Equal(t, c.lifted, c.sets > 0 && w.set[len(w.set)-1].IsZero())
		})
	}
}
