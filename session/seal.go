package session

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/x509"
	"fmt"

	"github.com/keyreeve/keyreeve/credential"
)

// sealInfo names the purpose of the key that private keys are sealed with.
const sealInfo = "keyreeve signing key v1"

// sealer encrypts private signing keys under a master key (AES-256-GCM), so that
// neither the database nor a backup of it can sign.
type sealer struct{ ring *credential.Keyring }

func (s sealer) aead(masterKeyID string) (cipher.AEAD, error) {
	key, ok := s.ring.Derive(masterKeyID, sealInfo)
	if !ok {
		return nil, fmt.Errorf("a signing key is sealed under master key %s, which is not configured: name it after the current one", masterKeyID)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal encrypts a private key for storage. id and algorithm are bound to it, so
// that rows cannot be exchanged.
func (s sealer) seal(private crypto.Signer, id, algorithm string) (sealed []byte, masterKeyID string, err error) {
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, "", err
	}
	masterKeyID = s.ring.CurrentID()
	aead, err := s.aead(masterKeyID)
	if err != nil {
		return nil, "", err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails, see crypto/rand
	return aead.Seal(nonce, nonce, plain, []byte(id+" "+algorithm)), masterKeyID, nil
}

// open is the reverse.
func (s sealer) open(sealed []byte, masterKeyID, id, algorithm string) (crypto.Signer, error) {
	aead, err := s.aead(masterKeyID)
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, fmt.Errorf("signing key %s is cut short", id)
	}
	nonce, box := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
	plain, err := aead.Open(nil, nonce, box, []byte(id+" "+algorithm))
	if err != nil {
		return nil, fmt.Errorf("signing key %s does not open under master key %s", id, masterKeyID)
	}
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", id, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("signing key %s cannot sign", id)
	}
	return signer, nil
}
