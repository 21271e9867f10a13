package credential

import (
	"encoding/binary"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEightBytesArePrintableWhenEachOfThemIs(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		for c := range 256 {
			for _, around := range []byte{' ', 'a', '~'} {
				eight := []byte(strings.Repeat(string(around), 8))
				eight[i] = byte(c)
				require.Equal(t, c >= ' ' && c < 0x7f, printableASCII(binary.LittleEndian.Uint64(eight)), "%q", eight)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		eight := rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "eight")
		want := true
		for _, c := range eight {
			want = want && c >= ' ' && c < 0x7f
		}
		require.Equal(t, want, printableASCII(binary.LittleEndian.Uint64(eight)))
	})
}

func TestASecretIsUTF8WithoutControlCharacters(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(
			rapid.StringN(1, 40, MaxSecret),
			rapid.StringMatching(`[ -~]{0,20}[^a-z]?[ -~]{1,20}`),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), func(b []byte) string { return "a printable start " + string(b) }),
		).Draw(t, "secret")
		if len(s) > MaxSecret {
			t.Skip("too long for the rule that is tested")
		}
		control := strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
		require.Equal(t, utf8.ValidString(s) && !control, validSecret(s), "%q", s)
	})
}

func TestALiteralPathIsWhatNetURLWouldWrite(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		path := "/a" + string([]byte{byte(c)}) + "b"
		if _, literal, ok := checkPath(path); ok && literal {
			require.Equal(t, path, (&url.URL{Path: path}).EscapedPath())
		}
	}
	for _, path := range []string{"/", "/a/b-c_d.e~f", "/a//b", "/a;b=c", "/a,b:c@d&e=f+g$h"} {
		_, literal, ok := checkPath(path)
		require.True(t, ok && literal, path)
	}
	for _, path := range []string{"/a%20b", "/a%2Fb", "/(a)", "/a!b", "/a*b", "/it's"} {
		_, literal, ok := checkPath(path)
		require.True(t, ok && !literal, path)
	}
}
