package load

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestStreamsOpenedAndResetHoldNoNeighbourUp opens HTTP/2 streams and resets each at once
// (CVE-2023-44487), each with a credential that has to be looked up.
//
// Case: flood-rapid-reset
func TestStreamsOpenedAndResetHoldNoNeighbourUp(t *testing.T) {
	g := newGate(t)
	g.withstands(t, func() (int, func()) {
		sent, goaways := 0, 0
		goal := 5000 * soaking()
		for sent < goal {
			n, ended := g.resets(t, goal-sent)
			sent += n
			if ended {
				goaways++
			}
		}
		t.Logf("%d streams, %d connections that the gate ended", sent, goaways)
		return sent, nil
	})
}

// resets opens and resets streams on a connection of its own until the gate has had
// enough of it, and tells how many it sent and whether the gate ended it. A ping now and
// then keeps it from running ahead of what the gate has read.
func (g *gate) resets(t *testing.T, most int) (sent int, ended bool) {
	t.Helper()
	conn, err := net.Dial("tcp", g.plain)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	require.NoError(t, framer.WriteSettings())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for stream := uint32(1); sent < most; sent++ {
		block.Reset()
		for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "gate.test"}, {":path", "/things/reset"},
			{"authorization", basic("someone", "not-a-secret")}} {
			require.NoError(t, encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
		}
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil ||
			framer.WriteRSTStream(stream, http2.ErrCodeCancel) != nil {
			return sent + 1, true
		}
		stream += 2
		if sent%100 != 99 {
			continue
		}
		if framer.WritePing(false, [8]byte{}) != nil {
			return sent + 1, true
		}
		for answered := false; !answered; {
			frame, err := framer.ReadFrame()
			if err != nil {
				return sent + 1, true
			}
			switch frame := frame.(type) {
			case *http2.GoAwayFrame:
				return sent + 1, true
			case *http2.PingFrame:
				answered = frame.IsAck()
			case *http2.SettingsFrame:
				if !frame.IsAck() && framer.WriteSettingsAck() != nil {
					return sent + 1, true
				}
			}
		}
	}
	return sent, false
}
