package load

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// drip holds connections open that have sent the beginning of a request, and sends a byte
// more over each, one after the other, until they are let go.
func (g *gate) drip(t *testing.T, count int, beginning string) (release func()) {
	t.Helper()
	var conns []net.Conn
	for range count {
		conn, err := net.Dial("tcp", g.plain)
		require.NoError(t, err)
		_, err = io.WriteString(conn, beginning)
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			for _, conn := range conns {
				_, _ = conn.Write([]byte("x")) // the gate may have hung up
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}
	})
	return func() {
		close(stop)
		group.Wait()
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

// TestSlowHeadersHoldNoNeighbourUp sends headers a byte at a time over hundreds of
// connections.
//
// Case: flood-slow-headers
func TestSlowHeadersHoldNoNeighbourUp(t *testing.T) {
	g := newGate(t)
	g.withstands(t, func() (int, func()) {
		count := 200 * min(soaking(), 20)
		return count, g.drip(t, count, "GET "+g.path+" HTTP/1.1\r\nHost: gate.test\r\nX-Slow: ")
	})
}

// TestSlowBodiesHoldNoNeighbourUp sends sign-ins whose body does not end.
func TestSlowBodiesHoldNoNeighbourUp(t *testing.T) {
	g := newGate(t)
	g.withstands(t, func() (int, func()) {
		count := 200 * min(soaking(), 20)
		return count, g.drip(t, count, "POST /signin HTTP/1.1\r\nHost: gate.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n\r\nclient_id=")
	})
}

// TestHugeHeadersHoldNoNeighbourUp sends more header than is read at all, and the most
// that is, again and again over a few connections at once.
func TestHugeHeadersHoldNoNeighbourUp(t *testing.T) {
	g := newGate(t)
	g.withstands(t, func() (int, func()) {
		count := 40 * soaking()
		var group sync.WaitGroup
		var mu sync.Mutex
		statuses := map[string]int{}
		for worker := range 4 {
			group.Go(func() {
				for n := worker; n < count; n += 4 {
					size := 14 << 10 // below the 16 KiB that Caddy reads
					if n%2 == 1 {
						size = 2 << 20
					}
					status := g.huge(size)
					mu.Lock()
					statuses[fmt.Sprint(size>>10, " KiB: ", status)]++
					mu.Unlock()
				}
			})
		}
		group.Wait()
		t.Log(statuses)
		require.Equal(t, count/2, statuses["14 KiB: 401"], "%v", statuses)
		for what := range statuses { // too much is refused, or hung up on while it is sent
			require.Contains(t, []string{"14 KiB: 401", "2048 KiB: 431", "2048 KiB: "}, what)
		}
		return count, nil
	})
}

// huge sends a request with so many bytes of headers and returns the answer's status, ""
// where there was none.
func (g *gate) huge(size int) string {
	conn, err := net.Dial("tcp", g.plain)
	if err != nil {
		return "no connection"
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute)) // one that cannot be set ends as one that passed
	var sent sync.WaitGroup
	sent.Go(func() {
		_, _ = io.WriteString(conn, "GET "+g.path+" HTTP/1.1\r\nHost: gate.test\r\nConnection: close\r\nX-Huge: "+strings.Repeat("x", size)+"\r\n\r\n")
	})
	answer, _ := io.ReadAll(conn) // a reset after the answer is how too much is refused
	_ = conn.Close()
	sent.Wait()
	fields := strings.Fields(string(answer))
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}
