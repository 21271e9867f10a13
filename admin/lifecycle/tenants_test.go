package lifecycle

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/policy"
)

func hexText(b [32]byte) string { return hex.EncodeToString(b[:]) }

func TestTenantsHaveIDsOfTheirOwnOrGenerated(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c, _, err := h.CreateCustomer(h.ctx, local, NewCustomer{Name: "generated"})
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(c.ID, "cus_"), c.ID)
	require.True(t, c.Enabled)
	_, _, err = h.CreateCustomer(h.ctx, local, NewCustomer{ID: "acme", Name: "second"})
	requireRefused(t, err, Conflict, CodeIDTaken, "id")
	_, _, err = h.CreateCustomer(h.ctx, local, NewCustomer{ID: "new", Name: "acme"})
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
	for _, id := range []string{"a/b", "a b", "é", "a.b", strings.Repeat("x", 65), "..", "a\n"} {
		_, _, err = h.CreateCustomer(h.ctx, local, NewCustomer{ID: id, Name: "n"})
		requireInvalid(t, err, "id", FieldFormat)
	}
	m, _, err := h.CreateMicrotenant(h.ctx, local, NewMicrotenant{ID: "216196257331281920", CustomerID: "acme", Name: "m", Enabled: Some(false)})
	require.NoError(t, err)
	require.False(t, m.Enabled)
	for _, id := range []string{"0", "null"} {
		_, _, err = h.CreateMicrotenant(h.ctx, local, NewMicrotenant{ID: id, CustomerID: "acme", Name: "n"})
		requireInvalid(t, err, "id", FieldReserved)
	}
	_, _, err = h.CreateMicrotenant(h.ctx, local, NewMicrotenant{ID: "emea", CustomerID: "acme", Name: "n"})
	requireRefused(t, err, Conflict, CodeIDTaken, "id")
	_, _, err = h.CreateMicrotenant(h.ctx, local, NewMicrotenant{ID: "emea", CustomerID: "umbrella", Name: "emea"})
	require.NoError(t, err, "another customer's microtenant may have the same id")
	_, _, err = h.CreateMicrotenant(h.ctx, local, NewMicrotenant{CustomerID: "acme", Name: "emea"})
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
	_, _, err = h.CreateMicrotenant(h.ctx, local, NewMicrotenant{CustomerID: "none", Name: "n"})
	requireInvalid(t, err, "customer_id", FieldNotFound)
	_, _, err = h.CreateMicrotenant(h.ctx, local, NewMicrotenant{Name: "n"})
	requireInvalid(t, err, "customer_id", FieldRequired)
}

func TestRolesNameResourcesThatCanExist(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for name, fine := range map[string]bool{
		"application-segments": true, "*": true, "keyreeve/keys": true, "keyreeve/*": true,
		"keyreeve/": false, "keyreeve/nonsense": false, "keyreeve/keys/x": false, "Segments": false, "a b": false, "": false, "a*": false, "a\nb": false,
	} {
		_, _, err := h.CreateRole(h.ctx, local, NewRole{Name: "r " + hexText([32]byte([]byte(name + strings.Repeat("_", 32))[:32]))[:40], CustomerID: Some("acme"), Permissions: policy.Permissions{name: policy.View}})
		if fine {
			require.NoError(t, err, name)
		} else {
			requireInvalid(t, err, "permissions", FieldFormat)
		}
	}
	_, _, err := h.CreateRole(h.ctx, local, NewRole{Name: "zero", CustomerID: Some("acme"), Permissions: policy.Permissions{"a": 0}})
	requireInvalid(t, err, "permissions.a", FieldFormat)
	for _, name := range []string{"Operator", "api full access", "API READ ONLY"} {
		_, _, err := h.CreateRole(h.ctx, local, NewRole{Name: name, CustomerID: Some("acme")})
		requireInvalid(t, err, "name", FieldReserved)
	}
	_, _, err = h.CreateRole(h.ctx, local, NewRole{Name: "unplaced"})
	requireInvalid(t, err, "customer_id", FieldRequired)
	_, _, err = h.CreateRole(h.ctx, local, NewRole{Name: "lost", CustomerID: Some("none")})
	requireInvalid(t, err, "customer_id", FieldNotFound)
	r, _, err := h.CreateRole(h.ctx, local, NewRole{Name: "ours", CustomerID: Some("acme")})
	require.NoError(t, err)
	require.Equal(t, "acme", *r.CustomerID)
	_, _, err = h.CreateRole(h.ctx, local, NewRole{Name: "ours", CustomerID: Some("acme")})
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
}
