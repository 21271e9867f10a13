package api

import (
	"io"
	"net/http"
	"time"
)

const (
	// bodyGrace is how long a body may take, beside the time that its bytes give it.
	bodyGrace = 30 * time.Second
	// bodyPace is how many bytes give a body another second: 256 KiB. One of 16 MiB has
	// a minute and a half.
	bodyPace = 256 << 10
)

// readWhole reads a body of up to most bytes. One that comes too slowly is given up
// (os.ErrDeadlineExceeded): what was read of it would be held for as long as its sender
// likes. A server that has a limit of its own for whole requests keeps to that.
func readWhole(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	limited := http.MaxBytesReader(w, r.Body, most)
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	if server == nil || server.ReadTimeout > 0 {
		return io.ReadAll(limited)
	}
	paced := &pacedReader{from: limited, control: http.NewResponseController(w), grace: bodyGrace}
	body, err := io.ReadAll(paced)
	if err == nil {
		// The request is read; left in place, the deadline would end it as if its
		// client had gone. After an error it stands: the rest is not waited for either.
		paced.setDeadline(time.Time{})
	}
	return body, err
}

// pacedReader moves the deadline of a connection's reads on as bytes arrive.
type pacedReader struct {
	from    io.Reader
	control *http.ResponseController
	grace   time.Duration

	// base is when the body would be given up had nothing come.
	base time.Time
	// read is how many bytes came, and paid those that the deadline was moved for.
	read, paid int64
}

func (p *pacedReader) Read(into []byte) (int, error) {
	if p.base.IsZero() {
		p.base = time.Now().Add(p.grace) // a connection's own clock
		p.setDeadline(p.base)
	}
	n, err := p.from.Read(into)
	p.read += int64(n)
	if earned := p.read / bodyPace; earned > p.paid/bodyPace {
		p.paid = p.read
		p.setDeadline(p.base.Add(time.Duration(earned) * time.Second))
	}
	return n, err
}

// setDeadline does nothing where a connection takes none: within the process.
func (p *pacedReader) setDeadline(at time.Time) { _ = p.control.SetReadDeadline(at) }
