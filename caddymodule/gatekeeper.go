package caddymodule

import (
	"context"
	"net/netip"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session/authn"
)

// gatekeeper answers for this configuration's gates, with what they decide by.
type gatekeeper struct {
	store *sharedStore
	auth  *authn.Authenticator
	gates []placedGate
}

// Gates lists the gates in the order of the configuration.
func (k *gatekeeper) Gates() []lifecycle.Gate {
	gates := make([]lifecycle.Gate, len(k.gates))
	for i, p := range k.gates {
		gates[i] = lifecycle.Gate{Name: p.name, Listen: p.listen, Hosts: p.hosts, Shadow: p.Shadow, Set: p.set}
	}
	return gates
}

// Standing judges a key as proofs do.
func (k *gatekeeper) Standing(ctx context.Context, clientID string, token bool, from netip.Addr) lifecycle.Standing {
	var address authn.Address // nil is not known
	if from.IsValid() {
		address = func() netip.Addr { return from }
	}
	s := k.auth.Standing(ctx, clientID, token, address, k.store.clock.Now())
	out := lifecycle.Standing{Decision: s.Decision, Network: s.Network, Key: s.Key, Role: s.Role}
	if s.Key != nil && s.Role != nil {
		out.Subject = s.Subject()
	}
	return out
}

// Status is that of the answer to a refusal.
func (k *gatekeeper) Status(r policy.Reason) int { return answers[r].status }

// Denial is one of the recent ones on this node.
func (k *gatekeeper) Denial(requestID string) (lifecycle.Denial, bool) {
	return k.store.denials.find(requestID)
}

// nameOf is the name that answers and records have for a gate.
func (k *gatekeeper) nameOf(g *Gate) string {
	for i := range k.gates {
		if k.gates[i].Gate == g {
			return k.gates[i].name
		}
	}
	return ""
}

// Interface guards
var _ lifecycle.Gatekeeper = (*gatekeeper)(nil)
