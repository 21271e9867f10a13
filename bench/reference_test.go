package bench

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// reference is the least that a gate of this kind has to do, written as tightly
// as it goes: decode the credential, one SHA-256 and one HMAC with a kept state,
// one map lookup, one constant-time compare, http.ServeMux over the routes, one
// mask check, the identity headers and placeholders. It leaves out the checks of
// path and query, the fence, lockout, expiry, tenancy, staleness, and metrics.
type reference struct {
	mux  *http.ServeMux
	keys map[string]*referenceKey
	macs sync.Pool // of hash.Hash, keyed
}

type referenceKey struct {
	clientID, id, name, customerID, role string

	verifier [sha256.Size]byte
	mask     policy.Mask
}

// referenceRoute is what the mux finds; it is never served.
type referenceRoute struct {
	http.Handler
	action policy.Mask
}

func newReference(tb testing.TB, file *policy.File, key lifecycle.CreatedKey) *reference {
	tb.Helper()
	macKey := make([]byte, 32)
	_, _ = rand.Read(macKey) // never fails
	r := &reference{
		mux:  http.NewServeMux(),
		keys: make(map[string]*referenceKey),
		macs: sync.Pool{New: func() any { return hmac.New(sha256.New, macKey) }},
	}
	set, err := policy.Compile([]*policy.File{file}, nil)
	require.NoError(tb, err)
	for _, route := range set.Routes() {
		for _, method := range route.Methods {
			match, reason := set.Match(method, route.Pattern, false)
			if reason != policy.Allowed { // a pattern is no path: the braces are just text here
				tb.Fatalf("%s %s matches itself with %s", method, route.Pattern, reason)
			}
			r.mux.Handle(method+" "+route.Pattern, &referenceRoute{action: match.Action})
		}
	}
	r.keys[key.ClientID] = &referenceKey{
		clientID: key.ClientID, id: key.ID, name: key.Name, customerID: key.CustomerID, role: key.RoleID,
		verifier: r.verifier(key.ClientSecret), mask: policy.Full,
	}
	for range otherKeys + 2 {
		other := rand.Text()
		r.keys[other] = &referenceKey{clientID: other}
	}
	return r
}

func (h *reference) verifier(secret string) (sum [sha256.Size]byte) {
	mac := h.macs.Get().(hash.Hash)
	defer h.macs.Put(mac)
	digest := sha256.Sum256([]byte(secret))
	mac.Reset()
	mac.Write(digest[:])
	mac.Sum(sum[:0])
	return sum
}

func (h *reference) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	clientID, secret, ok := decodeBasic(r.Header.Get("Authorization"))
	if !ok {
		return caddyhttp.Error(http.StatusUnauthorized, nil)
	}
	verifier := h.verifier(secret)
	key := h.keys[clientID]
	if key == nil || subtle.ConstantTimeCompare(verifier[:], key.verifier[:]) != 1 {
		return caddyhttp.Error(http.StatusUnauthorized, nil)
	}
	found, _ := h.mux.Handler(r)
	route, ok := found.(*referenceRoute)
	if !ok || !key.mask.Has(route.action) {
		return caddyhttp.Error(http.StatusForbidden, nil)
	}
	values := [...]string{key.clientID, key.id, key.name, key.customerID, key.role}
	backing := values[:]
	r.Header["Keyreeve-Client-Id"] = backing[0:1:1]
	r.Header["Keyreeve-Key-Id"] = backing[1:2:2]
	r.Header["Keyreeve-Key-Name"] = backing[2:3:3]
	r.Header["Keyreeve-Customer-Id"] = backing[3:4:4]
	r.Header["Keyreeve-Role"] = backing[4:5:5]
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(key.placeholder)
	}
	return next.ServeHTTP(w, r)
}

func decodeBasic(value string) (id, secret string, ok bool) {
	encoded, ok := strings.CutPrefix(value, "Basic ")
	var buffer [384]byte
	if !ok || base64.StdEncoding.DecodedLen(len(encoded)) > len(buffer) {
		return "", "", false
	}
	n, err := base64.StdEncoding.Decode(buffer[:], []byte(encoded))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(buffer[:n]), ":")
}

func (k *referenceKey) placeholder(name string) (any, bool) {
	switch name {
	case "http.auth.user.id":
		return k.clientID, true
	case "http.auth.user.key_id":
		return k.id, true
	case "http.auth.user.key_name":
		return k.name, true
	case "http.auth.user.customer_id":
		return k.customerID, true
	case "http.auth.user.role":
		return k.role, true
	}
	return nil, false
}
