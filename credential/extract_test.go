package credential

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const allForms = FormBasic | FormBearer | FormHeader | FormAPIKey

func basicOf(pair string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
}

// header makes a header of name, value, name, value, …
func header(fields ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

func TestExtractReadsTheOneCredential(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("i", MaxClientID) + ":" + strings.Repeat("s", MaxSecret)
	token := strings.Repeat("a", MaxBearer)
	for name, c := range map[string]struct {
		h     http.Header
		forms Forms
		want  Credential
	}{
		"basic":                    {header("Authorization", basicOf("kr_1:s3")), allForms, Credential{FormBasic, "kr_1", "s3", ""}},
		"scheme in any case":       {header("Authorization", "bAsIc"+basicOf("kr_1:s3")[5:]), allForms, Credential{FormBasic, "kr_1", "s3", ""}},
		"several spaces":           {header("Authorization", "Basic   "+basicOf("kr_1:s3")[6:]), allForms, Credential{FormBasic, "kr_1", "s3", ""}},
		"first colon splits":       {header("Authorization", basicOf("kr_1:s:3:")), allForms, Credential{FormBasic, "kr_1", "s:3:", ""}},
		"UTF-8 secret":             {header("Authorization", basicOf("kr_1:pässwörd 日本")), allForms, Credential{FormBasic, "kr_1", "pässwörd 日本", ""}},
		"longest pair":             {header("Authorization", basicOf(long)), allForms, Credential{FormBasic, long[:MaxClientID], long[MaxClientID+1:], ""}},
		"basic beside hidden form": {header("Authorization", basicOf("kr_1:s3"), "X-API-Key", "kr_2.s"), FormBasic, Credential{FormBasic, "kr_1", "s3", ""}},
		"bearer":                   {header("Authorization", "Bearer a.b.c"), allForms, Credential{FormBearer, "", "", "a.b.c"}},
		"bearer in any case":       {header("Authorization", "BEARER aA0-._~+/=="), allForms, Credential{FormBearer, "", "", "aA0-._~+/=="}},
		"longest token":            {header("Authorization", "Bearer "+token), allForms, Credential{FormBearer, "", "", token}},
		"header":                   {header("X-Client-ID", "kr_1", "x-client-secret", "s, 3"), allForms, Credential{FormHeader, "kr_1", "s, 3", ""}},
		"apikey":                   {header("x-api-key", "kr_1.s3"), allForms, Credential{FormAPIKey, "kr_1", "s3", ""}},
		"first dot splits":         {header("X-API-Key", "kr_1.s.3."), allForms, Credential{FormAPIKey, "kr_1", "s.3.", ""}},
		"empty Authorization":      {header("Authorization", "", "X-API-Key", "kr_1.s3"), allForms, Credential{FormAPIKey, "kr_1", "s3", ""}},
	} {
		got, problem := Extract(c.h, "", c.forms)
		require.Equal(t, None, problem, name)
		require.Equal(t, c.want, got, name)
	}
}

func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	basic := basicOf("kr_1:s3")
	for name, c := range map[string]struct {
		h     http.Header
		query string
		forms Forms
		want  Problem
	}{
		"nothing":                     {header(), "", allForms, Missing},
		"nil header":                  {nil, "", allForms, Missing},
		"empty Authorization":         {header("Authorization", ""), "", allForms, Missing},
		"basic not enabled":           {header("Authorization", basic), "", FormBearer, Missing},
		"bad basic not enabled":       {header("Authorization", "Basic !"), "", FormBearer, Missing},
		"bearer not enabled":          {header("Authorization", "Bearer a"), "", FormBasic, Missing},
		"header not enabled":          {header("X-Client-Id", "kr_1", "X-Client-Secret", "s"), "", FormBasic | FormBearer, Missing},
		"apikey not enabled":          {header("X-Api-Key", "kr_1.s"), "", FormBasic | FormBearer, Missing},
		"unknown scheme":              {header("Authorization", "Negotiate abc"), "", allForms, Missing},
		"unknown scheme, parameters":  {header("Authorization", `Digest a="b", c="d"`), "", allForms, Missing},
		"scheme is a prefix":          {header("Authorization", "Basics abc"), "", allForms, Missing},
		"long s in scheme":            {header("Authorization", "Ba\u017fic abc"), "", allForms, Missing},
		"credential without scheme":   {header("Authorization", "kr_1:s3"), "", allForms, Missing},
		"two Authorization":           {header("Authorization", basic, "Authorization", basic), "", allForms, Ambiguous},
		"two, none enabled":           {header("Authorization", basic, "Authorization", "Bearer a"), "", FormAPIKey, Ambiguous},
		"two, one empty":              {header("Authorization", "", "Authorization", basic), "", allForms, Ambiguous},
		"comma joined":                {header("Authorization", "Basic a, Bearer b"), "", allForms, Ambiguous},
		"comma joined, no space":      {header("Authorization", "Bearer a,Basic b"), "", allForms, Ambiguous},
		"comma joined, same scheme":   {header("Authorization", basic+", "+basic), "", FormBasic, Ambiguous},
		"comma joined, unknown first": {header("Authorization", "Digest a=b, bearer c"), "", allForms, Ambiguous},
		"comma joined, empty first":   {header("Authorization", ",Basic abc"), "", allForms, Ambiguous},
		"comma joined, word last":     {header("Authorization", "Digest a,b,\tBASIC"), "", allForms, Ambiguous},
		"basic and apikey":            {header("Authorization", basic, "X-API-Key", "kr_1.s"), "", allForms, Ambiguous},
		"basic and header":            {header("Authorization", basic, "X-Client-Id", "a", "X-Client-Secret", "b"), "", allForms, Ambiguous},
		"bearer and half a header":    {header("Authorization", "Bearer a", "X-Client-Id", "a"), "", allForms, Ambiguous},
		"header and apikey":           {header("X-Client-Id", "a", "X-Client-Secret", "b", "X-API-Key", "kr_1.s"), "", allForms, Ambiguous},
		"unknown scheme and apikey":   {header("Authorization", "Negotiate abc", "X-API-Key", "kr_1.s"), "", allForms, Ambiguous},
		"hidden scheme and apikey":    {header("Authorization", basic, "X-API-Key", "kr_1.s"), "", FormAPIKey, Ambiguous},
		"two X-Client-Id":             {header("X-Client-Id", "a", "X-Client-Id", "a", "X-Client-Secret", "b"), "", allForms, Ambiguous},
		"two X-Client-Secret":         {header("X-Client-Id", "a", "X-Client-Secret", "b", "X-Client-Secret", "b"), "", allForms, Ambiguous},
		"two X-API-Key":               {header("X-API-Key", "a.b", "X-API-Key", "a.b"), "", allForms, Ambiguous},
		"query":                       {header("Authorization", basic), "access_token=x", allForms, Ambiguous},
		"query alone":                 {header(), "client_secret=x", FormBasic, Ambiguous},
		"basic without credential":    {header("Authorization", "Basic"), "", allForms, MalformedClient},
		"basic, spaces only":          {header("Authorization", "Basic  "), "", allForms, MalformedClient},
		"basic after a tab":           {header("Authorization", "Basic\t"+basic[6:]), "", allForms, MalformedClient},
		"no base64":                   {header("Authorization", "Basic !!!"), "", allForms, MalformedClient},
		"unpadded":                    {header("Authorization", "Basic "+base64.RawStdEncoding.EncodeToString([]byte("kr_1:s3x"))), "", allForms, MalformedClient},
		"URL alphabet":                {header("Authorization", "Basic "+base64.URLEncoding.EncodeToString([]byte("kr:\u00ff\u00fe\u00ff"))), "", allForms, MalformedClient},
		"stray final bits":            {header("Authorization", "Basic a3JfMTpzMR=="), "", allForms, MalformedClient},
		"line end in base64":          {http.Header{"Authorization": {basic[:10] + "\r\n" + basic[10:]}}, "", allForms, MalformedClient},
		"four line ends in base64":    {http.Header{"Authorization": {basic[:10] + "\n\n\n\n" + basic[10:]}}, "", allForms, MalformedClient},
		"something behind":            {header("Authorization", basic+" x"), "", allForms, MalformedClient},
		"no colon":                    {header("Authorization", basicOf("kr_1")), "", allForms, MalformedClient},
		"empty ID":                    {header("Authorization", basicOf(":s3")), "", allForms, MalformedClient},
		"empty secret":                {header("Authorization", basicOf("kr_1:")), "", allForms, MalformedClient},
		"colon only":                  {header("Authorization", basicOf(":")), "", allForms, MalformedClient},
		"NUL in ID":                   {header("Authorization", basicOf("kr\x00:s3")), "", allForms, MalformedClient},
		"NUL in secret":               {header("Authorization", basicOf("kr_1:s\x00")), "", allForms, MalformedClient},
		"line end in secret":          {header("Authorization", basicOf("kr_1:s3\n")), "", allForms, MalformedClient},
		"DEL in secret":               {header("Authorization", basicOf("kr_1:s\x7f")), "", allForms, MalformedClient},
		"invalid UTF-8":               {header("Authorization", basicOf("kr_1:s\xff")), "", allForms, MalformedClient},
		"overlong UTF-8":              {header("Authorization", basicOf("kr_1:s\xc0\xae")), "", allForms, MalformedClient},
		"ID alphabet":                 {header("Authorization", basicOf("kr 1:s3")), "", allForms, MalformedClient},
		"space around ID":             {header("Authorization", basicOf(" kr_1:s3")), "", allForms, MalformedClient},
		"ID too long":                 {header("Authorization", basicOf(strings.Repeat("a", 129)+":s")), "", allForms, MalformedClient},
		"secret too long":             {header("Authorization", basicOf("a:"+strings.Repeat("s", 257))), "", allForms, MalformedClient},
		"value over 8 KiB":            {header("Authorization", basicOf("a:"+strings.Repeat("s", 8<<10))), "", allForms, MalformedClient},
		"X-Client-Id alone":           {header("X-Client-Id", "kr_1"), "", allForms, MalformedClient},
		"X-Client-Secret alone":       {header("X-Client-Secret", "s"), "", allForms, MalformedClient},
		"X-Client-Id empty":           {header("X-Client-Id", "", "X-Client-Secret", "s"), "", allForms, MalformedClient},
		"X-Client-Secret empty":       {header("X-Client-Id", "kr_1", "X-Client-Secret", ""), "", allForms, MalformedClient},
		"X-Client-Secret too long":    {header("X-Client-Id", "kr_1", "X-Client-Secret", strings.Repeat("s", 257)), "", allForms, MalformedClient},
		"X-Client-Id joined":          {header("X-Client-Id", "a, b", "X-Client-Secret", "s"), "", allForms, MalformedClient},
		"X-API-Key empty":             {header("X-API-Key", ""), "", allForms, MalformedClient},
		"X-API-Key without dot":       {header("X-API-Key", "kr_1"), "", allForms, MalformedClient},
		"X-API-Key without ID":        {header("X-API-Key", ".s"), "", allForms, MalformedClient},
		"X-API-Key without secret":    {header("X-API-Key", "kr_1."), "", allForms, MalformedClient},
		"X-API-Key too long":          {header("X-API-Key", "kr_1."+strings.Repeat("s", 257)), "", allForms, MalformedClient},
		"placeholder":                 {header("X-API-Key", "{env.HOME}.s"), "", allForms, MalformedClient},
		"bearer without token":        {header("Authorization", "Bearer"), "", allForms, MalformedToken},
		"bearer, spaces only":         {header("Authorization", "Bearer   "), "", allForms, MalformedToken},
		"padding only":                {header("Authorization", "Bearer =="), "", allForms, MalformedToken},
		"padding inside":              {header("Authorization", "Bearer a=b"), "", allForms, MalformedToken},
		"two words":                   {header("Authorization", "Bearer a b"), "", allForms, MalformedToken},
		"after a tab":                 {header("Authorization", "Bearer\ta"), "", allForms, MalformedToken},
		"no b64token":                 {header("Authorization", "Bearer a{b}"), "", allForms, MalformedToken},
		"not ASCII":                   {header("Authorization", "Bearer aé"), "", allForms, MalformedToken},
		"NUL in token":                {http.Header{"Authorization": {"Bearer a\x00"}}, "", allForms, MalformedToken},
		"three dots":                  {header("Authorization", "Bearer a.b.c.d"), "", allForms, MalformedToken},
		"10,000 dots":                 {header("Authorization", "Bearer "+strings.Repeat(".", 10_000)), "", allForms, MalformedToken},
		"token over 16 KiB":           {header("Authorization", "Bearer "+strings.Repeat("a", 16<<10+1)), "", allForms, MalformedToken},
		"64 KiB token":                {header("Authorization", "Bearer "+strings.Repeat("a", 64<<10)), "", allForms, MalformedToken},
	} {
		got, problem := Extract(c.h, c.query, c.forms)
		require.Equal(t, c.want.String(), problem.String(), name)
		require.Zero(t, got, name)
	}
}

func TestCredentialParametersInTheQueryAreFoundInAnySpelling(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]Problem{
		"access_token=x":                         Ambiguous,
		"client_secret=":                         Ambiguous,
		"client_secret":                          Ambiguous,
		"a=b&access_token=x":                     Ambiguous,
		"a=b;access_token=x":                     Ambiguous,
		"&&;access_token":                        Ambiguous,
		"ACCESS_TOKEN=x":                         Ambiguous,
		"Client_Secret=x":                        Ambiguous,
		"access%5Ftoken=x":                       Ambiguous,
		"access%5ftoken=x":                       Ambiguous,
		"%61%63%63%65%73%73%5f%74%6f%6b%65%6e":   Ambiguous,
		"%41ccess_token=x":                       Ambiguous,
		"access%255Ftoken=x":                     Ambiguous,
		"client%25255fsecret=x":                  Ambiguous,
		"a=access_token":                         Missing,
		"a=b=access_token":                       Missing,
		"access_tokens=x":                        Missing,
		"xaccess_token=x":                        Missing,
		"access-token=x":                         Missing,
		"access%5ztoken=x":                       Missing,
		"access_token%":                          Missing,
		"client_id=kr_1":                         Missing,
		"":                                       Missing,
		"%":                                      Missing,
		"=access_token":                          Missing,
		strings.Repeat("%25", 1000) + "=x":       Missing,
		"a=" + strings.Repeat("client_sec", 100): Missing,
	} {
		_, problem := Extract(nil, query, allForms)
		require.Equal(t, want.String(), problem.String(), query)
	}
}

// Whatever net/url finds under a forbidden name, Extract must have found too.
func TestNoParameterThatAFormParserReadsSlipsThrough(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(forbiddenQuery[:]).Draw(t, "name")
		var spelt strings.Builder
		for _, c := range name {
			switch rapid.IntRange(0, 3).Draw(t, "how") {
			case 0:
				c = unicode.ToUpper(c)
				fallthrough
			case 1:
				spelt.WriteRune(c)
			case 2:
				fmt.Fprintf(&spelt, "%%%02x", c)
			case 3:
				fmt.Fprintf(&spelt, "%%%02X", c)
			}
		}
		before := rapid.StringMatching(`([a-z]{0,3}=[a-z%+]{0,3}[&;]){0,3}`).Draw(t, "before")
		_, problem := Extract(nil, before+spelt.String()+"=x", FormBasic)
		if problem != Ambiguous {
			t.Fatalf("%q was let through", before+spelt.String())
		}
	})
}

func TestBasicRoundTripsEveryAcceptablePair(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[A-Za-z0-9._~-]{1,128}`).Draw(t, "id")
		secret := rapid.StringOfN(rapid.RuneFrom(nil, unicode.L, unicode.N, unicode.P, unicode.S), 1, 60, MaxSecret).Draw(t, "secret")
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(id, secret)
		got, problem := Extract(r.Header, "", FormBasic)
		require.Equal(t, None, problem)
		require.Equal(t, Credential{FormBasic, id, secret, ""}, got)
	})
}

func TestStripRemovesWhatCanCarryACredential(t *testing.T) {
	t.Parallel()
	full := header("Authorization", "a", "Authorization", "b", "X-Client-Id", "c", "X-Client-Secret", "d", "X-API-Key", "e", "Accept", "f")
	for forms, left := range map[Forms][]string{
		0:                       {"X-Client-Id", "X-Client-Secret", "X-Api-Key", "Accept"},
		FormBasic | FormBearer:  {"X-Client-Id", "X-Client-Secret", "X-Api-Key", "Accept"},
		FormBasic | FormHeader:  {"X-Api-Key", "Accept"},
		FormBasic | FormAPIKey:  {"X-Client-Id", "X-Client-Secret", "Accept"},
		allForms:                {"Accept"},
		FormHeader | FormAPIKey: {"Accept"},
	} {
		h := full.Clone()
		Strip(h, forms)
		var names []string
		for name := range h {
			names = append(names, name)
		}
		require.ElementsMatch(t, left, names, forms)
	}
	Strip(nil, allForms)
}

func TestCredentialsNeverPrintSecretOrToken(t *testing.T) {
	t.Parallel()
	for _, c := range []Credential{
		{Form: FormBasic, ClientID: "kr_1", Secret: "canary"}, {Form: FormHeader, ClientID: "kr_1", Secret: "canary"},
		{Form: FormAPIKey, ClientID: "kr_1", Secret: "canary"}, {Form: FormBearer, Token: "canary"}, {Secret: "canary"},
	} {
		for _, v := range []any{c, &c, []Credential{c}, map[string]Credential{"c": c}, struct{ C Credential }{c}} {
			for _, text := range printed(t, v) {
				require.NotContains(t, text, "canary")
				require.NotContains(t, text, "63616e617279") // in hex
			}
		}
	}
	require.Equal(t, "basic credential of kr_1", Credential{Form: FormBasic, ClientID: "kr_1"}.String())
}

func TestExtractAllocatesOnceAtMost(t *testing.T) {
	for name, c := range map[string]struct {
		h    http.Header
		most float64
	}{
		"basic":  {header("Authorization", basicOf(NewClientID()+":"+NewSecret())), 1},
		"bearer": {header("Authorization", "Bearer "+strings.Repeat("a", 800)), 0},
		"header": {header("X-Client-Id", NewClientID(), "X-Client-Secret", NewSecret()), 0},
		"apikey": {header("X-API-Key", NewClientID()+"."+NewSecret()), 0},
	} {
		allocs := testing.AllocsPerRun(100, func() {
			if _, problem := Extract(c.h, "microtenantId=0&q=%20x", allForms); problem != None {
				panic(problem)
			}
		})
		require.LessOrEqual(t, allocs, c.most, name)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(basicOf("kr_1:s3"), "", "", "", "", "", uint8(allForms))
	f.Add("Bearer a.b.c", "", "", "", "", "a=b", uint8(FormBearer))
	f.Add("", "", "kr_1", "s3", "", "", uint8(FormHeader))
	f.Add("", "", "", "", "kr_1.s3", "access%5ftoken=1", uint8(allForms))
	f.Add("Basic a, Bearer b", "Basic c", "kr_1", "", "x", ";client_secret", uint8(allForms))
	f.Add("Digest a=b, Basic a3I6cw==", "", "", "", "", "%25%", uint8(FormBasic))
	f.Add("basic \xff", "", "\x00", "\xc0\xae", "..", "&;=", uint8(0))
	f.Fuzz(func(t *testing.T, auth, auth2, id, secret, key, query string, bits uint8) {
		forms := Forms(bits) & allForms
		h := http.Header{}
		present := 0
		set := func(name string, value string, form Forms) bool {
			if value != "" {
				h.Add(name, value)
			}
			return value != "" && forms&form != 0
		}
		if set("Authorization", auth, allForms) || auth != "" {
			present++
		}
		if set("Authorization", auth2, allForms) || auth2 != "" {
			present++
		}
		pairID, pairSecret := set("X-Client-Id", id, FormHeader), set("X-Client-Secret", secret, FormHeader)
		if pairID || pairSecret {
			present++
		}
		if set("X-API-Key", key, FormAPIKey) {
			present++
		}
		c, problem := Extract(h, query, forms)
		if problem != None {
			require.Zero(t, c)
		} else {
			require.Equal(t, 1, present, "exactly one credential was there")
			requireSound(t, c, forms)
			if c.Form == FormBasic {
				user, password, ok := (&http.Request{Header: h}).BasicAuth()
				require.True(t, ok && user == c.ClientID && password == c.Secret, "net/http reads the same")
			}
			values, _ := url.ParseQuery(query)
			require.False(t, values.Has("access_token") || values.Has("client_secret"))
		}
		if present > 1 {
			require.Equal(t, Ambiguous, problem)
		}
		Strip(h, forms)
		_, problem = Extract(h, "", forms)
		require.Equal(t, Missing, problem, "nothing is left after Strip")
	})
}

// requireSound holds of every credential that Extract returns.
func requireSound(t *testing.T, c Credential, forms Forms) {
	t.Helper()
	require.NotZero(t, c.Form&forms)
	switch c.Form {
	case FormBearer:
		require.Regexp(t, `^[A-Za-z0-9._~+/-]+=*$`, c.Token)
		require.Empty(t, c.ClientID+c.Secret)
	case FormBasic, FormHeader, FormAPIKey:
		require.True(t, ValidClientID(c.ClientID))
		require.True(t, c.Secret != "" && len(c.Secret) <= MaxSecret && utf8.ValidString(c.Secret))
		require.False(t, strings.ContainsFunc(c.Secret, func(r rune) bool { return r < ' ' || r == 0x7f }))
		require.Empty(t, c.Token)
	default:
		t.Fatalf("form %b is not one form", c.Form)
	}
}

func BenchmarkExtract(b *testing.B) {
	id, secret := NewClientID(), NewSecret()
	for _, c := range []struct {
		name  string
		h     http.Header
		query string
	}{
		{"basic", header("Authorization", basicOf(id+":"+secret)), ""},
		{"basic_query", header("Authorization", basicOf(id+":"+secret)), "page=1&pagesize=500&search=name+EQ+%22a%22"},
		{"bearer", header("Authorization", "Bearer "+strings.Repeat("a", 300)+"."+strings.Repeat("b", 300)), ""},
		{"header", header("X-Client-Id", id, "X-Client-Secret", secret), ""},
		{"apikey", header("X-API-Key", id+"."+secret), ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, problem := Extract(c.h, c.query, allForms); problem != None {
					b.Fatal(problem)
				}
			}
		})
	}
}
