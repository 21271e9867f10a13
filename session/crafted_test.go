package session_test

import (
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/session"
)

// crafted signs whatever it is given with the node's real key: what remains to
// be checked once a signature is good.
type crafted struct {
	t       *testing.T
	kid     string
	private crypto.Signer
	now     int64
}

func craft(t *testing.T, w *world, n *node) *crafted {
	t.Helper()
	kid, private, err := n.SigningKey(t.Context(), w.clock.Now())
	require.NoError(t, err)
	return &crafted{t, kid, private, w.clock.Now().Wall.Unix()}
}

// header is that of a good token, with changes; nil takes a member away.
func (c *crafted) header(changes ...any) string {
	return changed(map[string]any{"alg": "EdDSA", "kid": c.kid, "typ": "at+jwt"}, changes)
}

// claims are those of a good token, with changes.
func (c *crafted) claims(changes ...any) string {
	return changed(map[string]any{
		"iss": "https://issuer.example", "aud": "https://api.example", "sub": "client-1", "client_id": "client-1", "jti": "ses_x.0.sec_1",
		"iat": c.now, "nbf": c.now, "exp": c.now + 3600, "customer": "c1", "microtenant": "m1",
	}, changes)
}

func changed(members map[string]any, changes []any) string {
	for i := 0; i < len(changes); i += 2 {
		name := changes[i].(string)
		if changes[i+1] == nil {
			delete(members, name)
			continue
		}
		members[name] = changes[i+1]
	}
	data, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func (c *crafted) sign(header, claims string) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	signature, err := c.private.Sign(rand.Reader, []byte(input), crypto.Hash(0))
	require.NoError(c.t, err)
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func TestAGoodSignatureIsNotEnough(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	c := craft(t, w, n)
	closing := func(object, more string) string { return strings.TrimSuffix(object, "}") + more + "}" }
	deep := strings.Repeat("[", 2000) + strings.Repeat("]", 2000)
	refused := map[string]string{
		"another issuer":         c.sign(c.header(), c.claims("iss", "https://issuer.example/")),
		"no issuer":              c.sign(c.header(), c.claims("iss", nil)),
		"another audience":       c.sign(c.header(), c.claims("aud", "https://elsewhere.example")),
		"no audience":            c.sign(c.header(), c.claims("aud", nil)),
		"audience among several": c.sign(c.header(), c.claims("aud", []string{"https://api.example", "https://elsewhere.example"})),
		"typ JWT":                c.sign(c.header("typ", "JWT"), c.claims()),
		"no typ":                 c.sign(c.header("typ", nil), c.claims()),
		"typ of an assertion":    c.sign(c.header("typ", "keyreeve-assertion+jwt"), c.claims()),
		"typ a list":             c.sign(c.header("typ", []string{"at+jwt"}), c.claims()),

		"expired":               c.sign(c.header(), c.claims("exp", c.now)),
		"no exp":                c.sign(c.header(), c.claims("exp", nil)),
		"exp 0":                 c.sign(c.header(), c.claims("exp", 0)),
		"exp negative":          c.sign(c.header(), c.claims("exp", -1)),
		"exp past int64":        c.sign(c.header(), c.claims("exp", raw("9223372036854775808"))),
		"exp past uint64":       c.sign(c.header(), c.claims("exp", raw("18446744073709551617"))),
		"exp that would wrap":   c.sign(c.header(), c.claims("exp", raw("9223372036854775807"))),
		"exp past float64":      c.sign(c.header(), c.claims("exp", raw("1e400"))),
		"exp in the year 10000": c.sign(c.header(), c.claims("exp", int64(253402300800))),
		"exp a fraction":        c.sign(c.header(), c.claims("exp", raw(fmt.Sprintf("%d.5", c.now+60)))),
		"exp a string":          c.sign(c.header(), c.claims("exp", fmt.Sprint(c.now+60))),
		"exp null":              c.sign(c.header(), c.claims("exp", raw("null"))),
		"exp true":              c.sign(c.header(), c.claims("exp", true)),
		"EXP in place of exp":   c.sign(c.header(), c.claims("exp", nil, "EXP", c.now+60)),
		"EXP beside an old exp": c.sign(c.header(), c.claims("exp", c.now-1, "EXP", c.now+60)),
		"nbf past the leeway":   c.sign(c.header(), c.claims("nbf", c.now+61)),
		"iat past the leeway":   c.sign(c.header(), c.claims("iat", c.now+61)),
		"no nbf":                c.sign(c.header(), c.claims("nbf", nil)),
		"no iat":                c.sign(c.header(), c.claims("iat", nil)),

		"no jti":                      c.sign(c.header(), c.claims("jti", nil)),
		"no client_id":                c.sign(c.header(), c.claims("client_id", nil)),
		"no sub":                      c.sign(c.header(), c.claims("sub", nil)),
		"sub of another":              c.sign(c.header(), c.claims("sub", "client-2")),
		"duplicate exp":               c.sign(c.header(), closing(c.claims(), fmt.Sprintf(`,"exp":%d`, c.now+60))),
		"duplicate client_id":         c.sign(c.header(), closing(c.claims(), `,"client_id":"client-1"`)),
		"duplicate in other spelling": c.sign(c.header(), closing(c.claims(), `,"\u0065xp":99999999999`)),
		"claims a list":               c.sign(c.header(), "["+c.claims()+"]"),
		"claims null":                 c.sign(c.header(), "null"),
		"two objects":                 c.sign(c.header(), c.claims()+c.claims()),
		"claims cut short":            c.sign(c.header(), strings.TrimSuffix(c.claims(), "}")),
		"no claims":                   c.sign(c.header(), ""),

		"duplicate alg":       c.sign(closing(c.header(), `,"alg":"EdDSA"`), c.claims()),
		"duplicate kid":       c.sign(closing(c.header(), `,"kid":"x"`), c.claims()),
		"no alg":              c.sign(c.header("alg", nil), c.claims()),
		"alg none":            c.sign(c.header("alg", "none"), c.claims()),
		"alg HS256":           c.sign(c.header("alg", "HS256"), c.claims()),
		"alg RS256":           c.sign(c.header("alg", "RS256"), c.claims()),
		"alg ES256":           c.sign(c.header("alg", "ES256"), c.claims()),
		"alg in other case":   c.sign(c.header("alg", "eddsa"), c.claims()),
		"no kid":              c.sign(c.header("kid", nil), c.claims()),
		"another kid":         c.sign(c.header("kid", "sig_other"), c.claims()),
		"jku":                 c.sign(c.header("jku", "http://127.0.0.1:1/keys"), c.claims()),
		"x5u":                 c.sign(c.header("x5u", "http://127.0.0.1:1/keys"), c.claims()),
		"jwk":                 c.sign(c.header("jwk", raw(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)), c.claims()),
		"nonce":               c.sign(c.header("nonce", "x"), c.claims()),
		"crit":                c.sign(c.header("crit", []string{"exp"}, "exp", 1), c.claims()),
		"b64":                 c.sign(c.header("crit", []string{"b64"}, "b64", false), c.claims()),
		"zip":                 c.sign(c.header("zip", "DEF"), c.claims()),
		"a member unheard of": c.sign(c.header("x", 1), c.claims()),
		"a deep member":       c.sign(c.header("x", raw(deep)), c.claims()),
		"header a list":       c.sign("["+c.header()+"]", c.claims()),
		"over-long":           c.sign(c.header(), c.claims("x", strings.Repeat("x", 20<<10))),
	}
	for name, token := range refused {
		for range 2 { // again, in case the first kept it
			_, err := w.verify(n, token)
			require.ErrorIs(t, err, session.ErrInvalid, name)
			require.NotContains(t, err.Error(), token, name)
		}
	}
	for name, token := range map[string]string{
		"as issued":             c.sign(c.header(), c.claims()),
		"the other audience":    c.sign(c.header(), c.claims("aud", "other")),
		"typ in other case":     c.sign(c.header("typ", "AT+JWT"), c.claims()),
		"nbf within the leeway": c.sign(c.header(), c.claims("nbf", c.now+60)),
		"iat within the leeway": c.sign(c.header(), c.claims("iat", c.now+60)),
		"its last second":       c.sign(c.header(), c.claims("exp", c.now+1)),
		"a claim unheard of":    c.sign(c.header(), c.claims("later", "version")),
	} {
		_, err := w.verify(n, token)
		require.NoError(t, err, name)
	}
}

// A node keeps tokens by all their bytes; those that were refused are not kept,
// and those that were kept are judged anew.
func TestACachedTokenIsHeldAgainstTheClockEachTime(t *testing.T) {
	w := newWorld(t)
	n := w.node(standard)
	c := craft(t, w, n)
	token := c.sign(c.header(), c.claims("nbf", c.now+60, "exp", c.now+120))
	for range 3 {
		_, err := w.verify(n, token)
		require.NoError(t, err)
	}
	w.clock.StepWall(-10e9)
	_, err := w.verify(n, token)
	require.ErrorIs(t, err, session.ErrInvalid, "not yet valid by a clock that was set back")
	w.clock.StepWall(130e9)
	_, err = w.verify(n, token)
	require.ErrorIs(t, err, session.ErrInvalid)
}
