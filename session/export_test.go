package session

import (
	"context"
	"crypto"

	"github.com/keyreeve/keyreeve/policy"
)

// SigningKey is the real key that signs now, for tokens that Issue would not make.
func (t *Tokens) SigningKey(ctx context.Context, now policy.Instant) (kid string, private crypto.Signer, err error) {
	p, err := t.signer(ctx, now)
	if err != nil {
		return "", nil, err
	}
	return p.key.id, p.private.(crypto.Signer), nil
}
