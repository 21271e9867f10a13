package e2e

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// b64 is base64url without padding, of bytes, text or JSON of anything else.
func b64(v any) string {
	switch v := v.(type) {
	case []byte:
		return base64.RawURLEncoding.EncodeToString(v)
	case string:
		return base64.RawURLEncoding.EncodeToString([]byte(v))
	}
	data, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(data)
}

// outsider makes tokens as somebody can who has seen one and the published keys.
type outsider struct {
	token          string
	header, claims map[string]any
	kid            string
	jwks           []byte // as published
	x              []byte // the published Ed25519 key
	own            ed25519.PrivateKey
	listener       net.Listener
	fetched        atomic.Int64 // connections to where crafted headers point
}

func newOutsider(t *testing.T, g *gate, token string) *outsider {
	t.Helper()
	o := &outsider{token: token, header: segment(t, token, 0), claims: segment(t, token, 1)}
	a := g.get(t, "/.well-known/jwks.json")
	require.Equal(t, 200, a.status)
	o.jwks = []byte(a.body)
	var set struct {
		Keys []struct{ Kid, X string }
	}
	require.NoError(t, json.Unmarshal(o.jwks, &set))
	require.Len(t, set.Keys, 1)
	o.kid = set.Keys[0].Kid
	require.Equal(t, o.kid, o.header["kid"])
	var err error
	o.x, err = base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	require.NoError(t, err)
	_, o.own, err = ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	o.listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, o.listener.Close()) })
	go func() {
		for {
			conn, err := o.listener.Accept()
			if err != nil {
				return // closed
			}
			o.fetched.Add(1)
			_ = conn.Close()
		}
	}()
	return o
}

// with is a copy of members with changes; a nil value takes one away.
func with(members map[string]any, changes map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range members {
		out[k] = v
	}
	for k, v := range changes {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = v
	}
	return out
}

// signed signs header and claims, each JSON or raw text, with the outsider's own key.
func (o *outsider) signed(header, claims any) string {
	input := b64(header) + "." + b64(claims)
	return input + "." + b64(ed25519.Sign(o.own, []byte(input)))
}

// hmacked signs with HS256 under a key that is no secret.
func (o *outsider) hmacked(header map[string]any, key []byte) string {
	input := b64(with(header, map[string]any{"alg": "HS256"})) + "." + b64(o.claims)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(input))
	return input + "." + b64(mac.Sum(nil))
}

// swapped is the genuine token with another header or claims under its signature.
func (o *outsider) swapped(header, claims any) string {
	parts := strings.Split(o.token, ".")
	if header != nil {
		parts[0] = b64(header)
	}
	if claims != nil {
		parts[1] = b64(claims)
	}
	return strings.Join(parts, ".")
}

// otherAlgorithms signs with fresh keys of the other algorithms, under the
// genuine kid.
func (o *outsider) otherAlgorithms(t *testing.T) map[string]string {
	t.Helper()
	header := func(alg string) string { return b64(with(o.header, map[string]any{"alg": alg})) + "." + b64(o.claims) }
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	rs := header("RS256")
	sum := sha256.Sum256([]byte(rs))
	rsSignature, err := rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, sum[:])
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	es := header("ES256")
	sum = sha256.Sum256([]byte(es))
	r, s, err := ecdsa.Sign(rand.Reader, ecKey, sum[:])
	require.NoError(t, err)
	return map[string]string{
		"RS256 of another key":            rs + "." + b64(rsSignature),
		"ES256 of another key":            es + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)),
		"ES256 of zeros (CVE-2022-21449)": es + "." + b64(append(new(big.Int).FillBytes(make([]byte, 32)), make([]byte, 32)...)),
	}
}

// jwe is a compressed, encrypted token (RFC 7516) that would grow a thousandfold.
func (o *outsider) jwe(t *testing.T) string {
	t.Helper()
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 4<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	header := map[string]any{"alg": "dir", "enc": "A256GCM", "zip": "DEF", "kid": o.kid, "typ": "at+jwt"}
	return b64(header) + ".." + b64(make([]byte, 12)) + "." + b64(packed.Bytes()) + "." + b64(make([]byte, 16))
}

func TestTokensThatAnOutsiderCanCraftAreRefusedAndNothingIsFetched(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	o := newOutsider(t, g, g.token(t, h.full))
	require.Equal(t, 200, g.get(t, h.applications(), bearer(o.token)).status)

	public := &edwardsJWK{Kty: "OKP", Crv: "Ed25519", X: b64([]byte(o.own.Public().(ed25519.PublicKey)))}
	there := "http://" + o.listener.Addr().String() + "/jwks.json"
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(o.x))
	require.NoError(t, err)
	head := func(changes map[string]any) map[string]any { return with(o.header, changes) }
	none := func(alg string) string { return b64(head(map[string]any{"alg": alg})) + "." + b64(o.claims) + "." }
	text := func(members map[string]any) string { data, _ := json.Marshal(members); return string(data) }

	cases := map[string]string{
		"alg none":                     none("none"),
		"alg None":                     none("None"),
		"alg empty":                    none(""),
		"alg none, the old signature":  o.swapped(head(map[string]any{"alg": "none"}), nil),
		"no alg":                       o.signed(head(map[string]any{"alg": nil}), o.claims),
		"alg a number":                 o.signed(head(map[string]any{"alg": 1}), o.claims),
		"no signature":                 o.token[:strings.LastIndex(o.token, ".")+1],
		"no last dot":                  o.token[:strings.LastIndex(o.token, ".")],
		"a key of one's own":           o.signed(o.header, o.claims),
		"HS256 with the raw key":       o.hmacked(o.header, o.x),
		"HS256 with the DER key":       o.hmacked(o.header, der),
		"HS256 with the PEM key":       o.hmacked(o.header, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"HS256 with the JWKS":          o.hmacked(o.header, o.jwks),
		"HS256 with an empty key":      o.hmacked(o.header, nil),
		"embedded jwk":                 o.signed(head(map[string]any{"jwk": public}), o.claims),
		"embedded jwk without kid":     o.signed(head(map[string]any{"jwk": public, "kid": nil}), o.claims),
		"jku":                          o.signed(head(map[string]any{"jku": there}), o.claims),
		"x5u":                          o.signed(head(map[string]any{"x5u": there}), o.claims),
		"x5c":                          o.signed(head(map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(der)}}), o.claims),
		"crit":                         o.signed(head(map[string]any{"crit": []string{"exp"}, "exp": 1}), o.claims),
		"b64 false":                    o.signed(head(map[string]any{"crit": []string{"b64"}, "b64": false}), o.claims),
		"zip":                          o.signed(head(map[string]any{"zip": "DEF"}), o.claims),
		"kid of a file":                o.signed(head(map[string]any{"kid": "../../../../dev/null"}), o.claims),
		"kid of SQL":                   o.signed(head(map[string]any{"kid": "' OR '1'='1"}), o.claims),
		"kid that is a URL":            o.signed(head(map[string]any{"kid": there}), o.claims),
		"kid with NUL":                 o.signed(head(map[string]any{"kid": o.kid + "\x00"}), o.claims),
		"kid of a placeholder":         o.signed(head(map[string]any{"kid": "{env.HOME}"}), o.claims),
		"kid unknown":                  o.signed(head(map[string]any{"kid": "sig_unknown"}), o.claims),
		"kid a number":                 o.signed(head(map[string]any{"kid": 7}), o.claims),
		"another typ":                  o.swapped(head(map[string]any{"typ": "JWT"}), nil),
		"the genuine one, more claims": o.swapped(nil, with(o.claims, map[string]any{"sub": h.operator.clientID, "client_id": h.operator.clientID})),
		"duplicate members in claims":  o.swapped(nil, strings.TrimSuffix(text(o.claims), "}")+`,"exp":9999999999}`),
		"duplicate members in header":  o.signed(strings.TrimSuffix(text(o.header), "}")+`,"alg":"EdDSA"}`, o.claims),
		"deep nesting in header":       o.signed(strings.TrimSuffix(text(o.header), "}")+`,"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+"}", "{}"),
		"deep nesting in claims":       o.swapped(nil, `{"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+"}"),
		"header that is no object":     o.signed("[]", o.claims),
		"header that is no JSON":       o.signed("{", o.claims),
		"padding":                      o.token + "=",
		"a blank":                      o.token + " x",
		"an empty part":                "." + o.token[strings.Index(o.token, ".")+1:],
		"dots alone":                   "..",
		"five parts":                   o.token + "." + o.token,
		"JWE compressed":               o.jwe(t),
		"all as JSON serialisation":    b64(`{"payload":"` + b64(o.claims) + `"}`),
		"an operator's, by claims":     o.signed(o.header, with(o.claims, map[string]any{"sub": h.operator.clientID, "client_id": h.operator.clientID})),
	}
	for name, token := range o.otherAlgorithms(t) {
		cases[name] = token
	}
	before := up.total()
	for name, token := range cases {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time would find it cached, had the first kept it
				g.get(t, h.applications(), bearer(token)).refused(t, 401, "invalid_token")
			}
			a := g.form(t, "/oauth2/v1/introspect", map[string][]string{"token": {token}}, h.operator.basic())
			require.Equal(t, "{\"active\":false}\n", a.body)
			require.Equal(t, 401, g.post(t, "/signout", "", bearer(token)).status)
		})
	}
	require.Equal(t, before, up.total())
	require.Zero(t, o.fetched.Load(), "nothing that a header points at is fetched")
	require.Equal(t, 200, g.get(t, h.applications(), bearer(o.token)).status, "the genuine token is as good as before")
}

// edwardsJWK is a public Ed25519 key (RFC 8037).
type edwardsJWK struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
}

func TestATokenOfAnotherStoreIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	other := newHouse(t).auth(t, newUpstream(t).url, "")
	// The same client IDs and secrets, another issuer and other signing keys.
	token := other.token(t, other.house.full)
	require.Equal(t, 200, other.get(t, h.applications(), bearer(token)).status)
	g.get(t, h.applications(), bearer(token)).refused(t, 401, "invalid_token")
}

func TestAnIssuerOrAudienceThatIsNoLongerConfiguredEndsItsTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := h.authSite(t, newUpstream(t).url, "audience https://a.example https://b.example")
	g := h.run(t, s)
	a := g.form(t, "/oauth2/v1/token", h.full.form("grant_type", "client_credentials", "audience", "https://b.example"))
	require.Equal(t, 200, a.status)
	var body struct {
		Token string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &body))
	first := g.token(t, h.full)
	reload := func(old, new string) {
		require.Contains(t, s.app, old)
		s.app = strings.Replace(s.app, old, new, 1)
		g.reloads(t, s)
	}
	require.Equal(t, 200, g.get(t, h.applications(), bearer(body.Token)).status)
	reload(" https://b.example", "")
	g.get(t, h.applications(), bearer(body.Token)).refused(t, 401, "invalid_token")
	require.Equal(t, 200, g.get(t, h.applications(), bearer(first)).status)
	reload(fmt.Sprintf("issuer http://%s", g.address), "issuer https://moved.example")
	g.get(t, h.applications(), bearer(first)).refused(t, 401, "invalid_token")
}
