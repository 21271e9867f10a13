package zpa

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// keyBody is the body of POST and PUT: every member that clients know. They send
// back what they got, so that those which cannot be set are taken as long as they
// say nothing new.
type keyBody struct {
	Name                 text   `json:"name"`
	Enabled              flag   `json:"enabled"`
	TokenExpiryTimeInSec number `json:"tokenExpiryTimeInSec"`
	RoleID               text   `json:"roleId"`

	ID                text `json:"id"`
	ClientID          text `json:"clientId"`
	ClientSecret      text `json:"clientSecret"`
	IamClientID       text `json:"iamClientId"`     // of a product that is not there
	RestrictionType   text `json:"restrictionType"` // likewise
	IsLocked          flag `json:"isLocked"`
	ReadOnly          flag `json:"readOnly"`
	RestrictedEntity  flag `json:"restrictedEntity"`
	ZscalerManaged    flag `json:"zscalerManaged"`
	PinSessionEnabled flag `json:"pinSessionEnabled"`
	SyncVersion       text `json:"syncVersion"`
	CustomerID        text `json:"customerId"`
	CreationTime      text `json:"creationTime"`
	ModifiedTime      text `json:"modifiedTime"`
	ModifiedBy        text `json:"modifiedBy"`
	ScopeID           text `json:"scopeId"`
	MicrotenantID     text `json:"microtenantId"`
	MicrotenantName   text `json:"microtenantName"`
}

// newKey is the key that a POST asks for. `enabled` left out means false.
func (b *keyBody) newKey(r *lifecycle.Reach, s *lifecycle.Surroundings) (lifecycle.NewKey, error) {
	in := lifecycle.NewKey{Name: b.Name.value, RoleID: storedRole(b.RoleID.value), Enabled: lifecycle.Some(b.Enabled.value)}
	in.CustomerID, in.MicrotenantID = r.Tenant()
	if b.TokenExpiryTimeInSec.given {
		in.SessionValiditySeconds = lifecycle.Some(b.TokenExpiryTimeInSec.value)
	}
	var none key
	var microtenantID *string
	if in.MicrotenantID.Has() {
		microtenantID = &in.MicrotenantID.Value
	}
	none.inTenant(in.CustomerID, microtenantID, s)
	var bad lifecycle.FieldErrors
	b.unchanged(&bad, &none)
	for name, given := range map[string]text{"syncVersion": b.SyncVersion, "modifiedTime": b.ModifiedTime, "modifiedBy": b.ModifiedBy} {
		given.mustBe(&bad, name, "")
	}
	return in, bad.Err()
}

// patch replaces all that the face knows of a key and leaves alone what it does
// not. What is only kept as a record (syncVersion, modifiedTime, modifiedBy) says
// which state the client had read, and may be out of date.
func (b *keyBody) patch(k *lifecycle.Key, s *lifecycle.Surroundings) (lifecycle.KeyPatch, error) {
	now := shown(k, s)
	var bad lifecycle.FieldErrors
	b.unchanged(&bad, &now)
	p := lifecycle.KeyPatch{Name: lifecycle.Some(b.Name.value), RoleID: lifecycle.Some(storedRole(b.RoleID.value)),
		Enabled: lifecycle.Some(b.Enabled.value), SessionValiditySeconds: lifecycle.Null[int64]()}
	if n := b.TokenExpiryTimeInSec; n.given {
		p.SessionValiditySeconds = lifecycle.Some(n.value)
		if k.SessionValiditySeconds == nil && n.value == seconds(k, s) {
			p.SessionValiditySeconds = lifecycle.Null[int64]() // the default, sent back as it was shown
		}
	}
	return p, bad.Err()
}

// unchanged holds the members that cannot be set against what they are.
func (b *keyBody) unchanged(bad *lifecycle.FieldErrors, is *key) {
	for _, m := range []struct {
		name  string
		given text
		is    string
	}{
		{"id", b.ID, is.ID}, {"clientId", b.ClientID, is.ClientID}, {"clientSecret", b.ClientSecret, ""},
		{"iamClientId", b.IamClientID, ""}, {"restrictionType", b.RestrictionType, ""},
		{"customerId", b.CustomerID, is.CustomerID}, {"creationTime", b.CreationTime, is.CreationTime},
		{"scopeId", b.ScopeID, is.ScopeID}, {"microtenantId", b.MicrotenantID, is.MicrotenantID},
		{"microtenantName", b.MicrotenantName, is.MicrotenantName},
	} {
		m.given.mustBe(bad, m.name, m.is)
	}
	for _, m := range []struct {
		name      string
		given, is bool
	}{
		{"isLocked", b.IsLocked.or(is.IsLocked), is.IsLocked}, {"readOnly", b.ReadOnly.or(is.ReadOnly), is.ReadOnly},
		{"restrictedEntity", b.RestrictedEntity.or(is.RestrictedEntity), is.RestrictedEntity},
		{"zscalerManaged", b.ZscalerManaged.or(is.ZscalerManaged), is.ZscalerManaged},
		{"pinSessionEnabled", b.PinSessionEnabled.or(is.PinSessionEnabled), is.PinSessionEnabled},
	} {
		if m.given != m.is {
			bad.Add(m.name, lifecycle.FieldUnknown, "cannot be set here and is %t", m.is)
		}
	}
}

// text is a member that holds a string. As clients differ about which of their
// strings are numbers, a whole number is taken for its digits. null and "" are
// left out: clients leave out what is empty.
type text struct{ value string }

// UnmarshalJSON reads a string, a whole number or null.
func (t *text) UnmarshalJSON(data []byte) error {
	if wholeNumber(string(data)) {
		t.value = string(data)
		return nil
	}
	return json.Unmarshal(data, &t.value)
}

// Expected says what the member takes.
func (text) Expected() (code, detail string) { return lifecycle.FieldType, "must be a string" }

// mustBe refuses a value of a member that cannot be set, unless it is the one there is.
func (t text) mustBe(bad *lifecycle.FieldErrors, name, is string) {
	if t.value != "" && t.value != is && !(is == "" && t.value == "0") {
		bad.Add(name, lifecycle.FieldUnknown, "cannot be set here; leave it out")
	}
}

// flag is a member that holds a truth value; null is left out.
type flag struct{ given, value bool }

// UnmarshalJSON reads true, false or null.
func (f *flag) UnmarshalJSON(data []byte) error {
	f.given = string(data) != "null"
	return json.Unmarshal(data, &f.value)
}

// Expected says what the member takes.
func (flag) Expected() (code, detail string) { return lifecycle.FieldType, "must be true or false" }

// or is the value, or another if it was left out. Clients leave out false, but
// also what they do not know.
func (f flag) or(otherwise bool) bool {
	if f.given {
		return f.value
	}
	return otherwise
}

// number is a member that holds a whole number, in a string or not; null is left out.
type number struct {
	given bool
	value int64
}

var errNotWhole = errors.New("not a whole number")

// UnmarshalJSON reads "3600", 3600 or null.
func (n *number) UnmarshalJSON(data []byte) (err error) {
	digits := string(data)
	if digits == "null" {
		return nil
	}
	if digits[0] == '"' {
		if err := json.Unmarshal(data, &digits); err != nil {
			return err
		}
	}
	if !wholeNumber(digits) {
		return errNotWhole
	}
	n.given = true
	n.value, err = strconv.ParseInt(digits, 10, 64)
	return err
}

// Expected says what the member takes.
func (number) Expected() (code, detail string) {
	return lifecycle.FieldType, `must be a whole number such as "3600"`
}

// wholeNumber reports an integer in its one spelling, as JSON has it.
func wholeNumber(s string) bool {
	if len(s) > 1 && s[0] == '-' {
		s = s[1:]
	}
	if s == "" || (len(s) > 1 && s[0] == '0') {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
