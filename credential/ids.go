package credential

import (
	"crypto/rand"
	"hash/crc32"
)

const (
	clientIDPrefix = "kr_"
	secretPrefix   = "krs_"

	// secretBytes random bytes take secretBody base62 digits: 62^43 > 2^256.
	secretBytes = 32
	secretBody  = 43
	// checksumLen base62 digits hold a CRC-32: 62^6 > 2^32.
	checksumLen = 6
	secretLen   = len(secretPrefix) + secretBody + checksumLen

	// idBytes random bytes take idBody base62 digits: 62^22 > 2^128.
	idBytes = 16
	idBody  = 22

	// MaxClientID is the longest client ID accepted, in bytes.
	MaxClientID = 128
	// MaxSecret is the longest secret accepted, in bytes.
	MaxSecret = 256

	// hintLen characters of a secret are kept to tell two apart; hintFrom is the
	// shortest secret of which that gives nothing useful away.
	hintLen  = 4
	hintFrom = 16
)

// SecretPattern is a regular expression (RE2) for secret scanners: whatever it
// finds is a secret if CheckSecret agrees.
const SecretPattern = `\bkrs_[0-9A-Za-z]{49}\b`

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// NewClientID makes a client ID: the public half of a credential.
func NewClientID() string { return clientIDPrefix + randomBase62(idBytes, idBody) }

// NewSecret makes a client secret. It is returned once and stored nowhere.
func NewSecret() string {
	s := secretPrefix + randomBase62(secretBytes, secretBody)
	return s + checksum(s)
}

// NewID makes the id of a record, such as NewID("key") for `key_…`. Record ids
// are not credentials.
func NewID(prefix string) string { return prefix + "_" + randomBase62(idBytes, idBody) }

// CheckSecret reports whether s has the form of a secret made by NewSecret,
// checksum included. It says nothing about whether any client has that secret.
func CheckSecret(s string) bool {
	if len(s) != secretLen || s[:len(secretPrefix)] != secretPrefix {
		return false
	}
	for i := len(secretPrefix); i < len(s); i++ {
		if !isAlphanumeric(s[i]) {
			return false
		}
	}
	signed := len(s) - checksumLen
	return s[signed:] == checksum(s[:signed])
}

// Hint is the last four characters of a secret, kept to tell two secrets of a
// key apart. Of a secret too short to spare them it is "".
func Hint(secret string) string {
	if len(secret) < hintFrom {
		return ""
	}
	return secret[len(secret)-hintLen:]
}

// ValidClientID reports whether id can be a client ID at all, imported ones
// included: 1 to 128 bytes of A-Z a-z 0-9 . _ ~ - (the unreserved characters of
// RFC 3986). IDs are compared byte for byte: there is no other spelling of one.
func ValidClientID(id string) bool {
	if id == "" || len(id) > MaxClientID {
		return false
	}
	every := uint8(unreserved)
	for i := range len(id) {
		every &= byteClass[id[i]]
	}
	return every != 0
}

func checksum(s string) string {
	sum := crc32.ChecksumIEEE([]byte(s))
	var digits [checksumLen]byte
	for i := checksumLen - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return string(digits[:])
}

// randomBase62 is n random bytes, read as one big-endian number, in exactly
// width base62 digits.
func randomBase62(n, width int) string {
	number := make([]byte, n)
	_, _ = rand.Read(number) // never fails: crypto/rand ends the process instead
	digits := make([]byte, width)
	for i := width - 1; i >= 0; i-- {
		rem := 0
		for j, b := range number {
			acc := rem<<8 | int(b)
			number[j], rem = byte(acc/62), acc%62
		}
		digits[i] = base62[rem]
	}
	return string(digits)
}

// Bits of byteClass.
const (
	unreserved  = 1 << iota // RFC 3986 section 2.3; a client ID's alphabet
	b64token                // RFC 6750 section 2.1, without the closing "="
	pathPlain               // RFC 3986 pchar that needs no second look in a path
	pathSpecial             // allowed in a path, but meaning depends on what is around it
	pathLiteral             // stands for itself in a path, and net/url leaves it as it is
)

// byteClass says what each byte may be part of.
var byteClass = func() (class [256]uint8) {
	for c := range class {
		if isAlphanumeric(byte(c)) {
			class[c] = unreserved | b64token | pathPlain | pathLiteral
		}
	}
	add := func(bytes string, bits uint8) {
		for i := range len(bytes) {
			class[bytes[i]] |= bits
		}
	}
	add("-._~", unreserved|b64token|pathPlain|pathLiteral)
	add("+/", b64token)
	add("!$&'()*+,=:@", pathPlain)
	add("/%;", pathSpecial)
	add("/$&+,:;=@", pathLiteral) // the others of pchar are percent-encoded by net/url
	return class
}()

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
