package policy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPatternsAreWrittenBackAsRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"/", "/a", "/a/", "/a/{id}", "/a/{id}/", "/{rest...}", "/a/{id}/b/{more...}",
		"/v1/keys:batch", "/a.b/~c/d_e-f", "/@scope/!$&'()+,=", "/a*b/c", "/...", "/.well-known/x",
		"/{_}", "/{Id2}",
	} {
		p, err := parsePattern(text)
		require.NoError(t, err, text)
		require.Equal(t, text, p.String())
	}
}

func TestPatternsThatCouldBeReadTwoWaysAreRefusedWithTheFix(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              "must begin with a slash",
		"a/b":                           "must begin with a slash",
		"*":                             "must begin with a slash",
		"GET /a":                        "must begin with a slash",
		"/a//b":                         "write a single slash",
		"//":                            "write a single slash",
		"/a/./b":                        "dot segment",
		"/a/..":                         "dot segment",
		"/a%2Fb":                        "percent-encoding",
		"/%61":                          "percent-encoding",
		"/a;b":                          "contains ;",
		"/a?b=c":                        "covers the path only",
		"/a#b":                          "covers the path only",
		"/a b":                          "cannot hold unencoded",
		"/é":                            "cannot hold unencoded",
		"/a\\b":                         "cannot hold unencoded",
		"/a\x00":                        "cannot hold unencoded",
		"/a/*":                          "no wildcard",
		"/a/b*":                         "no wildcard",
		"/{}":                           "has no name",
		"/{...}":                        "has no name",
		"/{$}":                          "{$} is not needed",
		"/{a}b":                         "whole segment",
		"/b{a}":                         "whole segment",
		"/{a":                           "whole segment",
		"/a}":                           "whole segment",
		"/{a}{b}":                       "whole segment",
		"/{{a}}":                        "whole segment",
		"/{a-b}":                        "letters, digits and _",
		"/{1a}":                         "not begin with a digit",
		"/{é}":                          "letters, digits and _",
		"/{a}/{a}":                      "used twice",
		"/{a}/{a...}":                   "used twice",
		"/{a...}/b":                     "must be the last segment",
		"/{a...}/":                      "must be the last segment",
		"/{path}":                       "such as {path_value}",
		"/{path...}":                    "such as {path_value}",
		"/{client_ip}":                  "shorthand that Caddy replaces",
		"/{labels...}":                  "shorthand that Caddy replaces",
		"/{re...}":                      "shorthand that Caddy replaces",
		"/{http.request.uri.path}":      "what Caddy makes of its shorthand {path}",
		"/{http.request.method}/a":      "such as {method_value}",
		"/{http.regexp...}":             "Caddy placeholder",
		"/{http.request.host.labels.1}": "Caddy placeholder",
		"/" + strings.Repeat("a", maxPatternLength): "the limit is",
	} {
		_, err := parsePattern(text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestPatternsRelateAsTheirSetsOfPathsDo(t *testing.T) {
	t.Parallel()
	inverse := map[relation]relation{within: contains, contains: within}
	for _, c := range []struct {
		p, q    string
		written relation
		normal  relation
	}{
		{"/a", "/a", equal, equal},
		{"/a", "/A", disjoint, equal},
		{"/a", "/a/", disjoint, equal},
		{"/", "/{x...}", within, within},
		{"/a", "/{x}", within, within},
		{"/{y}", "/{x}", equal, equal},
		{"/a/{x}/c", "/a/b/{y}", crossing, crossing},
		{"/a/{x...}", "/a", disjoint, contains},
		{"/a/{x...}", "/a/", contains, contains},
		{"/a/", "/a/{x}", disjoint, disjoint},
		{"/a/{x}", "/a/{y...}", within, within},
		{"/{x}/b", "/a/{y...}", crossing, crossing},
		{"/{x...}", "/{y...}", equal, equal},
		{"/a/b", "/a", disjoint, disjoint},
		{"/{x}/{y}", "/{x}", disjoint, disjoint},
		{"/{x}", "/a/{y...}", disjoint, crossing},
		{"/A/{x}/c", "/a/b/{y}", disjoint, crossing},
	} {
		p, err := parsePattern(c.p)
		require.NoError(t, err)
		q, err := parsePattern(c.q)
		require.NoError(t, err)
		back := func(r relation) relation {
			if inv, ok := inverse[r]; ok {
				return inv
			}
			return r
		}
		require.Equal(t, c.written, p.compare(q, false), "%s to %s as written", c.p, c.q)
		require.Equal(t, back(c.written), q.compare(p, false), "%s to %s as written", c.q, c.p)
		require.Equal(t, c.normal, p.normal().compare(q.normal(), true), "%s to %s in normal form", c.p, c.q)
		require.Equal(t, back(c.normal), q.normal().compare(p.normal(), true), "%s to %s in normal form", c.q, c.p)
	}
}

func TestNormalFormOfAPathUndoesEveryLaxReading(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/":                        "",
		"/a/b":                     "a/b",
		"/A/b/":                    "a/b",
		"//a///b//":                "a/b",
		"/%61%2fb":                 "a/b",
		"/%2561":                   "a",
		"/%252525252561":           "a",
		"/%25%32%66":               "",
		"/a%2":                     "a%2",
		"/a%zz":                    "a%zz",
		"/%%36%31":                 "a",
		"/a;v=1/b;w":               "a/b",
		"/a/;x/b":                  "a/b",
		"/a%5Cb":                   "a/b",
		"/%C3%89t%C3%A9":           fold("été"),
		"/%E2%84%AAey":             "key", // U+212A KELVIN SIGN folds to k
		"/u%C5%BFers":              "users",
		"/%FF":                     "\xff",
		"/a/%3Bb":                  "a",
		"/%CF%82":                  fold("σ"), // a final sigma is a sigma
		"/" + encodedDeep("a", 40): "a",
	} {
		got, dots := normalPath(path)
		require.Equal(t, want, got, path)
		require.False(t, dots, path)
	}
	for _, path := range []string{"/a/..", "/%2e%2E/a", "/a%2f.%2fb", "/a/..;x/b", "/%252e%252e", "/..\\a"} {
		_, dots := normalPath(path)
		require.True(t, dots, path)
	}
}

// encodedDeep encodes the first letter n times over.
func encodedDeep(letter string, n int) string {
	return "%" + strings.Repeat("25", n) + map[string]string{"a": "61"}[letter]
}

func TestDecodingIsLinearInTheLengthOfThePath(t *testing.T) {
	t.Parallel()
	// A decoder that starts over for each layer would take 10^11 steps here.
	deep := "%" + strings.Repeat("25", 1<<18) + "61"
	require.Equal(t, "a", decodeFully(deep))
}

func TestSpellingTellsNormalFormFromTheRest(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]spelling{
		"/": foldedSpelling, "/a": normalSpelling, "/a/": foldedSpelling, "/aB": foldedSpelling,
		"/a%61": oddSpelling, "/a;b": oddSpelling, "//a": oddSpelling, "/A//": oddSpelling, "/é": oddSpelling, "/a\\b": oddSpelling,
	} {
		require.Equal(t, want, spellingOf(path), path)
	}
}
