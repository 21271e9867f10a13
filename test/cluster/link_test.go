package cluster

import (
	"testing"

	"github.com/keyreeve/keyreeve/internal/faultproxy"
)

// link is a gate's way to the database.
type link struct{ *faultproxy.Proxy }

func newLink(t testing.TB, target string) *link {
	return &link{faultproxy.Start(t, target)}
}

func (l *link) address() string { return l.Address() }
