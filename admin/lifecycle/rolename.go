package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
)

// A role is given to keys by people and files that name it. Whoever makes roles
// must not be able to make one that is taken for another: so no role has the name
// or the id of a predefined one, none looks like an id, and a customer's roles and
// those for every customer, which stand in one list, share no name.

// roleIDPrefix begins the id of every role, predefined or not.
const roleIDPrefix = "role_"

// refuseReservedName refuses names that mean a predefined role or look like an id,
// whatever the case.
func refuseReservedName(bad *FieldErrors, name string) {
	for _, p := range keystore.PredefinedRoles() {
		if strings.EqualFold(p.Name, name) {
			bad.Add("name", FieldReserved, "%q is the name of a predefined role", p.Name)
			return
		}
	}
	if len(name) >= len(roleIDPrefix) && strings.EqualFold(name[:len(roleIDPrefix)], roleIDPrefix) {
		bad.Add("name", FieldReserved, "names that begin with %s are reserved, ids of roles do", roleIDPrefix)
	}
}

// refuseSharedName refuses a customer's role the name of one for every customer,
// and the other way round, whatever the case. Roles of one customer are the
// store's to tell apart.
func (o *op) refuseSharedName(role *keystore.Role) error {
	roles, err := o.r.Roles(o.ctx, role.CustomerID) // "" lists those of all customers
	if err != nil {
		return err
	}
	var holders []string
	for _, r := range roles {
		if r.CustomerID != role.CustomerID && strings.EqualFold(r.Name, role.Name) {
			holders = append(holders, r.CustomerID)
		}
	}
	if len(holders) == 0 {
		return nil
	}
	refused := refusal(&keystore.FieldError{Field: "name", Err: keystore.ErrConflict}, "role")
	if e, ok := refused.(*Error); ok && role.CustomerID == "" { // only who sees all customers makes such a role
		e.Detail = heldByCustomers(holders)
		e.Fields[0].Detail = e.Detail
	}
	return refused
}

// heldByCustomers names a few of the customers.
func heldByCustomers(ids []string) string {
	const most = 5
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) > most {
		return fmt.Sprintf("%d customers have a role of this name: %s and others", len(ids), strings.Join(ids[:most], ", "))
	}
	return "a role of this name belongs to " + strings.Join(ids, ", ")
}
