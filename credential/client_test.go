package credential

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const clientAuth = FormBasic | FormBody

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func TestExtractClientReadsTheOneClientAuthentication(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		auth      string
		body      url.Values
		form      Forms
		id        string
		spellings []string
	}{
		"post":                      {"", form("client_id", "kr_1", "client_secret", "s+3"), FormBody, "kr_1", []string{"s+3"}},
		"basic":                     {basicOf("kr_1:s3"), nil, FormBasic, "kr_1", []string{"s3"}},
		"basic, form-encoded":       {basicOf("kr%5F1:s%2B3"), nil, FormBasic, "kr_1", []string{"s+3", "s%2B3"}},
		"basic, not form-encoded":   {basicOf("kr_1:a+b="), nil, FormBasic, "kr_1", []string{"a b=", "a+b="}},
		"basic that cannot decode":  {basicOf("kr_1:100%"), nil, FormBasic, "kr_1", []string{"100%"}},
		"decoded it has NUL":        {basicOf("kr_1:a%00"), nil, FormBasic, "kr_1", []string{"a%00"}},
		"basic and its client_id":   {basicOf("kr_1:s3"), form("client_id", "kr_1"), FormBasic, "kr_1", []string{"s3"}},
		"basic with a colon within": {basicOf("kr_1:s:3"), nil, FormBasic, "kr_1", []string{"s:3"}},
	} {
		got, problem := ExtractClient(header("Authorization", c.auth), "", c.body, clientAuth)
		require.Equal(t, None, problem, name)
		require.Equal(t, []any{c.form, c.id}, []any{got.Form, got.ClientID}, name)
		require.Equal(t, c.spellings, got.Spellings(), name)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			printed := fmt.Sprintf(verb, got)
			require.Contains(t, printed, c.id, name)
			for _, s := range c.spellings {
				require.NotContains(t, printed, s, "%s printed by %s", name, verb)
			}
		}
	}
	got, problem := ExtractClient(header("Authorization", "Bearer a.b.c"), "", nil, clientAuth|FormBearer)
	require.Equal(t, []any{None, FormBearer, "a.b.c"}, []any{problem, got.Form, got.Token})
}

func TestExtractClientTakesNothingButExactlyOne(t *testing.T) {
	t.Parallel()
	post := form("client_id", "kr_1", "client_secret", "s3")
	for name, c := range map[string]struct {
		auth  string
		query string
		body  url.Values
		want  Problem
	}{
		"nothing":                        {"", "", nil, Missing},
		"a client_id alone":              {"", "", form("client_id", "kr_1"), Missing},
		"a secret alone":                 {"", "", form("client_secret", "s3"), MalformedClient},
		"an assertion":                   {"", "", form("client_assertion", "x"), Missing},
		"a scheme that is not taken":     {"Bearer a.b.c", "", nil, Missing},
		"basic and post":                 {basicOf("kr_1:s3"), "", post, Ambiguous},
		"bearer and post":                {"Bearer a.b.c", "", post, Ambiguous},
		"basic and an assertion":         {basicOf("kr_1:s3"), "", form("client_assertion_type", "x"), Ambiguous},
		"post and an assertion":          {"", "", form("client_id", "kr_1", "client_secret", "s3", "client_assertion", "x"), Ambiguous},
		"basic and another client_id":    {basicOf("kr_1:s3"), "", form("client_id", "kr_2"), Ambiguous},
		"two in one line":                {basicOf("kr_1:s3") + ", " + basicOf("kr_1:s3"), "", nil, Ambiguous},
		"the secret in the query":        {basicOf("kr_1:s3"), "client_secret=s3", nil, Ambiguous},
		"no base64":                      {"Basic !", "", nil, MalformedClient},
		"base64 without its end":         {strings.TrimRight(basicOf("kr_1:s33"), "="), "", nil, MalformedClient},
		"a line end within":              {basicOf("kr_1:s3")[:10] + "\n" + basicOf("kr_1:s3")[10:], "", nil, MalformedClient},
		"an ID with what no ID has":      {basicOf("kr/1:s3"), "", nil, MalformedClient},
		"an ID encoded to what none has": {basicOf("kr%2F1:s3"), "", nil, MalformedClient},
		"an over-long one":               {"Basic " + strings.Repeat("A", 4096), "", nil, MalformedClient},
		"an over-long secret":            {basicOf("kr_1:" + strings.Repeat("x", MaxSecret+1)), "", nil, MalformedClient},
	} {
		got, problem := ExtractClient(header("Authorization", c.auth), c.query, c.body, clientAuth)
		require.Equal(t, c.want, problem, name)
		require.Equal(t, Client{}, got, name)
	}
	twice := header("Authorization", basicOf("kr_1:s3"), "Authorization", basicOf("kr_1:s3"))
	_, problem := ExtractClient(twice, "", nil, clientAuth)
	require.Equal(t, Ambiguous, problem)
}
