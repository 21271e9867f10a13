package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

var tenantCases = []testCase{
	{"the predefined roles are there and cannot be changed", rolePredefined},
	{"a role is read back as it was put", roleRoundTrip},
	{"a role's name is unique in its customer, predefined names everywhere", roleNames},
	{"a role's customer must be there", roleCustomer},
	{"a role in use cannot be deleted or taken to another customer", roleInUse},
	{"roles are listed by name: a customer's own and the global ones", roleList},
	{"customers and microtenants are read back as they were put", tenantRoundTrip},
	{"names of customers, and of microtenants in a customer, are unique", tenantNames},
	{"a customer or microtenant in use cannot be deleted", tenantInUse},
	{"two customers may use one microtenant id", tenantSharedID},
	{"what is not there is not found", tenantNotFound},
}

func rolePredefined(t *testing.T, f *fixture) {
	for _, want := range keystore.PredefinedRoles() {
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			got, err := r.Role(ctx, want.ID)
			require.NoError(t, err)
			require.Positive(t, got.Revision)
			require.False(t, got.Created.IsZero())
			got.Created, got.Modified, got.Revision = time.Time{}, time.Time{}, 0
			require.Equal(t, &want, got)
			return nil
		})
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
			return tx.PutRole(ctx, &keystore.Role{ID: want.ID, Name: "Other", Permissions: policy.Permissions{"*": policy.Full}})
		})
		refused(t, err, keystore.ErrConflict, "predefined")
		_, err = f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteRole(ctx, want.ID) })
		refused(t, err, keystore.ErrConflict, "predefined")
	}
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutRole(ctx, &keystore.Role{ID: "role_x", Name: "X", Predefined: true})
	})
	refused(t, err, keystore.ErrConflict, "predefined")
}

func roleRoundTrip(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	role := &keystore.Role{ID: "role_x", CustomerID: globex, Name: hostile[0], Description: hostile[5],
		Permissions: policy.Permissions{"*": policy.View, "keyreeve/keys": policy.Read | policy.Create, hostile[1]: policy.Delete, "none": 0},
		Created:     now, Modified: now.Add(time.Second)}
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutRole(ctx, role) })
	require.Equal(t, rev, role.Revision)
	role.Permissions = nil
	role.Description = ""
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutRole(ctx, role) })
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		got, err := r.Role(ctx, role.ID)
		require.Equal(t, role, got)
		require.Empty(t, got.Permissions)
		return err
	})
}

func roleNames(t *testing.T, f *fixture) {
	put := func(r keystore.Role) error {
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutRole(ctx, &r) })
		return err
	}
	refused(t, put(keystore.Role{ID: "role_x", CustomerID: acme, Name: "Auditor"}), keystore.ErrConflict, "name")
	refused(t, put(keystore.Role{ID: "role_x", CustomerID: acme, Name: "Operator"}), keystore.ErrConflict, "name")
	refused(t, put(keystore.Role{ID: "role_x", Name: "API Read Only"}), keystore.ErrConflict, "name")
	require.NoError(t, put(keystore.Role{ID: "role_x", CustomerID: globex, Name: "Auditor"}))
	require.NoError(t, put(keystore.Role{ID: "role_y", CustomerID: acme, Name: "auditor"}))
}

func roleCustomer(t *testing.T, f *fixture) {
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutRole(ctx, &keystore.Role{ID: "role_x", CustomerID: "cust_none", Name: "X"})
	})
	refused(t, err, keystore.ErrNotFound, "customer_id")
}

func roleInUse(t *testing.T, f *fixture) {
	k := f.key(1)
	k.RoleID = auditor
	f.put(t, k)
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteRole(ctx, auditor) })
	refused(t, err, keystore.ErrInUse, "keys")
	_, err = f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutRole(ctx, &keystore.Role{ID: auditor, CustomerID: globex, Name: "Auditor"})
	})
	refused(t, err, keystore.ErrInUse, "keys")
	before := f.head(t)
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		if err := tx.DeleteKey(ctx, k.ID); err != nil {
			return err
		}
		return tx.DeleteRole(ctx, auditor)
	})
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Contains(t, changes, keystore.Change{Revision: rev, Kind: keystore.KindRole, ID: auditor})
}

func roleList(t *testing.T, f *fixture) {
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutRole(ctx, &keystore.Role{ID: "role_g", CustomerID: globex, Name: "Aardvark"})
	})
	names := func(customerID string) (names []string) {
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			roles, err := r.Roles(ctx, customerID)
			for _, role := range roles {
				names = append(names, role.Name)
			}
			return err
		})
		return names
	}
	require.Equal(t, []string{"API Full Access", "API Read Only", "Auditor", "Operator"}, names(acme))
	require.Equal(t, []string{"API Full Access", "API Read Only", "Aardvark", "Operator"}, names(globex))
	require.Equal(t, []string{"API Full Access", "API Read Only", "Aardvark", "Auditor", "Operator"}, names(""))
}

func tenantRoundTrip(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	c := &keystore.Customer{ID: "0042", Name: hostile[0], Generation: 3, Created: now, Modified: now.Add(time.Minute)}
	m := &keystore.Microtenant{ID: "7", CustomerID: c.ID, Name: hostile[2], Enabled: true, Generation: 5, Created: now, Modified: now}
	before := f.head(t)
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		if err := tx.PutCustomer(ctx, c); err != nil {
			return err
		}
		return tx.PutMicrotenant(ctx, m)
	})
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		gotC, err := r.Customer(ctx, c.ID)
		require.NoError(t, err)
		require.Equal(t, c, gotC)
		gotM, err := r.Microtenant(ctx, c.ID, m.ID)
		require.NoError(t, err)
		require.Equal(t, m, gotM)
		customers, err := r.Customers(ctx)
		require.NoError(t, err)
		require.Len(t, customers, 3)
		require.Equal(t, c.ID, customers[0].ID, "by name")
		ofAcme, err := r.Microtenants(ctx, acme)
		require.NoError(t, err)
		require.Len(t, ofAcme, 1)
		all, err := r.Microtenants(ctx, "")
		require.Len(t, all, 2)
		return err
	})
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, []keystore.Change{
		{Revision: rev, Kind: keystore.KindCustomer, ID: c.ID},
		{Revision: rev, Kind: keystore.KindMicrotenant, ID: m.ID, CustomerID: c.ID},
	}, changes)
}

func tenantNames(t *testing.T, f *fixture) {
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutCustomer(ctx, &keystore.Customer{ID: "c3", Name: "Acme"})
	})
	refused(t, err, keystore.ErrConflict, "name")
	_, err = f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "m2", CustomerID: acme, Name: "Lab"})
	})
	refused(t, err, keystore.ErrConflict, "name")
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "m2", CustomerID: globex, Name: "Lab"})
	})
	_, err = f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "m3", CustomerID: "cust_none", Name: "X"})
	})
	refused(t, err, keystore.ErrNotFound, "customer_id")
}

func tenantInUse(t *testing.T, f *fixture) {
	deleteCustomer := func(id string) error {
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteCustomer(ctx, id) })
		return err
	}
	deleteLab := func() error {
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteMicrotenant(ctx, acme, lab) })
		return err
	}
	k := f.key(1)
	k.MicrotenantID = lab
	f.put(t, k)
	refused(t, deleteCustomer(acme), keystore.ErrInUse, "keys")
	refused(t, deleteLab(), keystore.ErrInUse, "keys")
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, k.ID) })
	refused(t, deleteCustomer(acme), keystore.ErrInUse, "roles")
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteRole(ctx, auditor) })
	refused(t, deleteCustomer(acme), keystore.ErrInUse, "microtenants")
	require.NoError(t, deleteLab())
	refused(t, deleteCustomer(acme), keystore.ErrInUse, "sources")
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteSource(ctx, acme, directory) })
	require.NoError(t, deleteCustomer(acme))
	require.ErrorIs(t, deleteCustomer(acme), keystore.ErrNotFound)
	require.ErrorIs(t, deleteLab(), keystore.ErrNotFound)
}

func tenantSharedID(t *testing.T, f *fixture) {
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: lab, CustomerID: globex, Name: "Other lab"})
	})
	k := f.key(1)
	k.MicrotenantID = lab
	f.put(t, k)
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteMicrotenant(ctx, globex, lab) })
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		m, err := r.Microtenant(ctx, acme, lab)
		require.Equal(t, "Lab", m.Name)
		return err
	})
}

func tenantNotFound(t *testing.T, f *fixture) {
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		_, err := r.Role(ctx, "")
		require.ErrorIs(t, err, keystore.ErrNotFound)
		_, err = r.Customer(ctx, "")
		require.ErrorIs(t, err, keystore.ErrNotFound)
		_, err = r.Microtenant(ctx, globex, lab)
		require.ErrorIs(t, err, keystore.ErrNotFound)
		_, err = r.Session(ctx, "")
		require.ErrorIs(t, err, keystore.ErrNotFound)
		return nil
	})
	for name, remove := range map[string]func(context.Context, keystore.Tx) error{
		"customer":    func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteCustomer(ctx, "") },
		"microtenant": func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteMicrotenant(ctx, acme, "") },
		"role":        func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteRole(ctx, "") },
		"source":      func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteSource(ctx, acme, "") },
		"key":         func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, "") },
		"unlock":      func(ctx context.Context, tx keystore.Tx) error { return tx.Unlock(ctx, "") },
	} {
		_, err := f.try(t, remove)
		require.ErrorIs(t, err, keystore.ErrNotFound, name)
	}
}
