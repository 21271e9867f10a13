package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheDemoClaimsTwoPortsThatNobodyHas(t *testing.T) {
	t.Parallel()
	d := &demo{listen: "127.0.0.1:0", adminListen: ":0"}
	require.NoError(t, d.claimPorts())
	for address, host := range map[string]string{d.listen: "127.0.0.1", d.adminListen: "0.0.0.0"} {
		h, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		require.Equal(t, host, h)
		require.NotEqual(t, "0", port)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, taken.Close()) })
	busy := taken.Addr().String()
	for _, c := range []struct{ listen, adminListen, flag string }{
		{busy, "127.0.0.1:0", "--listen"},
		{"127.0.0.1:0", busy, "--admin-listen"},
		{d.listen, d.listen, "--admin-listen"},
		{"nonsense", "127.0.0.1:0", "--listen"},
		{"127.0.0.1:0", "127.0.0.1:99999", "--admin-listen"},
	} {
		err := (&demo{listen: c.listen, adminListen: c.adminListen}).claimPorts()
		require.ErrorContains(t, err, c.flag+": ", "%+v", c)
	}
}

func TestWhatListensEverywhereIsCalledOnLoopback(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080",
		"0.0.0.0:8080":   "http://127.0.0.1:8080",
		"[::]:8080":      "http://[::1]:8080",
		"[::1]:8080":     "http://[::1]:8080",
		"localhost:8080": "http://localhost:8080",
		"192.0.2.1:80":   "http://192.0.2.1:80",
	} {
		require.Equal(t, want, callURL(address), address)
	}
}
