package storetest

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var recordCases = []testCase{
	{"a session is read back as it was put, and logged once it has ended", sessionRoundTrip},
	{"ended sessions are listed until they expire", endedSessions},
	{"sessions beyond the newest are listed, ended and expired ones not counted", sessionsBeyond},
	{"the sessions of a key that were ended for a reason are counted by when", sessionsEndedFor},
	{"signing keys are read back as they were put, logged, and listed until they expire", signingKeys},
	{"a store has a name of its own that stays", storeID},
	{"a session's key must be there", sessionKey},
	{"preferences are stored, replaced and removed by owner and name", preferences},
}

func sessionRoundTrip(t *testing.T, f *fixture) {
	k := f.key(1)
	before := f.put(t, k)
	now := f.clock.Now().Wall
	s := &keystore.Session{ID: "jti", KeyID: k.ID, SecretID: "sec", Address: "192.0.2.1", Issued: now, Expires: now.Add(time.Hour + time.Microsecond)}
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutSession(ctx, s) })
	require.Equal(t, before, rev, "a sign-in is no news")
	s.Ended, s.EndReason = now.Add(time.Minute), "signout"
	ended := f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutSession(ctx, s) })
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		got, err := r.Session(ctx, "jti")
		require.Equal(t, s, got)
		return err
	})
	changes, err := f.Changes(t.Context(), rev)
	require.NoError(t, err)
	require.Len(t, changes, 1)
	require.Equal(t, ended, changes[0].Revision)
	require.Equal(t, keystore.KindSession, changes[0].Kind)
	require.Equal(t, "jti", changes[0].ID)
	require.Equal(t, before+1, ended)
}

// putSessions stores sessions of key_0001, a second apart from oldest to newest,
// that expire after the given time.
func putSessions(t *testing.T, f *fixture, sessions ...keystore.Session) {
	t.Helper()
	now := f.clock.Now().Wall
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		for i := range sessions {
			s := sessions[i]
			s.KeyID, s.Issued = "key_0001", now.Add(time.Duration(i)*time.Second)
			if s.Expires.IsZero() {
				s.Expires = now.Add(time.Hour)
			}
			if err := tx.PutSession(ctx, &s); err != nil {
				return err
			}
		}
		return nil
	})
}

func sessionIDs(sessions []*keystore.Session) []string {
	ids := []string{}
	for _, s := range sessions {
		ids = append(ids, s.ID)
	}
	return ids
}

func endedSessions(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	now := f.clock.Now().Wall
	putSessions(t, f, keystore.Session{ID: "running"}, keystore.Session{ID: "ended", Ended: now},
		keystore.Session{ID: "over", Ended: now, Expires: now.Add(time.Minute)})
	list := func() (ids []string) {
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			all, err := r.EndedSessions(ctx)
			ids = sessionIDs(all)
			return err
		})
		return ids
	}
	require.Equal(t, []string{"ended", "over"}, list())
	f.clock.Advance(time.Minute)
	require.Equal(t, []string{"ended"}, list())
}

func sessionsBeyond(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	now := f.clock.Now().Wall
	putSessions(t, f, keystore.Session{ID: "expired", Expires: now}, keystore.Session{ID: "a"}, keystore.Session{ID: "b"},
		keystore.Session{ID: "ended", Ended: now}, keystore.Session{ID: "c"})
	for keep, want := range map[int][]string{0: {"c", "b", "a"}, 1: {"b", "a"}, 2: {"a"}, 3: {}, 100: {}} {
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			all, err := r.SessionsBeyond(ctx, "key_0001", keep)
			require.Equal(t, want, sessionIDs(all), "keeping %d", keep)
			return err
		})
	}
}

func sessionsEndedFor(t *testing.T, f *fixture) {
	f.put(t, f.key(1), f.key(2))
	now := f.clock.Now().Wall
	putSessions(t, f, keystore.Session{ID: "a", Ended: now, EndReason: "why"}, keystore.Session{ID: "b", Ended: now.Add(time.Second), EndReason: "why"},
		keystore.Session{ID: "c", Ended: now.Add(2 * time.Second), EndReason: "else"}, keystore.Session{ID: "d", EndReason: "why"})
	for _, c := range []struct {
		key, reason  string
		from, before time.Time
		last         time.Time
		count        int
	}{
		{"key_0001", "why", now, now.Add(time.Hour), now.Add(time.Second), 2},
		{"key_0001", "why", now, now.Add(time.Second), now, 1},
		{"key_0001", "why", now.Add(time.Second), now.Add(time.Hour), now.Add(time.Second), 1},
		{"key_0001", "why", time.Time{}, now, time.Time{}, 0},
		{"key_0001", "else", now, now.Add(time.Hour), now.Add(2 * time.Second), 1},
		{"key_0002", "why", now, now.Add(time.Hour), time.Time{}, 0},
	} {
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			last, err := r.LastEnded(ctx, c.key, c.reason, c.before)
			require.NoError(t, err)
			require.Equal(t, c.last, last, "%+v", c)
			count, err := r.CountEnded(ctx, c.key, c.reason, c.from, c.before)
			require.Equal(t, c.count, count, "%+v", c)
			return err
		})
	}
}

func signingKeys(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	k := &keystore.SigningKey{ID: "sig_1", Algorithm: "EdDSA", Public: []byte(`{"kty":"OKP"}`), Sealed: []byte{0, 1, 255}, MasterKeyID: "m1",
		Created: now, SignFrom: now.Add(time.Minute), SignUntil: now.Add(time.Hour), Expires: now.Add(2 * time.Hour)}
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutSigningKey(ctx, k) })
	changes, err := f.Changes(t.Context(), rev-1)
	require.NoError(t, err)
	require.Equal(t, []keystore.Change{{Revision: rev, Kind: keystore.KindSigningKey, ID: "sig_1"}}, changes)
	list := func() (keys []*keystore.SigningKey) {
		f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
			keys, err = r.SigningKeys(ctx)
			return err
		})
		return keys
	}
	require.Equal(t, []*keystore.SigningKey{k}, list())
	needed, err := f.MasterKeyIDs(t.Context())
	require.NoError(t, err)
	require.Contains(t, needed, "m1")
	k.Sealed, k.MasterKeyID = []byte{2}, "m2" // sealed anew under another master key
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutSigningKey(ctx, k) })
	require.Equal(t, []*keystore.SigningKey{k}, list())
	f.clock.Advance(2 * time.Hour)
	require.Empty(t, list())
}

func storeID(t *testing.T, f *fixture) {
	var first, second string
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) { first, err = r.StoreID(ctx); return err })
	f.put(t, f.key(1))
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) { second, err = r.StoreID(ctx); return err })
	require.Len(t, first, 32)
	require.Equal(t, first, second)
}

func sessionKey(t *testing.T, f *fixture) {
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutSession(ctx, &keystore.Session{ID: "jti", KeyID: "key_none"})
	})
	refused(t, err, keystore.ErrNotFound, "key_id")
}

func preferences(t *testing.T, f *fixture) {
	put := func(p ...keystore.Preference) {
		f.update(t, func(ctx context.Context, tx keystore.Tx) error {
			for _, p := range p {
				if err := tx.PutPreference(ctx, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	list := func(owner string) (all []keystore.Preference) {
		f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
			all, err = r.Preferences(ctx, owner)
			return err
		})
		return all
	}
	columns := keystore.Preference{Owner: "key_1", Name: "columns", Value: json.RawMessage(`["name"]`)}
	rows := keystore.Preference{Owner: "key_1", Name: "rows", Value: json.RawMessage(`50`)}
	put(rows, columns, keystore.Preference{Owner: "key_2", Name: "rows", Value: json.RawMessage(`20`)})
	require.Equal(t, []keystore.Preference{columns, rows}, list("key_1"))
	rows.Value = json.RawMessage(`100`)
	put(rows)
	require.Equal(t, []keystore.Preference{columns, rows}, list("key_1"))
	put(keystore.Preference{Owner: "key_1", Name: "rows"}, keystore.Preference{Owner: "key_1", Name: "none"})
	require.Equal(t, []keystore.Preference{columns}, list("key_1"))
	require.Len(t, list("key_2"), 1)
}
