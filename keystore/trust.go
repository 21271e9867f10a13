package keystore

import (
	"context"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// trustEvery is how often a success from a known source is written again.
	trustEvery = 24 * time.Hour
	// trustQueue bounds the successes waiting to be written; more are dropped and
	// come again with the next request.
	trustQueue = 4096
)

// trustRequest is a success from a source, to be remembered (guard).
type trustRequest struct {
	trustID
	lockout policy.Lockout
}

// trustID is what one request is queued by.
type trustID struct {
	keyID  string
	source netip.Prefix
}

// remember queues a success to be written behind the request.
func (c *counter) remember(t trustRequest) {
	if _, queued := c.trusting.LoadOrStore(t.trustID, struct{}{}); queued {
		return
	}
	select {
	case c.trust <- t:
	default:
		c.trusting.Delete(t.trustID)
	}
}

// runTrust writes remembered successes until ctx ends.
func (c *counter) runTrust(ctx context.Context) {
	for {
		select {
		case t := <-c.trust:
			if _, err := c.clear(ctx, t.lockout, t.keyID, t.source); err != nil {
				c.logger.Debug("a source's success could not be stored", zap.Error(err))
			}
			c.trusting.Delete(t.trustID)
		case <-ctx.Done():
			return
		}
	}
}
