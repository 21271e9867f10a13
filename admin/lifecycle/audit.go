package lifecycle

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// target is what an audit event is about. microtenantID is "" at customer level.
type target struct {
	kind, id, name, customerID, microtenantID string
}

// audit appends one event to the transaction: a write whose event cannot be
// stored fails. before and after are records made for it, nil where there is none.
func (o *op) audit(action string, t target, before, after any) error {
	e := &keystore.Audit{
		At: o.stamp(), CustomerID: t.customerID, MicrotenantID: t.microtenantID,
		ActorKind: o.actor.Kind, ActorID: o.actor.ID, ActorName: o.actor.Name,
		Address: o.actor.Address, RequestID: o.actor.RequestID,
		Action: action, TargetKind: t.kind, TargetID: t.id, TargetName: t.name,
	}
	var err error
	if e.Before, err = auditJSON(before); err != nil {
		return err
	}
	if e.After, err = auditJSON(after); err != nil {
		return err
	}
	if err := o.tx.AddAudit(o.ctx, e); err != nil {
		return fmt.Errorf("audit event %s not stored: %w", action, err)
	}
	o.note(action, t)
	return nil
}

func auditJSON(record any) (json.RawMessage, error) {
	if record == nil {
		return nil, nil
	}
	return json.Marshal(record)
}

// keyRecord is what the audit trail keeps of a key: its configuration. It has no
// room for a secret, a verifier or a hint.
type keyRecord struct {
	Name                   string            `json:"name"`
	Description            string            `json:"description"`
	ClientID               string            `json:"client_id"`
	CustomerID             string            `json:"customer_id"`
	MicrotenantID          string            `json:"microtenant_id,omitempty"`
	RoleID                 string            `json:"role_id"`
	Enabled                bool              `json:"enabled"`
	DisabledHere           bool              `json:"disabled_here,omitempty"`
	SessionValiditySeconds int64             `json:"session_validity_seconds,omitempty"`
	ExpiresAt              time.Time         `json:"expires_at,omitzero"`
	AllowedCIDRs           []netip.Prefix    `json:"allowed_cidrs,omitempty"`
	Labels                 map[string]string `json:"labels,omitempty"`
	Source                 string            `json:"source,omitempty"`
	SecretIDs              []string          `json:"secret_ids,omitempty"`
}

func recordKey(k *keystore.Key) *keyRecord {
	r := &keyRecord{
		Name: k.Name, Description: k.Description, ClientID: k.ClientID,
		CustomerID: k.CustomerID, MicrotenantID: k.MicrotenantID, RoleID: k.RoleID, Enabled: k.Enabled, DisabledHere: k.DisabledHere,
		SessionValiditySeconds: int64(k.SessionValidity / time.Second),
		ExpiresAt:              k.ExpiresAt, AllowedCIDRs: k.AllowedCIDRs, Labels: k.Labels, Source: k.Source,
	}
	for i := range k.Secrets {
		if k.Secrets[i].Retired.IsZero() {
			r.SecretIDs = append(r.SecretIDs, k.Secrets[i].ID)
		}
	}
	return r
}

func keyTarget(k *keystore.Key) target {
	return target{kind: string(keystore.KindKey), id: k.ID, name: k.Name, customerID: k.CustomerID, microtenantID: k.MicrotenantID}
}
