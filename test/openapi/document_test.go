package openapi

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func exchange(method, target, body string, status int, answer string) Exchange {
	e := Exchange{Method: method, Target: target, Body: []byte(body), Header: http.Header{}, Status: status, ResponseHeader: http.Header{}, ResponseBody: []byte(answer)}
	if body != "" {
		e.Header.Set("Content-Type", "application/json")
	}
	if answer != "" {
		e.ResponseHeader.Set("Content-Type", "application/json; charset=utf-8")
	}
	return e
}

func TestAnExchangeIsHeldAgainstTheDocument(t *testing.T) {
	t.Parallel()
	d, err := Parse([]byte(small))
	require.NoError(t, err)
	for _, c := range []struct {
		e    Exchange
		want string // "" is fine
	}{
		{exchange("GET", "/a?q=x&n=3", "", 200, `{"id":"1","sub":[{"id":"2"}]}`), ""},
		{exchange("GET", "/a?q=z", "", 200, `{"id":"1"}`), "parameter q"},
		{exchange("GET", "/a?q=z", "", 404, ``), ""},
		{exchange("GET", "/a?n=10", "", 200, `{"id":"1"}`), "parameter n"},
		{exchange("GET", "/a?other=1", "", 200, `{"id":"1"}`), "other is not described"},
		{exchange("GET", "/a", "", 200, `{"id":1}`), "answered 200"},
		{exchange("GET", "/a", "", 200, `{"id":"1","secret":"s"}`), "secret"},
		{exchange("GET", "/a", "", 200, `{"sub":[]}`), "id"},
		{exchange("GET", "/a", "", 200, ``), "a body is described"},
		{exchange("GET", "/a", "", 500, ``), "status 500 is not described"},
		{exchange("GET", "/b", "", 200, ``), "no operation"},
		{exchange("POST", "/a", `{"name":null}`, 201, ``), ""},
		{exchange("POST", "/a", `{"old":"x"}`, 201, ``), "was accepted"},
		{exchange("POST", "/a", `{"name":"x"}`, 201, `{"id":"1"}`), "not described"},
	} {
		err := d.Check(c.e)
		if c.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.want)
		}
	}
	require.Empty(t, d.Unseen())
	fresh, err := Parse([]byte(small))
	require.NoError(t, err)
	require.NoError(t, fresh.Check(exchange("GET", "/a", "", 200, `{"id":"1"}`)))
	require.Equal(t, []string{"GET /a 404", "POST /a 201"}, fresh.Unseen())
}

func TestABrokenSchemaIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Parse([]byte(strings.Replace(small, "schemas/W\"", "schemas/Missing\"", 1)))
	require.Error(t, err)
}
