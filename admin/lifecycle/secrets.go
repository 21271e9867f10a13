package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// DefaultOverlap is how long the previous secret stays good after a rotation
	// that says nothing else.
	DefaultOverlap = 24 * time.Hour
	// MaxOverlap is the longest it may be told to stay good.
	MaxOverlap = 30 * 24 * time.Hour
	// InUseWithin is how long ago a secret was last good for it to count as in use.
	InUseWithin = 7 * 24 * time.Hour
	// maxPastSecrets is how many secrets that are over a key remembers, the newest:
	// each is compared against what is shown, so there is a bound to them.
	maxPastSecrets = 32
)

// States of a secret.
const (
	SecretLive     = "live"
	SecretExpiring = "expiring"
	SecretRetired  = "retired"
	SecretExpired  = "expired"
)

// KeySecret is all that may be known of a secret, of one that is over too.
type KeySecret struct {
	ID               string     `json:"id"`
	Hint             string     `json:"hint" doc:"Its last four characters; empty if imported."`
	State            string     `json:"state" enum:"live,expiring,retired,expired" doc:"expiring is still good, until expires_at. Those that are over are remembered for 30 days."`
	CreatedAt        time.Time  `json:"created_at"`
	ExpiresAt        *time.Time `json:"expires_at" nullable:"true" doc:"null is not before it is retired."`
	RetiredAt        *time.Time `json:"retired_at" nullable:"true" doc:"When it was ended by hand."`
	LastUsedAt       *time.Time `json:"last_used_at" nullable:"true" doc:"When it was last good, for a sign-in or a session it opened."`
	LastUsedAddress  *string    `json:"last_used_address" nullable:"true" doc:"Address of that caller."`
	LastTriedAt      *time.Time `json:"last_tried_at" nullable:"true" doc:"When it was last shown after its end: a deployment that lags."`
	LastTriedAddress *string    `json:"last_tried_address" nullable:"true" doc:"Address of that caller."`
}

// Rotation is how a key gets a new secret.
type Rotation struct {
	// PreviousExpiresIn is in how many seconds the secrets that the key has end; one
	// that ends sooner still does. Left out is DefaultOverlap, null is not before
	// they are retired, 0 retires them at once.
	PreviousExpiresIn Optional[int64]
}

// RotatedSecret is a key with its new secret, which is shown this once.
type RotatedSecret struct {
	Key
	// ClientSecret is "" in the answer to a retry.
	ClientSecret string    `json:"client_secret,omitempty" doc:"Shown this once; absent from the answer to a retry."`
	Secret       KeySecret `json:"secret" doc:"The new one."`
}

func (r *RotatedSecret) redact() { r.ClientSecret = "" }

// KeySecrets is the secrets of a key.
type KeySecrets struct {
	Page[KeySecret]
	// Revision is the key's.
	Revision keystore.Revision `json:"-"`
}

// ListSecrets lists the secrets of a key, the good ones first, each kind newest first.
func (s *Service) ListSecrets(ctx context.Context, a Actor, keyID string) (KeySecrets, error) {
	var out KeySecrets
	err := s.view(ctx, a, func(o *op) error {
		k, err := o.key(keyID, ResourceKeys, policy.Read)
		if err != nil {
			return err
		}
		out = KeySecrets{Page[KeySecret]{Items: make([]KeySecret, 0, len(k.Secrets)), Total: len(k.Secrets)}, k.Revision}
		for i := range k.Secrets {
			out.Items = append(out.Items, o.showSecret(&k.Secrets[i]))
		}
		return nil
	})
	return out, err
}

func (o *op) showSecret(s *keystore.Secret) KeySecret {
	v := KeySecret{
		ID: s.ID, Hint: s.Hint, State: SecretLive, CreatedAt: s.Created, ExpiresAt: optional(s.Expires), RetiredAt: optional(s.Retired),
		LastUsedAt: optional(s.LastUsed), LastUsedAddress: optional(s.LastUsedAddress),
		LastTriedAt: optional(s.Tried), LastTriedAddress: optional(s.TriedAddress),
	}
	switch {
	case !s.Retired.IsZero() && s.Retired.Equal(s.Expires): // see settle
		v.State, v.RetiredAt = SecretExpired, nil
	case !s.Retired.IsZero():
		v.State = SecretRetired
	case !s.Live(o.now.Wall):
		v.State = SecretExpired
	case !s.Expires.IsZero():
		v.State = SecretExpiring
	}
	return v
}

// RotateSecret gives a key another secret; its client ID stays.
func (s *Service) RotateSecret(ctx context.Context, a Actor, keyID string, in Rotation, cond Condition) (RotatedSecret, Commit, error) {
	may := func(o *op) error { return o.need(ResourceKeys, policy.Update) }
	return create(ctx, s, a, may, func(o *op) (RotatedSecret, error) { return o.rotate(keyID, in, cond) })
}

func (o *op) rotate(keyID string, in Rotation, cond Condition) (RotatedSecret, error) {
	var bad FieldErrors
	overlap := cleanOverlap(&bad, in.PreviousExpiresIn)
	if err := bad.Err(); err != nil {
		return RotatedSecret{}, err
	}
	k, err := o.ownedKey(keyID, policy.Update, cond)
	if err != nil {
		return RotatedSecret{}, err
	}
	next := *k
	next.Secrets = slices.Clone(k.Secrets)
	if overlap.Has() {
		o.phaseOut(next.Secrets, overlap.Value)
	}
	if err := o.room(next.Secrets); err != nil {
		return RotatedSecret{}, err
	}
	next.Secrets = o.forget(next.Secrets)
	secret := credential.NewSecret()
	if err := o.addSecret(&next, o.cfg.Keyring.Digest(secret), credential.Hint(secret), o.stamp()); err != nil {
		return RotatedSecret{}, err
	}
	made := next.Secrets[0]
	o.revokeBy(k, &next)
	shown, err := o.putKey("key.rotate", &next, recordSecrets(k), recordSecrets(&next))
	return RotatedSecret{Key: shown, ClientSecret: secret, Secret: o.showSecret(&made)}, err
}

// cleanOverlap is Rotation.PreviousExpiresIn as a duration; null has none.
func cleanOverlap(bad *FieldErrors, seconds Optional[int64]) Optional[time.Duration] {
	most := int64(MaxOverlap / time.Second)
	switch {
	case !seconds.Set:
		return Some(DefaultOverlap)
	case seconds.Null:
		return Null[time.Duration]()
	case seconds.Value < 0 || seconds.Value > most:
		bad.Add("previous_expires_in", FieldRange, "must be a whole number of seconds from 0 to %d, or null for no end", most)
		return Null[time.Duration]()
	}
	return Some(time.Duration(seconds.Value) * time.Second)
}

// phaseOut lets every live secret end after the overlap, or sooner if it does.
func (o *op) phaseOut(secrets []keystore.Secret, overlap time.Duration) {
	end := o.stamp().Add(overlap)
	for i := range secrets {
		s := &secrets[i]
		switch {
		case !s.Live(o.now.Wall):
		case overlap == 0:
			s.Retired = end
		case s.Expires.IsZero() || s.Expires.After(end):
			s.Expires = end
		}
	}
}

// room refuses one more live secret where there are as many as may be.
func (o *op) room(secrets []keystore.Secret) error {
	var live []string
	for i := range secrets {
		if s := &secrets[i]; s.Live(o.now.Wall) {
			live = append(live, s.ID)
		}
	}
	if len(live) < keystore.MaxLiveSecrets {
		return nil
	}
	return &Error{Kind: Conflict, Code: CodeTooManySecrets, Detail: fmt.Sprintf(
		"the key has %d live secrets already (%s); retire the one that nobody uses any more, or rotate with previous_expires_in 0, which ends them all at once",
		len(live), strings.Join(live, ", "))}
}

// settle makes the end of what is over one that no clock takes back: a secret was
// added on the strength of it, and after a step backwards there would be one too many.
func settle(secrets []keystore.Secret, now time.Time) {
	for i := range secrets {
		if s := &secrets[i]; s.Retired.IsZero() && !s.Live(now) {
			s.Retired = s.Expires
		}
	}
}

// forget leaves out the oldest of the secrets that are over, but for maxPastSecrets.
func (o *op) forget(secrets []keystore.Secret) []keystore.Secret {
	var past []*keystore.Secret
	for i := range secrets {
		if s := &secrets[i]; !s.Live(o.now.Wall) {
			past = append(past, s)
		}
	}
	slices.SortStableFunc(past, func(a, b *keystore.Secret) int { return b.End().Compare(a.End()) })
	gone := map[string]bool{}
	for _, s := range past[min(len(past), maxPastSecrets):] {
		gone[s.ID] = true
	}
	return slices.DeleteFunc(secrets, func(s keystore.Secret) bool { return gone[s.ID] })
}

// RetireSecret ends a secret at once. One that is over already is left as it is.
// One that is in use is refused unless force is set: whoever uses it would stop
// working.
func (s *Service) RetireSecret(ctx context.Context, a Actor, keyID, secretID string, force bool, cond Condition) (Commit, error) {
	if s.cfg.FlushUses != nil && !force {
		// Outside the transaction, which would wait for itself.
		if err := s.cfg.FlushUses(ctx); err != nil {
			return Commit{}, fmt.Errorf("uses of keys not stored: %w", err)
		}
	}
	return s.update(ctx, a, func(o *op) error { return o.retire(keyID, secretID, force, cond) })
}

func (o *op) retire(keyID, secretID string, force bool, cond Condition) error {
	k, err := o.ownedKey(keyID, policy.Update, cond)
	if err != nil {
		return err
	}
	next := *k
	next.Secrets = slices.Clone(k.Secrets)
	secret := next.SecretByID(secretID)
	switch {
	case secret == nil:
		return notFound("secret")
	case !secret.Live(o.now.Wall):
		o.revokeNow()
		return nil
	case !force && !secret.LastUsed.IsZero() && o.now.Wall.Sub(secret.LastUsed) < InUseWithin:
		return inUse(secret)
	}
	secret.Retired = o.stamp()
	o.revokeNow()
	next.Secrets = o.forget(next.Secrets)
	_, err = o.putKey("secret.retire", &next, recordSecrets(k), recordSecrets(&next))
	return err
}

func inUse(s *keystore.Secret) error {
	from := ""
	if s.LastUsedAddress != "" {
		from = " from " + s.LastUsedAddress
	}
	return &Error{Kind: Conflict, Code: CodeSecretInUse, Detail: fmt.Sprintf(
		"the secret was last used at %s%s; give whoever uses it the new one first, or repeat with force=true to lock them out",
		s.LastUsed.UTC().Format(time.RFC3339), from)}
}

// secretsRecord is what the audit trail keeps of a key's secrets: which there are
// and when they end.
type secretsRecord struct {
	Secrets []secretRecord `json:"secrets"`
}

type secretRecord struct {
	ID        string    `json:"id"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	RetiredAt time.Time `json:"retired_at,omitzero"`
}

func recordSecrets(k *keystore.Key) secretsRecord {
	r := secretsRecord{Secrets: make([]secretRecord, len(k.Secrets))}
	for i, s := range k.Secrets {
		r.Secrets[i] = secretRecord{ID: s.ID, ExpiresAt: s.Expires, RetiredAt: s.Retired}
	}
	return r
}
