// Package faultproxy puts the faults of a network between a program under test and a
// server: toxiproxy in the test's own process, and one fault that it has not.
package faultproxy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

// Proxy stands before one server. Its address stays the same while it is down.
type Proxy struct{ proxy *toxiproxy.Proxy }

// Start puts a proxy before a server's address, gone with t.
func Start(t testing.TB, upstream string) *Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	// Not any port: while it is down the system would give it to who connects somewhere.
	p := &Proxy{proxy: toxiproxy.NewProxy(server, "fault", proctest.FreeAddress(), upstream)}
	p.Up(t)
	t.Cleanup(p.proxy.Stop)
	return p
}

// Address is where the server is reached through the proxy.
func (p *Proxy) Address() string { return p.proxy.Listen }

// Down refuses connections and closes those that there are, as a host does whose server
// has ended. Up ends that.
func (p *Proxy) Down() { p.proxy.Stop() }

// Up lets connections through again.
func (p *Proxy) Up(t testing.TB) {
	t.Helper()
	if err := p.proxy.Start(); err != nil {
		t.Fatal(err)
	}
}

// Slow delays what the server answers.
func (p *Proxy) Slow(t testing.TB, by time.Duration) {
	t.Helper()
	p.add(t, "latency", "downstream", fmt.Sprintf(`{"latency": %d}`, by.Milliseconds()))
}

// Silence drops all that is sent, both ways, and closes nothing: connections are half
// open, and those whose bytes were lost stay so when it is over.
func (p *Proxy) Silence(t testing.TB) {
	t.Helper()
	p.add(t, blackhole, "upstream", "{}")
	p.add(t, blackhole, "downstream", "{}")
}

// Deaf drops what the server answers: it hears, and does, what it is told.
func (p *Proxy) Deaf(t testing.TB) {
	t.Helper()
	p.add(t, blackhole, "downstream", "{}")
}

// Reset ends each connection with a reset soon after it is used.
func (p *Proxy) Reset(t testing.TB) {
	t.Helper()
	p.add(t, "reset_peer", "downstream", `{"timeout": 1}`)
}

// Limit closes each connection once the server has answered so many bytes.
func (p *Proxy) Limit(t testing.TB, bytes int) {
	t.Helper()
	p.add(t, "limit_data", "downstream", fmt.Sprintf(`{"bytes": %d}`, bytes))
}

// Heal takes all faults away, but for Down.
func (p *Proxy) Heal() { p.proxy.Toxics.ResetToxics(context.Background()) }

func (p *Proxy) add(t testing.TB, kind, stream, attributes string) {
	t.Helper()
	_, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"type": %q, "stream": %q, "toxicity": 1, "attributes": %s}`, kind, stream, attributes)))
	if err != nil {
		t.Fatal(err)
	}
}

// blackhole is toxiproxy's timeout, but that it does not close connections when it is
// taken away.
const blackhole = "blackhole"

type hole struct{}

// Pipe drops what comes.
func (*hole) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
		}
	}
}

func init() { toxics.Register(blackhole, new(hole)) }
