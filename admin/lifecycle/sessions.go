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
	EndReason     *string    `json:"end_reason" nullable:"true" doc:"Such as signout, admin, max_per_key, sessions_ended (all of the key at once) or secret_ended."`
}

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

// ListKeySessions lists the sessions of one key.
func (s *Service) ListKeySessions(ctx context.Context, a Actor, keyID string, f SessionFilter) (Page[Session], error) {
	var out Page[Session]
	err := s.view(ctx, a, func(o *op) error {
		k, err := o.key(keyID, ResourceSessions, policy.Read)
		if err != nil {
			return err
		}
		f.KeyID = k.ID
		out, err = o.sessions(f)
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
		AllCustomers: t.all, KeyID: f.KeyID, State: f.State, After: at.after, Offset: at.offset, Limit: at.size + 1})
	if err != nil {
		return out, err
	}
	out.Total = total
	if len(found) > at.size {
		found = found[:at.size]
		out.NextCursor = optional(o.sealCursor(scope, found[at.size-1].Cursor()))
	}
	keys := map[string]*keystore.Key{} // a page often has many of one key
	for _, one := range found {
		k := keys[one.KeyID]
		if k == nil {
			if k, err = o.r.Key(o.ctx, one.KeyID); err != nil {
				return out, err
			}
			keys[k.ID] = k
		}
		out.Items = append(out.Items, o.showSession(one, k))
	}
	return out, nil
}

// GetSession shows one session.
func (s *Service) GetSession(ctx context.Context, a Actor, id string) (Session, error) {
	var out Session
	err := s.view(ctx, a, func(o *op) error {
		one, k, err := o.session(id, policy.Read)
		if err == nil {
			out = o.showSession(one, k)
		}
		return err
	})
	return out, err
}

// session is a stored session and its key, which the actor may do action on.
func (o *op) session(id string, action policy.Mask) (*keystore.Session, *keystore.Key, error) {
	if err := o.need(ResourceSessions, action); err != nil {
		return nil, nil, err
	}
	one, err := o.r.Session(o.ctx, id)
	if err != nil {
		return nil, nil, refusal(err, "session")
	}
	k, err := o.r.Key(o.ctx, one.KeyID)
	if err != nil {
		return nil, nil, refusal(err, "session")
	}
	if !o.actor.sees(k.CustomerID, k.MicrotenantID) {
		return nil, nil, notFound("session")
	}
	return one, k, nil
}

// EndSession ends a session. One that is over already is left as it is. It gives
// nobody anything, so the subset rule does not apply.
func (s *Service) EndSession(ctx context.Context, a Actor, id string) (Commit, error) {
	return s.update(ctx, a, func(o *op) error {
		one, k, err := o.session(id, policy.Delete)
		if err != nil || one.State(k, o.now.Wall) != keystore.SessionActive {
			return err
		}
		before := o.showSession(one, k)
		one.Ended, one.EndReason = o.stamp(), endedByAdmin
		if err := o.tx.PutSession(ctx, one); err != nil {
			return refusal(err, "session")
		}
		return o.audit("session.end", target{string(keystore.KindSession), one.ID, k.Name, k.CustomerID}, before, o.showSession(one, k))
	})
}

// EndKeySessions ends every session of a key, of one of an external source too,
// in one write however many there are: a session of an earlier generation than
// the key's is over. The key's settings stay as they are.
func (s *Service) EndKeySessions(ctx context.Context, a Actor, keyID string) (Commit, error) {
	return s.update(ctx, a, func(o *op) error {
		k, err := o.key(keyID, ResourceSessions, policy.Delete)
		if err != nil {
			return err
		}
		before := k.Generation
		k.Generation++
		if err := o.tx.PutKey(ctx, k); err != nil {
			return refusal(err, "key")
		}
		return o.audit("session.end", keyTarget(k), generationRecord{before}, generationRecord{k.Generation})
	})
}

// generationRecord is what the audit trail keeps of the end of all sessions.
type generationRecord struct {
	Generation int64 `json:"session_generation"`
}

func (o *op) showSession(s *keystore.Session, k *keystore.Key) Session {
	v := Session{
		ID: s.ID, KeyID: k.ID, KeyName: k.Name, ClientID: k.ClientID, CustomerID: k.CustomerID, MicrotenantID: optional(k.MicrotenantID),
		SecretID: s.SecretID, Address: s.Address, State: s.State(k, o.now.Wall), IssuedAt: s.Issued, ExpiresAt: s.Expires,
		EndedAt: optional(s.Ended), EndReason: optional(s.EndReason),
	}
	if v.State != keystore.SessionEnded || v.EndedAt != nil {
		return v
	}
	// Ended by what became of its key. Only the secret's end has a time.
	if generation, _ := keystore.SessionOrigin(s.ID); generation != k.Generation {
		v.EndReason = optional(endedWithKey)
		return v
	}
	v.EndReason = optional(endedBySecret)
	if secret := k.SecretByID(s.SecretID); secret != nil {
		end := secret.Retired
		if end.IsZero() {
			end = secret.Expires
		}
		v.EndedAt = optional(end)
	}
	return v
}
