package caddymodule

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyreeve/keyreeve/admin/cli"
)

// upgrader is a StoreOpener whose tables belong to another user than the gates', so that
// who makes and upgrades them is no gate.
type upgrader interface {
	// Upgrade makes the tables, or brings them to this version, and gives a user a gate's
	// rights on them, unless that is "".
	Upgrade(ctx context.Context, grant string) (from, to int64, err error)
}

// upgradeSchema is the command of that name.
func upgradeSchema(ctx context.Context, u cli.SchemaUpgrade) (report cli.SchemaReport, err error) {
	end, err := openEnd(ctx, u.Place, nil)
	if err != nil {
		return report, err
	}
	defer end.done()
	store, ok := end.opener.(upgrader)
	if !ok {
		return report, errors.New("this store belongs to the gate that uses it, which makes and upgrades it as it starts: there is nothing to do")
	}
	if report.Store, err = end.opener.Identity(); err != nil {
		return report, err
	}
	if report.From, report.To, err = store.Upgrade(ctx, u.Grant); err != nil {
		return report, fmt.Errorf("the tables were not made ready for the gates: %w", err)
	}
	report.Granted = u.Grant
	return report, nil
}
