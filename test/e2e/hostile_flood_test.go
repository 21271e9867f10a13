package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// figure is a measurement of the running program, after a collection of its garbage.
func (g *gate) figure(t *testing.T, name string) float64 {
	t.Helper()
	const local = " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
	require.Equal(t, 200, sendUnix(t, g.house.socket(), "GET /debug/pprof/heap?gc=1"+local).status)
	text := sendUnix(t, g.house.socket(), "GET /metrics"+local).body
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			return n
		}
	}
	t.Fatalf("the program does not measure %s", name)
	return 0
}

// flood asks as clients from..to, which are none, over a few connections that are kept.
func (g *gate) flood(t *testing.T, from, to int) {
	t.Helper()
	const connections = 16
	var all sync.WaitGroup
	for worker := range connections {
		all.Go(func() {
			if err := g.floodOver(from+worker, to, connections); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func (g *gate) floodOver(from, to, step int) error {
	conn, err := net.DialTimeout("tcp", g.address, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for i := from; i < to; i += step {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, request("GET", g.house.applications(), basic(fmt.Sprintf("kr_%022d", i), "krs_x"), marked("flood"))); err != nil {
			return err
		}
		a, err := readAnswer(answers, http.MethodGet)
		if err != nil {
			return err
		}
		if a.status != 401 || a.code() != "invalid_client" {
			return fmt.Errorf("unknown client %d: %d %s", i, a.status, a.body)
		}
	}
	return nil
}

// TestAFloodOfUnknownClientsTakesNoMemoryWritesNoRowAndEndsNoLock first has the memory
// of unknown clients filled, which is bounded; from then on nothing may grow. In the long
// form, a million of them.
//
// Case: lockout-unknown-flood
func TestAFloodOfUnknownClientsTakesNoMemoryWritesNoRowAndEndsNoLock(t *testing.T) {
	h := newHouse(t)
	up := newUpstream(t)
	s := allForms(t, h, up)
	s.app = "lockout {\nfailure_floor 0\n}\ncache {\nunknown 4096\n}"
	g := h.run(t, s)
	g.fails(t, h.full, 3)
	g.fails(t, h.readonly, 2)
	before := g.lock(t, h.full)
	require.True(t, before.Locked)

	const warm = 20_000
	total := 50_000 * soaking()
	g.flood(t, 0, warm)
	held := g.figure(t, "go_memstats_heap_alloc_bytes")
	running := g.figure(t, "go_goroutines")
	g.flood(t, warm, total)
	// Of 30,000 clients in the short form, about 100 bytes kept of each would be too much.
	require.Less(t, g.figure(t, "go_memstats_heap_alloc_bytes"), held+3<<20, "after %d clients more", total-warm)
	require.Less(t, g.figure(t, "go_goroutines"), running+64)

	g.isRefused(t, h.full)
	after := g.lock(t, h.full)
	require.True(t, after.Locked)
	require.WithinDuration(t, *before.LockedUntil, *after.LockedUntil, 20*time.Millisecond)
	require.Equal(t, lock{FailedAttempts: 2}, g.lock(t, h.readonly))
	g.works(t, h.application)
	require.Empty(t, up.received("flood"))

	require.NoError(t, g.Stop())
	db := openDatabase(t, h.db)
	var rows int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM tallies WHERE failures > 0 OR locked_for_ns > 0").Scan(&rows))
	require.NoError(t, db.Close())
	require.Equal(t, 2, rows, "of clients that are there")
}
