package lifecycle

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// house is a service over a real store with the customers acme and umbrella;
// acme has the microtenants emea and apac.
type house struct {
	*testing.T
	*Service
	ctx   context.Context
	store *sqlite.Store
	clock *storetest.Clock
}

var local = Local("test", false)

func newHouse(t *testing.T) *house {
	t.Helper()
	h := newEmptyHouse(t)
	for _, id := range []string{"acme", "umbrella"} {
		_, _, err := h.CreateCustomer(h.ctx, local, NewCustomer{ID: id, Name: id})
		require.NoError(t, err)
	}
	for _, id := range []string{"emea", "apac"} {
		_, _, err := h.CreateMicrotenant(h.ctx, local, NewMicrotenant{ID: id, CustomerID: "acme", Name: id})
		require.NoError(t, err)
	}
	return h
}

// newEmptyHouse is a service over a fresh store.
func newEmptyHouse(t *testing.T) *house {
	t.Helper()
	h := &house{T: t, ctx: t.Context(), clock: storetest.NewClock()}
	ring, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	h.store, err = sqlite.Open(h.ctx, sqlite.Options{Path: filepath.Join(t.TempDir(), "keys.db"), Clock: h.clock})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.store.Close()) })
	h.store.SealAudit(ring)
	groups := map[string]string{"segments": "configuration", "servers": "configuration"}
	h.Service = New(Config{Store: h.store, Keyring: ring, GroupOf: func(r string) string { return groups[r] }})
	return h
}

// role makes a role for every customer.
func (h *house) role(name string, p policy.Permissions) string {
	h.Helper()
	r, _, err := h.CreateRole(h.ctx, local, NewRole{Name: name, CustomerID: Null[string](), Permissions: p})
	require.NoError(h, err)
	return r.ID
}

// actor is a new key of acme with that role, signed in. change may alter it first.
func (h *house) actor(name, roleID string, change ...func(*NewKey)) Actor {
	h.Helper()
	in := NewKey{Name: name, RoleID: roleID, CustomerID: "acme"}
	for _, c := range change {
		c(&in)
	}
	made, _, err := h.CreateKey(h.ctx, local, in)
	require.NoError(h, err)
	var actor Actor
	require.NoError(h, h.store.View(h.ctx, func(r keystore.Reader) error {
		k, err := r.Key(h.ctx, made.ID)
		if err != nil {
			return err
		}
		role, err := r.Role(h.ctx, k.RoleID)
		actor = ForKey(k, role, "192.0.2.1", "req-1")
		return err
	}))
	return actor
}

func (h *house) key(name, roleID string) CreatedKey {
	h.Helper()
	k, _, err := h.CreateKey(h.ctx, local, NewKey{Name: name, RoleID: roleID, CustomerID: "acme"})
	require.NoError(h, err)
	return k
}

// requireRefused holds err to a kind and code, and to naming the field, if any.
func requireRefused(t *testing.T, err error, kind ErrorKind, code, field string) {
	t.Helper()
	var refused *Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, kind, refused.Kind, refused)
	require.Equal(t, code, refused.Code, refused)
	if field == "" {
		return
	}
	for _, f := range refused.Fields {
		if f.Field == field {
			return
		}
	}
	require.Fail(t, "field not named", "%s in %v", field, refused)
}

func requireInvalid(t *testing.T, err error, field, code string) {
	t.Helper()
	requireRefused(t, err, Invalid, CodeValidation, field)
	var refused *Error
	errors.As(err, &refused)
	require.Contains(t, refused.Fields, FieldError{Field: field, Code: code, Detail: detailOf(refused, field)})
}

func detailOf(e *Error, field string) string {
	for _, f := range e.Fields {
		if f.Field == field {
			return f.Detail
		}
	}
	return ""
}
