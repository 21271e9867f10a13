package session

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Settings are the parts of the configuration that tokens depend on.
type Settings struct {
	// Issuer is the `iss` of tokens; "" is a URN by the store's own name.
	Issuer string
	// Audiences are the allowed values of `aud`, the default first; none is the issuer alone.
	Audiences []string
	// DefaultValidity is the lifetime of tokens of a key that sets none.
	DefaultValidity time.Duration
	// MaxValidity bounds every token's lifetime.
	MaxValidity time.Duration
	// MaxPerKey bounds a key's sessions; the oldest ends first.
	MaxPerKey int
	// Algorithm signs.
	Algorithm string
	// MaxStale is how old this node's picture of the keys may be. A new signing key waits
	// that long before it signs, or as long as that of any node that is registered.
	MaxStale time.Duration
}

// Tokens issues and verifies. It is safe for concurrent use, starts nothing and
// needs no closing.
type Tokens struct {
	keys     *keystore.Cached
	seal     sealer
	settings Settings
	verified *Verified
	set      atomic.Pointer[keySet]
	private  atomic.Pointer[signingPair] // the signer in use, opened
	named    atomic.Pointer[names]       // once they are known
	flight   singleflight.Group          // by the id of a key that others are to know first
	asked    atomic.Int64                // Instant.Since of the latest look for an unknown key id
	tried    atomic.Int64                // Instant.Since of the latest try to make a successor
}

// NewTokens makes the service.
func NewTokens(keys *keystore.Cached, ring *credential.Keyring, verified *Verified, settings Settings) *Tokens {
	return &Tokens{keys: keys, seal: sealer{ring}, settings: settings, verified: verified}
}

// Issued is a token just made.
type Issued struct {
	Token  string
	Claims *Claims
	// Lifetime is how long it is good for from now.
	Lifetime time.Duration
}

// ErrAudience is an audience that is not allowed.
var ErrAudience = errors.New("audience not allowed")

// ErrOvertaken: after the secret was proven and before the token was made, the
// secret ended, or all sessions of the key or its tenant were, or the key was deleted.
var ErrOvertaken = errors.New("the key's sessions or its secret were ended meanwhile")

// Issue makes a token for a key whose secret was just proven, and generation is
// the keystore.SessionGeneration at that proof: ErrOvertaken where it was raised or
// the secret ended meanwhile. audience "" is the default. The session is stored before the
// token is returned.
func (t *Tokens) Issue(ctx context.Context, key *keystore.Key, generation int64, secretID, audience, address string, now policy.Instant) (Issued, error) {
	who, err := t.names()
	if err != nil {
		return Issued{}, err
	}
	if audience == "" {
		audience = who.audiences[0]
	}
	if !slices.Contains(who.audiences, audience) {
		return Issued{}, ErrAudience
	}
	pair, err := t.signer(ctx, now)
	if err != nil {
		return Issued{}, err
	}
	lifetime := t.lifetime(key, now.Wall)
	issued := now.Wall.Truncate(time.Second)
	claims := &Claims{
		Issuer: who.issuer, Audience: audience, Subject: key.ClientID, ClientID: key.ClientID,
		ID: newSessionID(generation, secretID), IssuedAt: issued.Unix(), NotBefore: issued.Unix(), Expires: issued.Add(lifetime).Unix(),
		Customer: key.CustomerID, Microtenant: key.MicrotenantID,
	}
	token, err := pair.sign(tokenType, claims)
	if err != nil {
		return Issued{}, err
	}
	err = t.store(ctx, &keystore.Session{
		ID: claims.ID, KeyID: key.ID, SecretID: secretID, Address: address, Issued: issued, Expires: issued.Add(lifetime),
	})
	if err != nil {
		return Issued{}, err
	}
	return Issued{Token: token, Claims: claims, Lifetime: lifetime}, nil
}

// lifetime is the key's session validity, within what is configured now and what
// is left of the key itself. Whole seconds, at least one.
func (t *Tokens) lifetime(key *keystore.Key, now time.Time) time.Duration {
	d := key.SessionValidity
	if d == 0 {
		d = t.settings.DefaultValidity
	}
	d = min(d, t.settings.MaxValidity)
	if !key.ExpiresAt.IsZero() {
		d = min(d, key.ExpiresAt.Sub(now))
	}
	return max(d.Truncate(time.Second), time.Second)
}

// store writes the session and ends the oldest ones beyond the bound.
func (t *Tokens) store(ctx context.Context, s *keystore.Session) error {
	_, err := t.keys.UpdateKey(ctx, s.KeyID, func(tx keystore.Tx) error {
		key, err := proven(ctx, tx, s)
		if err != nil {
			return err
		}
		// Before the new one is there: of sessions of one second any may count as the oldest.
		old, err := tx.SessionsBeyond(ctx, s.KeyID, t.settings.MaxPerKey-1)
		if err != nil {
			return err
		}
		if err := pushOut(ctx, tx, key, old); err != nil {
			return err
		}
		return tx.PutSession(ctx, s)
	})
	return err
}

// proven is the key of a session as it is by now; ErrOvertaken if the token would
// be good for nothing, however soon it were shown.
func proven(ctx context.Context, tx keystore.Tx, s *keystore.Session) (*keystore.Key, error) {
	key, err := tx.Key(ctx, s.KeyID)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil, ErrOvertaken
	}
	if err != nil {
		return nil, err
	}
	customer, err := tx.Customer(ctx, key.CustomerID)
	if err != nil {
		return nil, err
	}
	var microtenant *keystore.Microtenant
	if key.MicrotenantID != "" {
		if microtenant, err = tx.Microtenant(ctx, key.CustomerID, key.MicrotenantID); err != nil {
			return nil, err
		}
	}
	if !s.Current(key, keystore.SessionGeneration(key, customer, microtenant), tx.Now().Wall) {
		return nil, ErrOvertaken
	}
	return key, nil
}

// Verify checks a token: signature, type, times, issuer, audience, revocation. It
// does not look at the key it was issued to. An error that is not ErrInvalid
// means that it could not be checked; with ErrEnded there are the claims all the same.
func (t *Tokens) Verify(ctx context.Context, token string, now policy.Instant) (*Claims, error) {
	who, err := t.names()
	if err != nil {
		return nil, err
	}
	set, err := t.keySet()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(bytesOf(token))
	v := t.verified.get(&digest, set)
	if v == nil {
		if v, err = t.verifySignature(ctx, token, now, set); err != nil {
			return nil, err
		}
		v.digest = digest
		if err := v.claims.current(now.Wall); err != nil {
			return nil, err // not kept: it may never be used again
		}
		t.verified.put(v)
	}
	c := v.claims
	switch {
	case c.Issuer != who.issuer:
		return nil, invalid("issued by another")
	case !slices.Contains(who.audiences, c.Audience):
		return nil, invalid("for another audience")
	case t.keys.SessionEnded(c.ID):
		return c, ErrEnded
	}
	return c, c.current(now.Wall)
}

func (t *Tokens) verifySignature(ctx context.Context, token string, now policy.Instant, set *keySet) (*verifiedToken, error) {
	u, err := parse(token, tokenType)
	if err != nil {
		return nil, err
	}
	key := set.byID[u.keyID]
	if key == nil {
		if key, err = t.askForKey(ctx, u.keyID, now); err != nil {
			return nil, err
		}
	}
	claims, err := u.verify(key)
	if err != nil {
		return nil, err
	}
	return &verifiedToken{key: key, claims: claims}, nil
}

// askAgainAfter bounds how often unknown key ids make this node ask the store.
const askAgainAfter = time.Second

// askForKey looks whether a key that this node does not know was made elsewhere
// just now: one read of the change log however many ask, and at most one a
// second whatever ids are made up.
func (t *Tokens) askForKey(ctx context.Context, id string, now policy.Instant) (*verifyingKey, error) {
	last := t.asked.Load()
	if last == 0 || now.Since-time.Duration(last) >= askAgainAfter {
		if err := t.keys.CatchUp(ctx); err != nil { // the key may be good, only not known here
			return nil, fmt.Errorf("looking for a signing key: %w", err)
		}
		t.asked.Store(int64(now.Since)) // not before: who comes meanwhile must wait for it
	}
	set, err := t.keySet()
	if err != nil {
		return nil, err
	}
	if key := set.byID[id]; key != nil {
		return key, nil
	}
	return nil, invalid("unknown key id")
}

// Revoke ends a session at its client's wish. Ending one that is over already does
// nothing; the revision is one by which it is.
func (t *Tokens) Revoke(ctx context.Context, claims *Claims, e Ending) (keystore.Revision, error) {
	return t.keys.Update(ctx, func(tx keystore.Tx) error {
		s, err := tx.Session(ctx, claims.ID)
		if errors.Is(err, keystore.ErrNotFound) {
			// Forgotten, as after an older backup: the token would be good all the same.
			s, err = forgotten(ctx, tx, claims)
		}
		if errors.Is(err, keystore.ErrNotFound) {
			return nil // its key is gone, and nothing is left to end
		}
		if err != nil || !s.Ended.IsZero() {
			return err
		}
		return end(ctx, tx, s, e)
	})
}

// forgotten is the session of a good token that the store does not have.
func forgotten(ctx context.Context, tx keystore.Tx, claims *Claims) (*keystore.Session, error) {
	key, err := tx.KeyByClientID(ctx, claims.ClientID)
	if err != nil {
		return nil, err
	}
	_, secretID := claims.Origin()
	return &keystore.Session{ID: claims.ID, KeyID: key.ID, SecretID: secretID,
		Issued: time.Unix(claims.IssuedAt, 0), Expires: time.Unix(claims.Expires, 0)}, nil
}

// JWKS is the published keys (RFC 7517 section 5).
func (t *Tokens) JWKS() ([]byte, error) {
	set, err := t.keySet()
	if err != nil {
		return nil, err
	}
	return set.jwks, nil
}

// keySet is the keys as the directory has them now.
func (t *Tokens) keySet() (*keySet, error) {
	records := t.keys.Directory().SigningKeys()
	set := t.set.Load()
	if set.sameRecords(records) {
		return set, nil
	}
	set, err := newKeySet(records)
	if err != nil {
		return nil, err
	}
	t.set.Store(set)
	return set, nil
}

// signingPair is an opened private key.
type signingPair struct {
	key     *verifyingKey
	private any
}

// sign makes a compact JWS of type typ.
func (p *signingPair) sign(typ string, payload any) (string, error) {
	options := new(jose.SignerOptions).WithType(jose.ContentType(typ))
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(p.key.algorithm),
		Key:       jose.JSONWebKey{Key: p.private, KeyID: p.key.id},
	}, options)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	data, err := json.Marshal(payload)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(data)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return jws.CompactSerialize()
}

// bytesOf reads a string as bytes without copying it.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
