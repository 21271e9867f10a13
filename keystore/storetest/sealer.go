package storetest

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/keyreeve/keyreeve/keystore"
)

// NewSealer is a keystore.AuditSealer with keys made from their ids, the first of
// which is current.
func NewSealer(ids ...string) keystore.AuditSealer { return sealer{ids} }

type sealer struct{ ids []string }

func (s sealer) Seal(purpose string, hash [32]byte) ([32]byte, string) {
	return s.mac(s.ids[0], purpose, hash), s.ids[0]
}

func (s sealer) Check(purpose string, hash, mac [32]byte, masterKeyID string) (ok, known bool) {
	for _, id := range s.ids {
		if id == masterKeyID {
			want := s.mac(id, purpose, hash)
			return hmac.Equal(want[:], mac[:]), true
		}
	}
	return false, false
}

func (sealer) mac(id, purpose string, hash [32]byte) [32]byte {
	m := hmac.New(sha256.New, []byte("audit key "+id))
	m.Write([]byte(purpose))
	m.Write(hash[:])
	return [32]byte(m.Sum(nil))
}

var _ keystore.AuditSealer = sealer{}
