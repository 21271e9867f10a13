package lifecycle

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Session is a session as every door shows it: an access token by its jti, never
// the token itself.
type Session struct {
	ID            string     `json:"id" doc:"The token's jti."`
	KeyID         string     `json:"key_id"`
	KeyName       string     `json:"key_name"`
	ClientID      string     `json:"client_id"`
	CustomerID    string     `json:"customer_id"`
	MicrotenantID *string    `json:"microtenant_id" nullable:"true" doc:"null is a key at customer level."`
	SecretID      string     `json:"secret_id" doc:"The secret that was shown at the sign-in."`
	Address       string     `json:"address" doc:"Where the sign-in came from; empty if it had no address."`
	State         string     `json:"state" enum:"active,ended,expired" doc:"Of the session itself: a key that is disabled, locked or expired refuses its active sessions too, as long as it is."`
	IssuedAt      time.Time  `json:"issued_at"`
	ExpiresAt     time.Time  `json:"expires_at"`
	EndedAt       *time.Time `json:"ended_at" nullable:"true" doc:"When it ended early, where that is known."`
	EndReason     *string    `json:"end_reason" nullable:"true" doc:"Such as sign_out, admin, max_per_key, sessions_ended (all of the key or its tenant at once) or secret_ended."`
	// Revision is openRevision or endedRevision: all that can be written of a session
	// is its end.
	Revision keystore.Revision `json:"-"`
}

// Revisions of a session. That it expired is no change of it.
const (
	openRevision keystore.Revision = iota + 1
	endedRevision
)

// Reasons of an end.
const (
	endedByAdmin  = "admin"
	endedWithKey  = "sessions_ended"
	endedBySecret = "secret_ended"
)

// SessionFilter selects sessions; empty fields do not filter.
type SessionFilter struct {
	CustomerID    string
	MicrotenantID string
	KeyID         string
	// State is active, ended or expired.
	State string
	Paging
}

// ListSessions lists the sessions of the keys that the actor may see, the newest
// first. A filter for another tenant than the actor's finds nothing.
func (s *Service) ListSessions(ctx context.Context, a Actor, f SessionFilter) (Page[Session], error) {
	var out Page[Session]
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceSessions, policy.Read); err != nil {
			return err
		}
		var err error
		out, err = o.sessions(f)
		return err
	})
	return out, err
}

// KeySessions is a page of the sessions of a key.
type KeySessions struct {
	Page[Session]
	// Revision is the key's, which ending them all may be conditioned on.
	Revision keystore.Revision `json:"-"`
}

// ListKeySessions lists the sessions of one key.
func (s *Service) ListKeySessions(ctx context.Context, a Actor, keyID string, f SessionFilter) (KeySessions, error) {
	var out KeySessions
	err := s.view(ctx, a, func(o *op) error {
		k, err := o.key(keyID, ResourceSessions, policy.Read)
		if err != nil {
			return err
		}
		f.KeyID = k.ID
		out.Revision = k.Revision
		out.Page, err = o.sessions(f)
		return err
	})
	return out, err
}

func (o *op) sessions(f SessionFilter) (Page[Session], error) {
	out := Page[Session]{Items: []Session{}}
	var bad FieldErrors
	if keystore.CheckSessionState(f.State) != nil {
		bad.Add("state", FieldFormat, "must be active, ended or expired")
	}
	scope := o.scope(sessionCursor, []string{f.CustomerID, f.MicrotenantID, f.KeyID, f.State})
	at, err := f.Paging.check(o, scope, bad)
	if err != nil {
		return out, err
	}
	t, some := o.bound(tenant{customerID: f.CustomerID, microtenantID: f.MicrotenantID})
	if !some {
		return out, nil
	}
	found, total, err := o.r.ListSessions(o.ctx, keystore.SessionQuery{CustomerID: t.customerID, MicrotenantID: t.microtenantID,
		AllCustomers: t.all, KeyID: f.KeyID, State: f.State, After: at.after, Offset: at.offset, Limit: at.limit()})
	if err != nil {
		return out, err
	}
	owners := map[string]*sessionOwner{} // a page often has many of one key
	show := func(one *keystore.Session) (Session, error) {
		owner := owners[one.KeyID]
		if owner == nil {
			if owner, err = o.sessionOwner(one.KeyID); err != nil {
				return Session{}, err
			}
			owners[one.KeyID] = owner
		}
		return o.showSession(one, owner), nil
	}
	return pageOf(o, at, found, total, sure((*keystore.Session).Cursor), show)
}

// sessionOwner is a key and the generation that its sessions must be of.
type sessionOwner struct {
	*keystore.Key
	generation int64
}

func (o *op) sessionOwner(keyID string) (*sessionOwner, error) {
	k, err := o.r.Key(o.ctx, keyID)
	if err != nil {
		return nil, err
	}
	c, m, err := o.tenantOf(k)
	if err != nil {
		return nil, err
	}
	return &sessionOwner{k, keystore.SessionGeneration(k, c, m)}, nil
}

// GetSession shows one session.
func (s *Service) GetSession(ctx context.Context, a Actor, id string) (Session, error) {
	var out Session
	err := s.view(ctx, a, func(o *op) error {
		one, owner, err := o.session(id, policy.Read)
		if err == nil {
			out = o.showSession(one, owner)
		}
		return err
	})
	return out, err
}

// session is a stored session and its key, which the actor may do action on.
func (o *op) session(id string, action policy.Mask) (*keystore.Session, *sessionOwner, error) {
	if err := o.need(ResourceSessions, action); err != nil {
		return nil, nil, err
	}
	one, err := o.r.Session(o.ctx, id)
	if err != nil {
		return nil, nil, refusal(err, "session")
	}
	owner, err := o.sessionOwner(one.KeyID)
	if err != nil {
		return nil, nil, refusal(err, "session")
	}
	if !o.actor.sees(owner.CustomerID, owner.MicrotenantID) {
		return nil, nil, notFound("session")
	}
	return one, owner, nil
}

// EndSession ends a session. One that is over already is left as it is. It gives
// nobody anything, so the subset rule does not apply.
func (s *Service) EndSession(ctx context.Context, a Actor, id string, cond Condition) (Commit, error) {
	return s.update(ctx, a, func(o *op) error {
		one, k, err := o.session(id, policy.Delete)
		if err != nil {
			return err
		}
		shown, before := o.showSession(one, k), one.Record(k.Key)
		if cond != nil && !cond(shown.Revision) {
			return stale("session")
		}
		o.revokeNow()
		if shown.State != keystore.SessionActive {
			return nil
		}
		one.Ended, one.EndReason = o.stamp(), endedByAdmin
		if err := o.tx.PutSession(ctx, one); err != nil {
			return refusal(err, "session")
		}
		return o.audit("session.end", sessionTarget(one, k.Key), before, one.Record(k.Key))
	})
}

func sessionTarget(s *keystore.Session, k *keystore.Key) target {
	return target{kind: string(keystore.KindSession), id: s.ID, name: k.Name, customerID: k.CustomerID, microtenantID: k.MicrotenantID}
}

// EndKeySessions ends every session of a key, of one of an external source too,
// in one write however many there are: a session of an earlier generation than
// the key's is over. The key's settings stay as they are.
func (s *Service) EndKeySessions(ctx context.Context, a Actor, keyID string, cond Condition) (Commit, error) {
	return s.update(ctx, a, func(o *op) error { return o.endKeySessions(keyID, cond) })
}

func (o *op) endKeySessions(keyID string, cond Condition) error {
	k, err := o.keyAt(keyID, ResourceSessions, policy.Delete, cond)
	if err != nil {
		return err
	}
	before := k.Generation
	k.Generation++
	o.revokeNow()
	if err := o.tx.PutKey(o.ctx, k); err != nil {
		return refusal(err, "key")
	}
	return o.audit("key.end_sessions", keyTarget(k), generationRecord{before}, generationRecord{k.Generation})
}

// generationRecord is what the audit trail keeps of the end of all sessions.
type generationRecord struct {
	Generation int64 `json:"session_generation"`
}

func (o *op) showSession(s *keystore.Session, k *sessionOwner) Session {
	v := Session{
		ID: s.ID, KeyID: k.ID, KeyName: k.Name, ClientID: k.ClientID, CustomerID: k.CustomerID, MicrotenantID: optional(k.MicrotenantID),
		SecretID: s.SecretID, Address: s.Address, State: s.State(k.Key, k.generation, o.now.Wall), IssuedAt: s.Issued, ExpiresAt: s.Expires,
		EndedAt: optional(s.Ended), EndReason: optional(s.EndReason), Revision: openRevision,
	}
	if !s.Ended.IsZero() || !s.Current(k.Key, k.generation, o.now.Wall) {
		v.Revision = endedRevision
	}
	if v.State != keystore.SessionEnded || v.EndedAt != nil {
		return v
	}
	// Ended by what became of its key or tenant. Only the secret's end has a time.
	if generation, _ := keystore.SessionOrigin(s.ID); generation != k.generation {
		v.EndReason = optional(endedWithKey)
		return v
	}
	v.EndReason = optional(endedBySecret)
	if secret := k.SecretByID(s.SecretID); secret != nil {
		v.EndedAt = optional(secret.End())
	}
	return v
}
