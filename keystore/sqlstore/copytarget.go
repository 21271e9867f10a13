package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
)

// A target that is no longer empty is only written over where that loses nothing: it
// holds a copy of the very store that is copied now, and nobody has used it since. The
// copy says so of itself in a row that belongs to nobody and is not copied further.

const (
	// originOwner is nobody who could sign in: ids of keys begin otherwise.
	originOwner = "keyreeve:copy"
	originName  = "origin"
)

// origin is what a copy says of itself.
type origin struct {
	StoreID string `json:"store_id"`
	// Revision is what the copy began with.
	Revision keystore.Revision `json:"revision"`
	// Sums are of what was written, by table. Counts are left out: they are carried into
	// another time whenever a store is opened after an interval.
	Sums map[string]string `json:"sums"`
}

// errTarget refuses a target.
var errTarget = errors.New("nothing was changed in it. Name an empty target")

// mayFill refuses a target that this user may not move the counters of. It is found
// before anything is copied: to a gate's user all else is permitted.
func (t *tx) mayFill(ctx context.Context) error {
	if t.dialect.FillLacks == "" {
		return nil
	}
	lacks, err := list(ctx, &t.reader, func(scan scanner) (right string, err error) { return right, scan(&right) }, t.dialect.FillLacks)
	if err != nil || len(lacks) == 0 {
		return err
	}
	return fmt.Errorf("the target's user lacks %s, as a gate's should: name the target by the dsn of its tables' owner", strings.Join(lacks, ", "))
}

// earlierCopy reports whether the target holds an earlier copy of a store, and may be
// written over. The error is that it holds something else.
func (t *tx) earlierCopy(ctx context.Context, storeID string) (bool, error) {
	var value []byte
	err := t.row(ctx, []any{&value}, "SELECT value FROM preferences WHERE owner = ? AND name = ?", originOwner, originName)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return false, t.mustBeEmpty(ctx)
	case err != nil:
		return false, err
	}
	var made origin
	if err := json.Unmarshal(value, &made); err != nil {
		return false, fmt.Errorf("the target says of itself that it is a copy, and what it says cannot be read: %w", err)
	}
	if made.StoreID != storeID {
		return false, fmt.Errorf("the target holds a copy of another store (%s, and the source is %s); %w", made.StoreID, storeID, errTarget)
	}
	if t.head != made.Revision {
		return false, used(fmt.Sprintf("it is at revision %d and was copied at %d", t.head, made.Revision))
	}
	for _, c := range copyTablesOf(t.dialect) {
		sum := copySum{}
		if made.Sums[c.name] == "" {
			continue
		}
		if err := c.read(ctx, &t.reader, func(row []any) error { sum.add(row); return nil }); err != nil {
			return false, err
		}
		if sum.String() != made.Sums[c.name] {
			return false, used("its " + c.name + " are not those that were copied")
		}
	}
	return true, nil
}

func used(how string) error {
	return fmt.Errorf("the target holds an earlier copy of the source that was used since (%s): it would lose what was done there; %w", how, errTarget)
}

// mustBeEmpty refuses a target that anybody has put anything into. What every store is
// made with, the predefined roles and the count of audit events, is nothing.
func (t *tx) mustBeEmpty(ctx context.Context) error {
	for _, c := range copyTablesOf(t.dialect) {
		text := "SELECT count(*) FROM " + c.from()
		switch {
		case c.name == "audit_root" || c.history:
			continue
		case c.name == "roles":
			text += " WHERE NOT predefined"
		}
		var n int64
		if err := t.row(ctx, []any{&n}, text); err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("the target is in use: it has %d %s; %w", n, c.name, errTarget)
		}
	}
	return nil
}

// empty deletes all that is to be written, and the log of how it came about.
func (t *tx) empty(ctx context.Context) error {
	tables := []string{"changes"}
	for _, c := range slices.Backward(copyTablesOf(t.dialect)) {
		tables = append(tables, c.name)
	}
	for _, name := range tables {
		if err := t.exec(ctx, "DELETE FROM "+name); err != nil {
			return err
		}
	}
	clear(t.referred)
	return nil
}

// mark says of the target that it is a copy.
func (c *copying) mark(ctx context.Context) error {
	made := origin{StoreID: c.report.StoreID, Revision: c.to.revision(), Sums: map[string]string{}}
	for i, t := range c.tables {
		if t.translate == nil {
			made.Sums[t.name] = c.sums[i].String()
		}
	}
	value, err := json.Marshal(made)
	if err != nil {
		return err
	}
	return c.to.PutPreference(ctx, keystore.Preference{Owner: originOwner, Name: originName, Value: value})
}
