// Package credential holds what a client proves itself with: client IDs and
// secrets, the keyed verifiers that are stored in place of secrets, the reading
// of exactly one credential from a request, and the check that a request path
// has only one reading. It knows no Caddy and no store.
//
// # Formats
//
//	client ID   kr_  + 22 characters of 0-9A-Za-z (128 random bits)
//	secret      krs_ + 43 characters (256 random bits) + 6 characters of checksum
//	master key  krm_ + 43 characters of base64url (256 random bits)
//
// The checksum is the CRC-32 (IEEE) of everything before it, in base62, most
// significant digit first, so that a secret scanner can tell a secret from a
// look-alike without asking anyone: [SecretPattern] finds candidates and
// [CheckSecret] confirms them. Imported client IDs may look different
// ([ValidClientID]), and imported secrets are never checked for a format.
//
// # Verifiers
//
// What is stored for a secret is HMAC-SHA-256(k, SHA-256(secret)), with k
// derived by HKDF from a master key that stays outside the database. Secrets
// have 256 random bits, so a slow hash would protect nothing and only offer a
// way to burn CPU.
package credential
