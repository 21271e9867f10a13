package postgres

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/keystore"
)

// awkward is text that PostgreSQL refuses as it is, or that looks like what stands
// for it.
var awkward = []string{"\x00", "a\x00b", "\xff", "a\xc3", "\uf8f0", "\uf8f0\uf700", "\uf8f0\x00", "\ufffd", "\uf700", "\xed\xa0\x80"}

func TestAnyTextIsStoredAsTextThatPostgreSQLTakesAndReadBackAsItWas(t *testing.T) {
	check := func(t require.TestingT, text string) {
		stored := encode(text)
		require.True(t, utf8.ValidString(stored))
		require.NotContains(t, stored, "\x00")
		require.Equal(t, text, decode(stored))
		require.Equal(t, text, string(decodeBytes([]byte(stored))))
	}
	for _, text := range awkward {
		check(t, text)
	}
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.OneOf(rapid.String(), rapid.SampledFrom(awkward), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		check(t, strings.Join(rapid.SliceOfN(part, 0, 4).Draw(t, "text"), ""))
	})
	require.Equal(t, "plain", encode("plain"))
}

func TestTextThatPostgreSQLRefusesIsKept(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	for i, text := range awkward {
		_, err := s.KeyByClientID(ctx, text)
		require.ErrorIs(t, err, keystore.ErrNotFound, "%q", text)
		k := testKey(i)
		k.ClientID, k.Name, k.Description = text, text, text
		after, err := json.Marshal(text)
		require.NoError(t, err)
		_, err = s.Update(ctx, func(tx keystore.Tx) error {
			if err := tx.AddAudit(ctx, &keystore.Audit{At: tx.Now().Wall, CustomerID: "c", TargetName: text, After: after}); err != nil {
				return err
			}
			return tx.PutKey(ctx, k)
		})
		require.NoError(t, err, "%q", text)
		got, err := s.KeyByClientID(ctx, text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, k, got)
		require.NoError(t, s.View(ctx, func(r keystore.Reader) error {
			found, _, err := r.Keys(ctx, keystore.KeyQuery{CustomerID: "c", Text: text, Name: text, Limit: 10})
			require.Len(t, found, 1, "%q", text)
			return err
		}))
	}
	require.Empty(t, verifyChain(t, s, "c"))
}

func TestParametersAreNumberedAndWhatIsQuotedStays(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT 1":                           "SELECT 1",
		"a = ? AND b = ?":                    "a = $1 AND b = $2",
		"a = ?2 AND b = ?1 OR c = ?2":        "a = $2 AND b = $1 OR c = $2",
		"a = '?' AND b = ? AND c = 'it''s?'": "a = '?' AND b = $1 AND c = 'it''s?'",
		strings.Repeat("?,", 12):             "$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,",
	} {
		require.Equal(t, want, rewrite(text))
		require.Equal(t, want, number(text))
		require.Equal(t, want, number(text), "the second time too")
	}
}
