package keystore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

// auditRetention is how long audit events are kept, and when it was last seen to.
type auditRetention struct {
	keep atomic.Int64 // time.Duration; 0 is for ever
	seen atomic.Int64 // Instant.Since; 0 is never
}

// SetAuditRetention names how long audit events are kept; 0 is for ever. Older
// ones go within the hour.
func (c *Cached) SetAuditRetention(keep time.Duration) {
	if c.retention.keep.Swap(int64(keep)) != int64(keep) {
		c.retention.seen.Store(0)
	}
}

// forgetAudit forgets old audit events, once an hour.
func (c *Cached) forgetAudit(ctx context.Context, now policy.Instant) {
	keep, seen := time.Duration(c.retention.keep.Load()), time.Duration(c.retention.seen.Load())
	if keep == 0 || seen != 0 && now.Since-seen < forgetEvery {
		return
	}
	if err := c.guard.TrimAudit(ctx, keep); err != nil {
		if !errors.Is(err, context.Canceled) {
			c.logger.Warn("old audit events could not be forgotten", zap.Error(err))
		}
		return
	}
	c.retention.seen.Store(int64(now.Since))
}
