package zpa

import (
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// fullAccess is the id under which clients know the role API Full Access.
const fullAccess = "28"

// defaultMicrotenant is the name of the customer level.
const defaultMicrotenant = "Default"

// key is an API key as the face shows it. Numbers are strings, and times are
// Unix seconds.
type key struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	ClientID string `json:"clientId"`
	// ClientSecret is in the answer to its creation alone.
	ClientSecret string `json:"clientSecret,omitempty"`
	Enabled      bool   `json:"enabled"`
	// TokenExpiryTimeInSec is the lifetime of its access tokens in seconds, the
	// configured default spelt out.
	TokenExpiryTimeInSec string `json:"tokenExpiryTimeInSec"`
	RoleID               string `json:"roleId"`
	IsLocked             bool   `json:"isLocked"`
	// ReadOnly is a key that an external source owns and changes.
	ReadOnly bool `json:"readOnly"`
	// RestrictedEntity and ZscalerManaged are one that nobody changes.
	RestrictedEntity bool `json:"restrictedEntity"`
	ZscalerManaged   bool `json:"zscalerManaged"`
	// PinSessionEnabled is always false: tokens are not bound to an address.
	PinSessionEnabled bool `json:"pinSessionEnabled"`
	// SyncVersion is the revision of its latest change.
	SyncVersion  string `json:"syncVersion"`
	CustomerID   string `json:"customerId"`
	CreationTime string `json:"creationTime"`
	ModifiedTime string `json:"modifiedTime"`
	ModifiedBy   string `json:"modifiedBy"`
	// ScopeID is the microtenant, or the customer for a key at customer level.
	ScopeID         string `json:"scopeId"`
	MicrotenantID   string `json:"microtenantId"`
	MicrotenantName string `json:"microtenantName"`
}

// shown puts a key into the face's terms.
func shown(k *lifecycle.Key, s *lifecycle.Surroundings) key {
	v := key{
		ID: k.ID, Name: k.Name, ClientID: k.ClientID, Enabled: k.State != keystore.StateDisabled,
		TokenExpiryTimeInSec: decimal(seconds(k, s)), RoleID: shownRole(k.RoleID), IsLocked: k.Lock.Locked,
		SyncVersion: decimal(int64(k.Revision)), CustomerID: k.CustomerID,
		CreationTime: decimal(k.CreatedAt.Unix()), ModifiedTime: decimal(k.ModifiedAt.Unix()), ModifiedBy: k.ModifiedBy,
	}
	v.inTenant(k.CustomerID, k.MicrotenantID, s)
	if k.Source != nil {
		locked := s.Rules[*k.Source] == keystore.SourceLocked
		v.ReadOnly, v.RestrictedEntity, v.ZscalerManaged = !locked, locked, locked
	}
	return v
}

// inTenant names the tenant that v belongs to.
func (v *key) inTenant(customerID string, microtenantID *string, s *lifecycle.Surroundings) {
	v.CustomerID, v.ScopeID, v.MicrotenantID, v.MicrotenantName = customerID, customerID, policy.DefaultMicrotenant, defaultMicrotenant
	if microtenantID != nil {
		v.ScopeID, v.MicrotenantID, v.MicrotenantName = *microtenantID, *microtenantID, s.Microtenants[*microtenantID]
	}
}

// seconds is the lifetime of the key's access tokens.
func seconds(k *lifecycle.Key, s *lifecycle.Surroundings) int64 {
	if k.SessionValiditySeconds != nil {
		return *k.SessionValiditySeconds
	}
	return int64(s.DefaultValidity / time.Second)
}

func shownRole(id string) string {
	if id == keystore.RoleFullAccess {
		return fullAccess
	}
	return id
}

// storedRole takes both names of API Full Access.
func storedRole(id string) string {
	if id == fullAccess {
		return keystore.RoleFullAccess
	}
	return id
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
