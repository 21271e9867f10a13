package credential

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestNewSecretSatisfiesItsOwnCheckAndThePatternForScanners(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile(SecretPattern)
	seen := map[string]bool{}
	for range 2000 {
		s := NewSecret()
		require.True(t, CheckSecret(s), s)
		require.Len(t, s, 53)
		require.Equal(t, s, pattern.FindString(`curl -u "kr_x:`+s+`" http://h/`))
		require.False(t, seen[s])
		seen[s] = true
	}
}

// A fixed example, so that scanners written against the format keep working.
func TestSecretChecksumIsCRC32OfPrefixAndBodyInBase62(t *testing.T) {
	t.Parallel()
	body := "krs_0000000000000000000000000000000000000000001"
	require.Equal(t, "330S2d", checksum(body))
	require.True(t, CheckSecret(body+"330S2d"))
}

func TestCheckSecretRefusesWhatNewSecretCannotHaveMade(t *testing.T) {
	t.Parallel()
	s := NewSecret()
	for name, bad := range map[string]string{
		"empty":           "",
		"prefix only":     "krs_",
		"client ID":       NewClientID(),
		"another prefix":  "krx_" + s[4:],
		"no checksum":     s[:47],
		"surplus":         s + "0",
		"trailing line":   s[:52] + "\n",
		"alphabet":        s[:10] + "-" + s[11:],
		"other case":      "KRS_" + s[4:],
		"checksum of old": NewSecret()[:47] + s[47:],
	} {
		require.False(t, CheckSecret(bad), name)
	}
}

func TestCheckSecretNoticesAnyOneChangedCharacter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := []byte(NewSecret())
		at := rapid.IntRange(0, len(s)-1).Draw(t, "at")
		to := base62[rapid.IntRange(0, 61).Draw(t, "to")]
		if s[at] == to {
			t.Skip("same character")
		}
		s[at] = to
		if CheckSecret(string(s)) {
			t.Fatalf("accepted %s", s)
		}
	})
}

func TestRandomBase62KeepsItsWidth(t *testing.T) {
	t.Parallel()
	for range 500 {
		require.Regexp(t, `^kr_[0-9A-Za-z]{22}$`, NewClientID())
		require.Regexp(t, `^key_[0-9A-Za-z]{22}$`, NewID("key"))
	}
	require.True(t, ValidClientID(NewClientID()))
	require.NotEqual(t, NewID("sec"), NewID("sec"))
}

func TestHintIsTheLastFourCharactersOfASecretLongEnough(t *testing.T) {
	t.Parallel()
	require.Equal(t, "mnop", Hint("abcdefghijklmnop"))
	require.Empty(t, Hint("abcdefghijklmno"))
	require.Empty(t, Hint(""))
}

func TestValidClientIDAcceptsUnreservedBytesOnly(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"":                        false,
		"a":                       true,
		"kr_0aZ":                  true,
		"1234.apps.example~x-y_z": true,
		strings.Repeat("a", 128):  true,
		strings.Repeat("a", 129):  false,
		"a b":                     false,
		"a:b":                     false,
		"a/b":                     false,
		"a%62":                    false,
		" a":                      false,
		"a\n":                     false,
		"a\x00":                   false,
		"é":                       false,
		"\u212Ar_1":               false, // the Kelvin sign folds to k
	} {
		require.Equal(t, want, ValidClientID(id), "%q", id)
	}
	for c := range 256 {
		want := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-", byte(c)) >= 0
		require.Equal(t, want, ValidClientID(string([]byte{byte(c)})), "byte %#x", c)
	}
}
