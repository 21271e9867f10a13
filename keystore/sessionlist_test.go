package keystore

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestASessionsIDNamesWhereItCameFrom(t *testing.T) {
	t.Parallel()
	for _, generation := range []int64{0, 1, 35, 36, math.MaxInt64} {
		g, secret := SessionOrigin(SessionID("ses_abc", generation, "sec_xyz"))
		require.Equal(t, generation, g)
		require.Equal(t, "sec_xyz", secret)
	}
	for _, id := range []string{"", "ses_abc", "ses_abc.0", "ses_abc.-1.sec", "ses_abc..sec", "ses_abc.!.sec", "ses_abc.3w5e11264sgsg0.sec"} {
		g, secret := SessionOrigin(id)
		require.EqualValues(t, -1, g, "%q is of no key's generation", id)
		require.Empty(t, secret)
	}
}

func TestASessionIsOfTheSumOfItsGenerations(t *testing.T) {
	k := &Key{ID: "k", CustomerID: "c", MicrotenantID: "m", Generation: 2}
	c, m := &Customer{ID: "c", Generation: 30}, &Microtenant{ID: "m", CustomerID: "c", Generation: 400}
	level := &Key{ID: "l", CustomerID: "c", Generation: 5}
	d := Directory{customers: map[string]*Customer{"c": c}, microtenants: map[tenant]*Microtenant{{"c", "m"}: m}}.bound()
	require.EqualValues(t, 432, d.SessionGeneration(k))
	require.EqualValues(t, 35, d.SessionGeneration(level), "a microtenant's is no matter of the customer level")
	require.Zero(t, testing.AllocsPerRun(100, func() { d.SessionGeneration(k) }))

	now := time.Unix(1_800_000_000, 0)
	k.Secrets = []Secret{{ID: "sec", Created: now}}
	s := &Session{ID: SessionID("ses", 432, "sec"), SecretID: "sec", Issued: now, Expires: now.Add(time.Hour)}
	require.Equal(t, SessionActive, s.State(k, d.SessionGeneration(k), now))
	for _, raise := range []*int64{&k.Generation, &c.Generation, &m.Generation} {
		*raise++
		require.Equal(t, SessionEnded, s.State(k, d.SessionGeneration(k), now))
		*raise--
	}

	forged := &Session{ID: "no id of ours", SecretID: "sec", Issued: now, Expires: now.Add(time.Hour)}
	for _, nowhere := range []*Key{{CustomerID: "none"}, {CustomerID: "c", MicrotenantID: "none"}} {
		nowhere.Secrets = k.Secrets
		require.Negative(t, d.SessionGeneration(nowhere))
		require.Equal(t, SessionEnded, forged.State(nowhere, d.SessionGeneration(nowhere), now), "nothing matches what is not there")
	}
}
