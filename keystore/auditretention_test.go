package keystore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// forgetful notes how it is asked to forget audit events.
type forgetful struct {
	keystore.Store
	asked []time.Duration
	err   error
}

func (f *forgetful) TrimAudit(ctx context.Context, keep time.Duration) error {
	f.asked = append(f.asked, keep)
	if f.err != nil {
		return f.err
	}
	return f.Store.TrimAudit(ctx, keep)
}

func TestOldAuditEventsAreForgottenOnceAnHourAndOnlyIfConfigured(t *testing.T) {
	b := newBench(t)
	store := &forgetful{Store: b.open()}
	clock := storetest.NewClock()
	c, err := keystore.OpenCached(t.Context(), store, clock, sizes, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	sweep := func(want ...time.Duration) {
		t.Helper()
		c.Sweep(t.Context())
		require.Equal(t, want, store.asked)
		store.asked = nil
	}
	sweep()
	c.SetAuditRetention(48 * time.Hour)
	sweep(48 * time.Hour)
	sweep()
	c.SetAuditRetention(48 * time.Hour) // a reload that changes nothing
	sweep()
	clock.Advance(59 * time.Minute)
	sweep()
	clock.Advance(time.Minute)
	sweep(48 * time.Hour)
	c.SetAuditRetention(24 * time.Hour)
	sweep(24 * time.Hour)
	clock.Advance(time.Hour)
	store.err = errors.New("disk gone")
	sweep(24 * time.Hour)
	sweep(24 * time.Hour) // what failed is tried again at the next sweep
	store.err = nil
	c.SetAuditRetention(0)
	clock.Advance(24 * time.Hour)
	sweep()
}
