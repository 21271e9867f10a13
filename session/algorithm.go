package session

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// The algorithms that tokens are signed with (RFC 7518 section 3.1, RFC 8037).
const (
	EdDSA = string(jose.EdDSA)
	ES256 = string(jose.ES256)
	RS256 = string(jose.RS256)
)

// rsaBits is the size of an RSA signing key.
const rsaBits = 2048

// Algorithms lists them, the default first.
func Algorithms() []string { return []string{EdDSA, ES256, RS256} }

// accepted is what a token's header may name at all; `none` and the symmetric
// ones are not among them, so no public key can be mistaken for a secret.
var accepted = []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256, jose.RS256}

// generate makes a private key for an algorithm.
func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, fmt.Errorf("unknown signing algorithm %q, expected %s", algorithm, strings.Join(Algorithms(), ", "))
}
