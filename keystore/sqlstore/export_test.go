package sqlstore

import (
	"context"
	"fmt"
	"slices"
)

// CopiedColumns are the tables that Copy copies, with their columns; with those that
// only databases with a history have.
func CopiedColumns(history bool) map[string][]string {
	tables := map[string][]string{}
	for _, t := range copyTablesOf(&Dialect{History: history}) {
		tables[t.name] = t.columns
	}
	return tables
}

// CopiedRows are all that Copy copies between all kinds, in one order; of counts what
// does not depend on the clock.
func CopiedRows(ctx context.Context, s *Store) (map[string][]string, error) {
	found := map[string][]string{}
	err := s.view(ctx, func(r *reader) error {
		for _, t := range copyTablesOf(&Dialect{}) {
			err := t.read(ctx, r, func(row []any) error {
				if t.translate != nil {
					for _, clock := range []string{"last_wall_ns", "last_boot", "last_since_ns", "lock_wall_ns", "lock_boot", "lock_since_ns", "trusted_ns"} {
						row[t.column(clock)] = nil
					}
				}
				found[t.name] = append(found[t.name], fmt.Sprintf("%#v", row))
				return nil
			})
			if err != nil {
				return err
			}
			slices.Sort(found[t.name])
		}
		return nil
	})
	return found, err
}

// Columns are those of every table there is, by a statement that lists them.
func Columns(ctx context.Context, s *Store, text string) (map[string][]string, error) {
	found := map[string][]string{}
	err := s.view(ctx, func(r *reader) error {
		_, err := list(ctx, r, func(scan scanner) (none struct{}, err error) {
			var table, column string
			err = scan(&table, &column)
			found[table] = append(found[table], column)
			return none, err
		}, text)
		return err
	})
	return found, err
}
