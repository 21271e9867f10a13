package authn

import (
	"context"

	"github.com/keyreeve/keyreeve/policy"
)

// Spelling picks, of several readings of one secret, the one that the client
// has, a retired one included; where it has none, the first. Nothing is counted:
// the one that is picked is then proven by Secret, so that one attempt counts
// once however it was written.
func (a *Authenticator) Spelling(ctx context.Context, clientID string, readings []string, from Address, now policy.Instant) string {
	for i := 1; i < len(readings); i++ {
		if r := a.Peek(ctx, clientID, readings[i], from, now); r.Allow || r.Detail == causeRetired {
			return readings[i]
		}
	}
	return readings[0]
}
