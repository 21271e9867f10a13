package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// What the demo's store is seeded with. The ids look like those of the API whose
// routes the example policy has.
const (
	demoCustomer    = "216199618143191040"
	demoMicrotenant = "216199618143191056"
)

// customRoles are the roles that the demo makes for its customer.
var customRoles = []struct {
	name        string
	permissions policy.Permissions
}{
	{"Policy Only", policy.Permissions{"policy-rules": policy.Full}},
	{"Application Only", policy.Permissions{"application-segments": policy.Full}},
}

// seeding is what the demo offers, in the shape that -o json prints.
type seeding struct {
	GateURL       string      `json:"gate_url"`
	AdminURL      string      `json:"admin_url"`
	LoginURL      string      `json:"login_url"` // signs in at the page, once
	CustomerID    string      `json:"customer_id"`
	MicrotenantID string      `json:"microtenant_id"`
	Keys          []seededKey `json:"keys"`
}

type seededKey struct {
	Name     string `json:"name"`
	ClientID string `json:"client_id"`
	// Secret is null for a key made by an earlier run: secrets are shown once.
	Secret *string `json:"client_secret"`
	Role   string  `json:"role"`
}

// seedKeys are the keys of the demo, in the order in which they are shown.
var seedKeys = []struct {
	name, role    string
	inMicrotenant bool
}{
	{"operator", "Operator", false},
	{"full", "API Full Access", false},
	{"readonly", "API Read Only", false},
	{"policy-only", "Policy Only", false},
	{"application-only", "Application Only", false},
	{"tenant", "API Full Access", true},
}

// seed makes what is missing of the demo's customer, microtenant, roles and keys.
func seed(ctx context.Context, svc *lifecycle.Service) (*seeding, error) {
	if svc == nil {
		return nil, errors.New("the gate is not running")
	}
	local := lifecycle.Local("demo", false)
	s := &seeding{CustomerID: demoCustomer, MicrotenantID: demoMicrotenant}
	_, _, err := svc.CreateCustomer(ctx, local, lifecycle.NewCustomer{ID: demoCustomer, Name: "Demo customer"})
	if err := unlessThere(err); err != nil {
		return nil, err
	}
	_, _, err = svc.CreateMicrotenant(ctx, local, lifecycle.NewMicrotenant{ID: demoMicrotenant, CustomerID: demoCustomer, Name: "Demo microtenant"})
	if err := unlessThere(err); err != nil {
		return nil, err
	}
	roles, err := seedRoles(ctx, svc, local)
	if err != nil {
		return nil, err
	}
	existing, err := svc.ListKeys(ctx, local, lifecycle.KeyFilter{CustomerID: demoCustomer, Paging: lifecycle.Paging{Size: lifecycle.Some(lifecycle.MaxPageSize)}})
	if err != nil {
		return nil, err
	}
	clientIDs := make(map[string]string, len(existing.Items))
	for _, k := range existing.Items {
		clientIDs[k.Name] = k.ClientID
	}
	for _, want := range seedKeys {
		key := seededKey{Name: want.name, ClientID: clientIDs[want.name], Role: want.role}
		if key.ClientID == "" {
			in := lifecycle.NewKey{Name: want.name, RoleID: roles[want.role], CustomerID: demoCustomer}
			if want.inMicrotenant {
				in.MicrotenantID = lifecycle.Some(demoMicrotenant)
			}
			made, _, err := svc.CreateKey(ctx, local, in)
			if err != nil {
				return nil, fmt.Errorf("key %s: %w", want.name, err)
			}
			key.ClientID, key.Secret = made.ClientID, &made.ClientSecret
		}
		s.Keys = append(s.Keys, key)
	}
	return s, nil
}

// seedRoles makes the custom roles that are missing and returns the id of every
// role by its name.
func seedRoles(ctx context.Context, svc *lifecycle.Service, local lifecycle.Actor) (map[string]string, error) {
	list, err := svc.ListRoles(ctx, local, lifecycle.RoleFilter{CustomerID: demoCustomer, Paging: lifecycle.Paging{Size: lifecycle.Some(lifecycle.MaxPageSize)}})
	if err != nil {
		return nil, err
	}
	ids := make(map[string]string, len(list.Items)+len(customRoles))
	for _, r := range list.Items {
		ids[r.Name] = r.ID
	}
	for _, r := range customRoles {
		if ids[r.name] != "" {
			continue
		}
		made, _, err := svc.CreateRole(ctx, local, lifecycle.NewRole{Name: r.name, CustomerID: lifecycle.Some(demoCustomer), Permissions: r.permissions})
		if err != nil {
			return nil, fmt.Errorf("role %s: %w", r.name, err)
		}
		ids[r.name] = made.ID
	}
	return ids, nil
}

// unlessThere drops the error that says a record exists: an earlier run made it.
func unlessThere(err error) error {
	var e *lifecycle.Error
	if errors.As(err, &e) && e.Kind == lifecycle.Conflict {
		return nil
	}
	return err
}

// curlLines are calls to copy, for keys whose secret is at hand.
func (s *seeding) curlLines() []string {
	secrets := make(map[string]string)
	for _, k := range s.Keys {
		secret := "SECRET"
		if k.Secret != nil {
			secret = *k.Secret
		}
		secrets[k.Name] = k.ClientID + ":" + secret
	}
	application := s.GateURL + "/mgmtconfig/v1/admin/customers/" + s.CustomerID + "/application"
	return []string{
		"curl -u '" + secrets["full"] + "' " + application,
		"curl -u '" + secrets["readonly"] + "' -X POST " + application,
		"curl -u '" + secrets["tenant"] + "' '" + application + "?microtenantId=" + s.MicrotenantID + "'",
		"curl -u '" + secrets["full"] + "' -d grant_type=client_credentials " + s.GateURL + "/oauth2/v1/token",
		"curl -u '" + secrets["operator"] + "' " + s.AdminURL + "/v1/keys",
	}
}
