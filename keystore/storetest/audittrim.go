package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func auditTrim(t *testing.T, f *fixture) {
	f.add(t, f.event(acme, 1), f.event(acme, 2), f.event(globex, 1))
	f.clock.Advance(keep)
	f.add(t, f.event(acme, 3), f.event("", 1))
	require.NoError(t, f.TrimAudit(t.Context(), keep))
	require.Equal(t, 3, f.verify(t, mk1, acme), "exactly keep old is not older")
	f.clock.Advance(time.Millisecond)
	before := f.head(t)
	require.NoError(t, f.TrimAudit(t.Context(), keep))
	require.Equal(t, before, f.head(t))
	require.Equal(t, 1, f.verify(t, mk1, acme))
	require.Equal(t, 1, f.verify(t, mk1, globex), "the newest of a chain stays, however old")
	require.Equal(t, 1, f.verify(t, mk1, ""))
	f.add(t, f.event(acme, 4), f.event(acme, 5))
	require.Equal(t, 3, f.verify(t, mk1, acme))
	f.clock.Advance(keep + time.Millisecond)
	require.NoError(t, f.TrimAudit(t.Context(), keep))
	require.NoError(t, f.TrimAudit(t.Context(), keep))
	require.Equal(t, 1, f.verify(t, mk1, acme))
	events, _ := f.events(t, keystore.AuditQuery{CustomerID: acme, Limit: 10})
	require.EqualValues(t, 5, events[0].Seq)
}

func auditTrimOrder(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	for n, back := range []time.Duration{3 * keep, 0, 2 * keep, 0} {
		e := f.event(acme, n)
		e.At = now.Add(-back)
		f.add(t, e)
	}
	require.NoError(t, f.TrimAudit(t.Context(), keep))
	require.Equal(t, 3, f.verify(t, mk1, acme), "an old event behind a young one stays until that goes")
	f.clock.Advance(10 * keep)
	require.NoError(t, f.TrimAudit(t.Context(), keep))
	require.Equal(t, 1, f.verify(t, mk1, acme))
}

func auditTrimLong(t *testing.T, f *fixture) {
	const many = 1700
	events := make([]*keystore.Audit, many)
	for n := range events {
		events[n] = f.event(acme, n)
	}
	f.add(t, events...)
	f.clock.Advance(2 * keep)
	require.NoError(t, f.TrimAudit(t.Context(), keep))
	require.Equal(t, 1, f.verify(t, mk1, acme))
}

func auditReseal(t *testing.T, f *fixture) {
	f.add(t, f.event(acme, 1), f.event(acme, 2), f.event(globex, 1))
	f.clock.Advance(2 * keep)
	require.NoError(t, f.TrimAudit(t.Context(), keep))
	f.add(t, f.event(acme, 3))
	needed := func() []string {
		ids, err := f.MasterKeyIDs(t.Context())
		require.NoError(t, err)
		return ids
	}
	require.Equal(t, []string{"mk1"}, needed())
	f.SealAudit(NewSealer("mk2", "mk1"))
	f.add(t, f.event(acme, 4))
	require.Equal(t, []string{"mk1", "mk2"}, needed(), "the beginning, and the other chain")
	f.trim(t)
	require.Equal(t, []string{"mk2"}, needed())
	mk2 := NewSealer("mk2")
	f.SealAudit(mk2)
	require.Equal(t, 3, f.verify(t, mk2, acme))
	require.Equal(t, 1, f.verify(t, mk2, globex))
	f.add(t, f.event(acme, 5), f.event(globex, 2))
	require.Equal(t, 4, f.verify(t, mk2, acme))
	require.Equal(t, 2, f.verify(t, mk2, globex))
}
