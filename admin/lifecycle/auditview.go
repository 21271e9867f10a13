package lifecycle

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// AuditEvent is an event of the audit trail as every door shows it, and as an
// export keeps it: all that its hash is of can be read back from it.
type AuditEvent struct {
	ID            string          `json:"id" doc:"The customer's id and seq."`
	Seq           int64           `json:"seq" doc:"Numbers the events of the customer without gaps, from 1; 0 is an event from before the trail was chained, which nothing proves."`
	Number        int64           `json:"number" doc:"Numbers the events of all customers without gaps, from 1."`
	At            time.Time       `json:"at"`
	CustomerID    *string         `json:"customer_id" nullable:"true" doc:"null is an event of no customer."`
	MicrotenantID *string         `json:"microtenant_id" nullable:"true" doc:"null is an event at customer level."`
	Actor         AuditActor      `json:"actor"`
	RequestID     string          `json:"request_id" doc:"Of the request that did it; empty if none did."`
	Action        string          `json:"action" example:"key.update"`
	Target        AuditTarget     `json:"target"`
	Before        json.RawMessage `json:"before" doc:"The record before, without secrets; null if there was none."`
	After         json.RawMessage `json:"after" doc:"The record after, without secrets; null if there is none."`
	Changes       []string        `json:"changes" nullable:"false" doc:"Members in which before and after differ; none where either is null."`
	Hash          string          `json:"hash" doc:"SHA-256, in hex, of the event and of the hash before it in the customer's chain."`
	MAC           string          `json:"mac" doc:"Of the hash, in hex, under the master key."`
	MasterKeyID   string          `json:"master_key_id"`
}

// AuditActor is who did it.
type AuditActor struct {
	Kind    string `json:"kind" enum:"key,session,local,system"`
	ID      string `json:"id" doc:"The key's id for key and session."`
	Name    string `json:"name"`
	Address string `json:"address" doc:"Where it came from; empty for who has no address."`
}

// AuditTarget is what it was done to.
type AuditTarget struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

func showAudit(e *keystore.Audit) AuditEvent {
	v := AuditEvent{
		ID: e.CustomerID + ":" + strconv.FormatInt(e.Seq, 10), Seq: e.Seq, Number: e.Number, At: e.At.UTC().Truncate(timePrecision),
		CustomerID: optional(e.CustomerID), MicrotenantID: optional(e.MicrotenantID),
		Actor:     AuditActor{Kind: e.ActorKind, ID: e.ActorID, Name: e.ActorName, Address: e.Address},
		RequestID: e.RequestID, Action: e.Action, Target: AuditTarget{Kind: e.TargetKind, ID: e.TargetID, Name: e.TargetName},
		Before: orNull(e.Before), After: orNull(e.After), Changes: changes(e.Before, e.After),
		Hash: hex.EncodeToString(e.Hash[:]), MAC: hex.EncodeToString(e.MAC[:]), MasterKeyID: e.MasterKeyID,
	}
	if e.Seq == 0 {
		v.Hash, v.MAC = "", ""
	}
	return v
}

// stored is the event that the view was made of; its place in the store is lost.
func (v *AuditEvent) stored() (*keystore.Audit, error) {
	e := &keystore.Audit{
		Seq: v.Seq, Number: v.Number, At: v.At, CustomerID: plain(v.CustomerID), MicrotenantID: plain(v.MicrotenantID),
		ActorKind: v.Actor.Kind, ActorID: v.Actor.ID, ActorName: v.Actor.Name, Address: v.Actor.Address,
		RequestID: v.RequestID, Action: v.Action, TargetKind: v.Target.Kind, TargetID: v.Target.ID, TargetName: v.Target.Name,
		Before: v.Before, After: v.After, MasterKeyID: v.MasterKeyID,
	}
	var err error
	if e.Hash, err = fromHex("hash", v.Hash); err != nil {
		return nil, err
	}
	e.MAC, err = fromHex("mac", v.MAC)
	return e, err
}

// AuditMark is one end of a chain: the event there, and what proves it.
type AuditMark struct {
	Seq         int64  `json:"seq"`
	Hash        string `json:"hash" doc:"In hex."`
	MAC         string `json:"mac" doc:"Of the customer, seq and hash, in hex, under the master key."`
	MasterKeyID string `json:"master_key_id"`
}

func showMark(seq int64, hash, mac [32]byte, masterKeyID string) AuditMark {
	return AuditMark{Seq: seq, Hash: hex.EncodeToString(hash[:]), MAC: hex.EncodeToString(mac[:]), MasterKeyID: masterKeyID}
}

// AuditEnds are the ends of a customer's chain.
type AuditEnds struct {
	CustomerID *string    `json:"customer_id" nullable:"true" doc:"null is the chain of events of no customer."`
	Head       AuditMark  `json:"head" doc:"The newest event."`
	Trimmed    *AuditMark `json:"trimmed" doc:"The newest event that was forgotten; null if none was."`
}

func showEnds(h keystore.AuditHead) AuditEnds {
	v := AuditEnds{CustomerID: optional(h.CustomerID), Head: showMark(h.Seq, h.Hash, h.MAC, h.MasterKeyID)}
	if h.TrimmedSeq > 0 {
		mark := showMark(h.TrimmedSeq, h.TrimmedHash, h.TrimmedMAC, h.TrimmedMasterKeyID)
		v.Trimmed = &mark
	}
	return v
}

// stored are the ends that the view was made of.
func (v *AuditEnds) stored() (h keystore.AuditHead, err error) {
	h.CustomerID, h.Seq, h.MasterKeyID = plain(v.CustomerID), v.Head.Seq, v.Head.MasterKeyID
	if h.Hash, err = fromHex("hash", v.Head.Hash); err != nil {
		return h, err
	}
	if h.MAC, err = fromHex("mac", v.Head.MAC); err != nil || v.Trimmed == nil {
		return h, err
	}
	h.TrimmedSeq, h.TrimmedMasterKeyID = v.Trimmed.Seq, v.Trimmed.MasterKeyID
	if h.TrimmedHash, err = fromHex("hash", v.Trimmed.Hash); err != nil {
		return h, err
	}
	h.TrimmedMAC, err = fromHex("mac", v.Trimmed.MAC)
	return h, err
}

// changes are the members in which two records differ, none where there is only one.
func changes(before, after json.RawMessage) []string {
	names := []string{}
	var was, is map[string]json.RawMessage
	if json.Unmarshal(before, &was) != nil || json.Unmarshal(after, &is) != nil || was == nil || is == nil {
		return names
	}
	for name, value := range is {
		if !sameJSON(value, was[name]) {
			names = append(names, name)
		}
	}
	for name := range was {
		if _, kept := is[name]; !kept {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// sameJSON: a member that was left out is not one that is null.
func sameJSON(a, b json.RawMessage) bool {
	if b == nil {
		return false
	}
	x, errX := keystore.CanonicalJSON(a)
	y, errY := keystore.CanonicalJSON(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func orNull(value json.RawMessage) json.RawMessage {
	if value == nil {
		return json.RawMessage("null")
	}
	return value
}

func plain(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func fromHex(name, text string) (sum [32]byte, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(sum) {
		return sum, fmt.Errorf("%s is not %d bytes in hex", name, len(sum))
	}
	return [32]byte(raw), nil
}
