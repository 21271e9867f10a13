package keystore

import "fmt"

// Order is the order of the query, the default spelt out; an error where the
// field is unknown. The id is always last.
func (q TenantQuery) Order() (SortField, error) {
	switch q.Sort.Field {
	case "":
		return SortField{Field: SortName, Desc: q.Sort.Desc}, nil
	case SortName, SortCreated:
		return q.Sort, nil
	}
	return SortField{}, fmt.Errorf("unknown sort field %q, expected %s or %s", q.Sort.Field, SortName, SortCreated)
}

// CustomerCursor is the place of a customer in the list in the query's order.
func (q TenantQuery) CustomerCursor(c *Customer) Cursor {
	if q.Sort.Field == SortCreated {
		return Cursor{Values: []string{cursorTime(c.Created)}, ID: c.ID}
	}
	return Cursor{Values: []string{c.Name}, ID: c.ID}
}

// MicrotenantCursor is the place of a microtenant in the list in the query's
// order. Its id is unique in its customer only, so both are named; no id holds a space.
func (q TenantQuery) MicrotenantCursor(m *Microtenant) Cursor {
	id := m.CustomerID + " " + m.ID
	if q.Sort.Field == SortCreated {
		return Cursor{Values: []string{cursorTime(m.Created)}, ID: id}
	}
	return Cursor{Values: []string{m.Name}, ID: id}
}
