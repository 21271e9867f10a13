package credential

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCheckPathAcceptsPathsWithOneReading(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/", "/a", "/a/", "/a/b.c", "/.well-known/jwks.json", "/...", "/.../x", "/..a", "/a..", "/.a/..b",
		"/-._~!$&'()*+,=:@", "/%20", "/a%3Fb%23c", "/caf%C3%A9/%e6%97%a5", "/a%2Eb", "/%41",
		"/" + strings.Repeat("a", maxPath-1), "/" + strings.Repeat("%20", 400),
	} {
		class, ok := CheckPath(path)
		require.True(t, ok, path)
		require.Equal(t, PathPlain, class, path)
	}
}

func TestCheckPathMarksPathsThatParsersReadDifferently(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/a%2fb", "/a%2Fb", "/%2f", "/a%25", "/100%25/x", "/a%2520b", "/a%252fb", "/a;v=1", "/;", "/a%3bb", "/a%3B", "//", "//a", "/a//b", "/a//",
		"/a;..", "/a;b;../c", "/%25zz", "/%2525252f",
	} {
		class, ok := CheckPath(path)
		require.True(t, ok, path)
		require.Equal(t, PathOdd, class, path)
	}
}

func TestCheckPathRefusesOnEveryRoute(t *testing.T) {
	t.Parallel()
	for name, paths := range map[string][]string{
		"no slash first":   {"", "a", "a/b", "*", "?", ".", "..", "%2fa", "http://h/"},
		"over 8 KiB":       {"/" + strings.Repeat("a", maxPath), "/" + strings.Repeat("%61", maxPath/3+1)},
		"outside pchar":    {`/a\b`, "/a#b", "/a?b", "/a b", "/a\tb", "/a\x00", "/a\x1f", "/a\x7f", "/\"", "/<", "/>", "/[", "/]", "/{", "/}", "/|", "/^", "/`", "/\x80", "/é", "/\xff", "/a\r\n"},
		"bad triplet":      {"/%", "/%2", "/a%", "/%zz", "/%2g", "/%g2", "/%u002e", "/%%32%65", "/% 2", "/%2/", "/%-1"},
		"encoded control":  {"/%00", "/a%00.json", "/%01", "/%0a", "/%0D", "/%1f", "/%7F"},
		"backslash":        {"/%5c", "/%5C", "/a%5c..%5cb"},
		"dot segment":      {"/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./b", "/a/../b", "//..", "/.//a"},
		"encoded dots":     {"/%2e", "/%2E/", "/%2e%2e", "/.%2e", "/%2e.", "/a/%2E%2e/b", "/a/.%2E"},
		"with %2f":         {"/a%2f..%2fb", "/a/..%2Fb", "/a%2f../b", "/a%2f.", "/%2e%2e%2f", "/..%2f"},
		"before semicolon": {"/..;x", "/..;", "/.;/a", "/a/..;x=y/b", "/%2e%2e;x", "/..%3bx", "/..;a;b/c", "/.%2e%3B/"},
		"encoded twice":    {"/%252e%252e", "/%252e%252e%252f", "/a%252f..%252fb", "/%25%32%65", "/.%252e/", "/%255c", "/%2500", "/%250a", "/%252525%32e", "/%25252e"},
		"invalid UTF-8":    {"/%ff", "/%c3", "/a%C3/b", "/%c3%28", "/%ed%a0%80", "/%f4%90%80%80", "/%25ff"},
		"overlong":         {"/%c0%ae%c0%ae/", "/%c0%af", "/%e0%80%ae", "/%c1%9c", "/%f0%80%80%af", "/%c0%80"},
		"encoded too deep": {"/%252525252541", "/%25252525252e"},
	} {
		for _, path := range paths {
			class, ok := CheckPath(path)
			require.False(t, ok, "%s: %q", name, path)
			require.Zero(t, class, "%s: %q", name, path)
		}
	}
}

func TestCheckPathDecidesEachByteByTheGrammar(t *testing.T) {
	t.Parallel()
	const pchar = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@"
	for c := range 256 {
		_, ok := CheckPath("/x" + string([]byte{byte(c)}) + "x")
		require.Equal(t, strings.IndexByte(pchar+"/", byte(c)) >= 0, ok, "byte %#x", c)
	}
}

func TestCheckPathCostStaysLinearInNestedEncodings(t *testing.T) {
	allocs := testing.AllocsPerRun(10, func() {
		if _, ok := CheckPath("/%" + strings.Repeat("25", maxPath/2-1)); ok {
			panic("accepted")
		}
	})
	require.LessOrEqual(t, allocs, 3.0)
}

// dotted reports a dot segment in path after any number of decodings, by a
// method of its own.
func dotted(path string) bool {
	for range 8 {
		for segment := range strings.SplitSeq(path, "/") {
			segment, _, _ = strings.Cut(segment, ";")
			if segment == "." || segment == ".." {
				return true
			}
		}
		path = decodeLeniently(path)
	}
	return false
}

func decodeLeniently(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+3 <= len(s) {
			if d, err := url.PathUnescape(s[i : i+3]); err == nil && s[i] == '%' {
				b.WriteString(d)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func TestAcceptedPathsHoldNoDotSegmentHoweverOftenDecoded(t *testing.T) {
	t.Parallel()
	pieces := []string{"/", "/", ".", ".", "%2e", "%2E", "%252e", "%2f", "%252F", ";", "%3b", "a", "%25", "25", "2e", "%2", "x=1", "%c3%a9"}
	rapid.Check(t, func(t *rapid.T) {
		path := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 10).Draw(t, "pieces"), "")
		if _, ok := CheckPath(path); ok && dotted(path) {
			t.Fatalf("accepted %q", path)
		}
	})
}

func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/b", "/.well-known/x", "/a%2fb", "/%2e%2e/", "/..;x", "/%252e%252e", "//a", "/caf%C3%A9", "/%c0%ae", "/%", "/%2525", "/a\\b", "/a;b/../c", "/%3b..", "*", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		class, ok := CheckPath(path)
		if !ok {
			require.Zero(t, class)
			return
		}
		require.False(t, dotted(path), "dot segment")
		once, err := url.PathUnescape(path)
		require.NoError(t, err)
		require.True(t, utf8.ValidString(once))
		require.False(t, strings.ContainsFunc(once, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }))
		u, err := url.ParseRequestURI(path)
		require.NoError(t, err)
		require.Equal(t, path, u.EscapedPath(), "net/url sends it as it came")
		decided, decidedClass, ok := DecidablePath(u, path)
		require.True(t, ok && decided == path && decidedClass == class)
		if class == PathPlain {
			twice, err := url.PathUnescape(once)
			require.NoError(t, err)
			require.Equal(t, once, twice)
			require.NotContains(t, once, "//")
			require.NotContains(t, once, ";")
			require.Equal(t, strings.Count(path, "/"), strings.Count(once, "/"))
		}
	})
}

func TestDecidablePathIsWhatNetHTTPSends(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/":                      "/",
		"/a/b?c=/../d":           "/a/b",
		"/a?b?c":                 "/a",
		"/?":                     "/",
		"/caf%c3%a9":             "/caf%c3%a9",
		"/a(b)!*'":               "/a(b)!*'",
		"/a%41":                  "/a%41",
		"/%7ea%2Db":              "/%7ea%2Db",
		"http://h":               "/",
		"http://h/":              "/",
		"http://h?a=b":           "/",
		"https://h:8443/a/b?c":   "/a/b",
		"HTTP://[::1]:80/a":      "/a",
		"/a:b@c":                 "/a:b@c",
		"/mgmtconfig/v1/admin/x": "/mgmtconfig/v1/admin/x",
	} {
		r, err := http.NewRequest(http.MethodGet, "http://h/", nil)
		require.NoError(t, err)
		r.URL, err = url.ParseRequestURI(target)
		require.NoError(t, err, target)
		path, class, ok := DecidablePath(r.URL, target)
		require.True(t, ok, target)
		require.Equal(t, PathPlain, class, target)
		require.Equal(t, want, path, target)
		sent, _, _ := strings.Cut(r.URL.RequestURI(), "?")
		require.Equal(t, sent, path, target)
	}
}

func TestDecidablePathMarksOddTargets(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"//a/b":        "//a/b",
		"/a%2fb":       "/a%2fb",
		"/a;b?c":       "/a;b",
		"/a%25":        "/a%25",
		"http://h//a":  "//a",
		"http://h/a;b": "/a;b",
	} {
		u, err := url.ParseRequestURI(target)
		require.NoError(t, err, target)
		path, class, ok := DecidablePath(u, target)
		require.True(t, ok, target)
		require.Equal(t, PathOdd, class, target)
		require.Equal(t, want, path, target)
	}
}

func TestDecidablePathRefusesTargetsThatGoTidiesOrThatHaveNoPath(t *testing.T) {
	t.Parallel()
	for _, target := range []string{
		"*", "h:443", "", "/a b", "/a\"b", "/é", "/a\\b", "/a[b]", "/a^b", "/a|b", "/a#b", "/a?b#c", "/a/../b", "/%2e%2e", "/a%00", "/a%5cb", "/%ff", "/{a}",
		"http://h/a/../b", "http://h#f", "http://h/a\\b", "http://user:pw@h/a", "http:///a", "http:a", "mailto:a@b", "1http://h/a", "ht_tp://h/a", "://h/a",
		"/" + strings.Repeat("a", maxPath), "/" + strings.Repeat("é", maxPath/4),
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil { // net/http answers 400 itself; the rule holds for a URL that got here otherwise
			u = &url.URL{Path: "/a"}
		}
		path, class, ok := DecidablePath(u, target)
		require.False(t, ok, "%q", target)
		require.Empty(t, path, "%q", target)
		require.Zero(t, class, "%q", target)
	}
}

func TestDecidablePathRefusesAURLThatContradictsItself(t *testing.T) {
	t.Parallel()
	for name, u := range map[string]*url.URL{
		"opaque":               {Opaque: "//other/x", Path: "/a"},
		"RawPath of another":   {Path: "/a", RawPath: "/admin"},
		"RawPath not escaped":  {Path: "/a b", RawPath: "/a b"},
		"no leading slash":     {Path: "a"},
		"empty after rewrite":  {},
		"star":                 {Path: "*"},
		"dot segment":          {Path: "/a/../b"},
		"control":              {Path: "/a\x00"},
		"backslash":            {Path: `/a\b`},
		"invalid UTF-8":        {Path: "/\xff"},
		"RawPath hides a dots": {Path: "/../b", RawPath: "/%2e%2e/b"},
	} {
		_, _, ok := DecidablePath(u, "/a")
		require.False(t, ok, name)
	}
}

func TestDecidablePathOfARewrittenURLIsTheNewOneWithTheWorseClass(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, target string
		want         string
		class        PathClass
	}{
		{"/b", "/api/b?x", "/b", PathPlain},
		{"/b", "/api/b;v=1", "/b", PathOdd},
		{"/b;v=1", "/api/b", "/b;v=1", PathOdd},
		{"/a b", "/x", "/a%20b", PathPlain},
		{"/100%", "/x", "/100%25", PathOdd},
	} {
		path, class, ok := DecidablePath(&url.URL{Path: c.path}, c.target)
		require.True(t, ok, c.path)
		require.Equal(t, c.want, path)
		require.Equal(t, c.class, class, c.path)
	}
}

// Raw bytes through net/http's own server: what it lets in is decided as sent.
func TestPathsOverASocketAreDecidedAsTheyWereSent(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, class, ok := DecidablePath(r.URL, r.RequestURI)
		switch {
		case !ok:
			w.WriteHeader(http.StatusBadRequest)
		case class == PathOdd:
			w.Header().Set("Class", "odd")
			fallthrough
		default:
			_, _ = w.Write([]byte(path))
		}
	}))
	t.Cleanup(server.Close)
	for _, c := range []struct {
		target, answer string
	}{
		{"/a/b", "200 /a/b"},
		{"/a%2fb", "200 odd /a%2fb"},
		{"//a", "200 odd //a"},
		{"/a;b", "200 odd /a;b"},
		{"http://other/a", "200 /a"},
		{"http://other", "200 /"},
		{"/a\\b", "400"},
		{"/a\"b", "400"},
		{"/caf\xc3\xa9", "400"},
		{"/a#b", "400"},
		{"/./a", "400"},
		{"/a/../b", "400"},
		{"/%2e%2e/a", "400"},
		{"/%00", "400"},
		{"/%zz", "400"},
		{"*", "400"},
		{"/" + strings.Repeat("a", maxPath), "400"},
	} {
		require.Equal(t, c.answer, rawGet(t, server.Listener.Addr().String(), c.target), "%.40q", c.target)
	}
}

func BenchmarkCheckPath(b *testing.B) {
	for name, path := range map[string]string{
		"plain":   "/mgmtconfig/v1/admin/customers/216196257331281920/application/216196257331372705",
		"encoded": "/v1/files/caf%C3%A9/%E6%97%A5%E6%9C%AC/report.pdf",
		"dotfile": "/.well-known/oauth-authorization-server",
		"deep":    "/%" + strings.Repeat("25", maxPath/2-1),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = CheckPath(path)
			}
		})
	}
}

func BenchmarkDecidablePath(b *testing.B) {
	const target = "/mgmtconfig/v1/admin/customers/216196257331281920/application/216196257331372705?page=1&pagesize=500"
	u, err := url.ParseRequestURI(target)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := DecidablePath(u, target); !ok {
			b.Fatal("refused")
		}
	}
}

func TestCheckingAPathAllocatesNothing(t *testing.T) {
	u, err := url.ParseRequestURI("/v1/customers/1/application?page=1")
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, _, ok := DecidablePath(u, "/v1/customers/1/application?page=1"); !ok {
			panic("refused")
		}
		if _, ok := CheckPath("/.well-known/caf%C3%A9"); !ok {
			panic("refused")
		}
	}))
}
