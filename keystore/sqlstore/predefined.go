package sqlstore

import (
	"context"
	"errors"

	"github.com/keyreeve/keyreeve/keystore"
)

// predefine makes the predefined roles what this version says they are.
func (t *tx) predefine(ctx context.Context) error {
	for _, want := range keystore.PredefinedRoles() {
		have, err := t.Role(ctx, want.ID)
		if err != nil && !errors.Is(err, keystore.ErrNotFound) {
			return err
		}
		want.Created, want.Modified = t.now.Wall, t.now.Wall
		if have != nil {
			if sameRole(have, &want) {
				continue
			}
			want.Created = have.Created
		}
		if err := t.storeRole(ctx, &want); err != nil {
			return err
		}
	}
	return nil
}

func sameRole(a, b *keystore.Role) bool {
	if a.Name != b.Name || a.Description != b.Description || a.Predefined != b.Predefined || a.CustomerID != b.CustomerID ||
		len(a.Permissions) != len(b.Permissions) {
		return false
	}
	for name, mask := range a.Permissions {
		if b.Permissions[name] != mask {
			return false
		}
	}
	return true
}
