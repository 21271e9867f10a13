package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// trimStep bounds how many revisions or counts one transaction forgets, so that
// writers do not wait long for it.
const trimStep = 500

// Trim forgets what no longer matters. What there is to forget is looked up on a
// snapshot first: mostly there is nothing, and no write is disturbed.
//
// Empty counts and sessions that are over stay for keep, so that whoever follows
// the store within that time sees them.
func (s *Store) Trim(ctx context.Context, l policy.Lockout, keep time.Duration) error {
	for {
		var p trimPlan
		err := s.view(ctx, func(r *reader) (err error) {
			p, err = r.planTrim(ctx, l, keep)
			return err
		})
		if err == nil && !p.empty() {
			_, err = s.update(ctx, func(t *tx) error { return t.trim(ctx, p) })
		}
		if err != nil {
			return fmt.Errorf("trimming the store: %w", err)
		}
		if !p.more {
			break
		}
	}
	if err := s.resealAudit(ctx); err != nil {
		return fmt.Errorf("sealing the audit trail anew: %w", err)
	}
	return nil
}

// trimPlan is what to forget.
type trimPlan struct {
	// upTo is the newest revision to drop from the change log, 0 for none.
	upTo keystore.Revision
	// secrets is whether any secret ended at or before secretsBefore.
	secrets       bool
	secretsBefore int64
	// sessions is whether any session expired before sessionsBefore.
	sessions       bool
	sessionsBefore int64
	// signingKeys is whether any signing key expired before sessionsBefore.
	signingKeys bool
	// requests is whether any was done before requestsBefore.
	requests       bool
	requestsBefore int64
	tallies        []keystore.Tally
	// nodes is whether any counted last before nodesBefore.
	nodes       bool
	nodesBefore int64
	// stones is whether the oldest tombstone is from before stonesBefore.
	stones       bool
	stonesBefore int64
	// more: steps were cut short.
	more bool
}

func (p trimPlan) empty() bool {
	return p.upTo == 0 && !p.secrets && !p.sessions && !p.signingKeys && !p.requests && !p.nodes && !p.stones && len(p.tallies) == 0
}

func (r *reader) planTrim(ctx context.Context, l policy.Lockout, keep time.Duration) (p trimPlan, err error) {
	before := millis(r.now.Wall.Add(-keep))
	if err := r.planChanges(ctx, &p, before); err != nil {
		return p, err
	}
	if err := r.planTombstones(ctx, &p); err != nil {
		return p, err
	}
	p.secretsBefore = millis(r.now.Wall.Add(-keystore.RetiredSecretMemory))
	if p.secrets, err = r.exists(ctx, "SELECT 1 FROM secrets WHERE ends > 0 AND ends <= ? LIMIT 1", p.secretsBefore); err != nil {
		return p, err
	}
	p.sessionsBefore = before
	if p.sessions, err = r.exists(ctx, "SELECT 1 FROM sessions WHERE expires < ? LIMIT 1", before); err != nil {
		return p, err
	}
	if p.signingKeys, err = r.exists(ctx, "SELECT 1 FROM signing_keys WHERE expires < ? LIMIT 1", before); err != nil {
		return p, err
	}
	p.requestsBefore = millis(r.now.Wall.Add(-keystore.IdempotencyMemory))
	if p.requests, err = r.exists(ctx, "SELECT 1 FROM idempotency WHERE created <= ? LIMIT 1", p.requestsBefore); err != nil {
		return p, err
	}
	if r.dialect.Ledger != "" {
		p.nodesBefore = millis(r.now.Wall.Add(-ledgerMemory))
		if p.nodes, err = r.exists(ctx, "SELECT 1 FROM "+r.dialect.Ledger+" WHERE at < ? LIMIT 1", p.nodesBefore); err != nil {
			return p, err
		}
	}
	old, err := list(ctx, r, scanTally, "SELECT "+tallyColumns+" FROM tallies WHERE at < ?", before)
	if err != nil {
		return p, err
	}
	for _, c := range old {
		if !c.Empty(l, r.now) {
			continue
		}
		if len(p.tallies) == trimStep {
			p.more = true
			break
		}
		p.tallies = append(p.tallies, c)
	}
	return p, nil
}

// planChanges finds the oldest changes that were made before a time. The log is
// cut in its own order: where the clock was set back, an older change behind a
// younger one stays until that goes.
func (r *reader) planChanges(ctx context.Context, p *trimPlan, before int64) error {
	var trimmed, head keystore.Revision
	if err := r.row(ctx, []any{&trimmed, &head}, "SELECT trimmed, head FROM state"); err != nil {
		return err
	}
	oldestKept := head + 1
	err := r.row(ctx, []any{&oldestKept}, "SELECT rev FROM changes WHERE at >= ? ORDER BY rev LIMIT 1", before)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return err
	}
	if oldestKept-1 > trimmed {
		p.upTo = min(oldestKept-1, trimmed+trimStep)
		p.more = p.upTo < oldestKept-1
	}
	return nil
}

// trim carries out a plan. Counts that changed since they were looked at stay.
func (t *tx) trim(ctx context.Context, p trimPlan) error {
	if p.upTo > 0 {
		gone := p.upTo
		if t.dialect.History {
			gone-- // whoever stands there still finds its mark
		}
		if err := t.exec(ctx, "DELETE FROM changes WHERE rev <= ?", gone); err != nil {
			return err
		}
		if err := t.exec(ctx, "UPDATE state SET trimmed = ?1 WHERE trimmed < ?1", p.upTo); err != nil {
			return err
		}
	}
	if p.secrets {
		if err := t.exec(ctx, "DELETE FROM secrets WHERE ends > 0 AND ends <= ?", p.secretsBefore); err != nil {
			return err
		}
	}
	if p.sessions {
		if err := t.exec(ctx, "DELETE FROM sessions WHERE expires < ?", p.sessionsBefore); err != nil {
			return err
		}
	}
	if p.signingKeys {
		if err := t.exec(ctx, "DELETE FROM signing_keys WHERE expires < ?", p.sessionsBefore); err != nil {
			return err
		}
	}
	if p.requests {
		if err := t.exec(ctx, "DELETE FROM idempotency WHERE created <= ?", p.requestsBefore); err != nil {
			return err
		}
	}
	if p.stones {
		if err := t.trimStones(ctx, p.stonesBefore); err != nil {
			return err
		}
	}
	if p.nodes {
		if err := t.exec(ctx, "DELETE FROM "+t.dialect.Ledger+" WHERE at < ?", p.nodesBefore); err != nil {
			return err
		}
	}
	for _, c := range p.tallies {
		err := t.exec(ctx, "DELETE FROM tallies WHERE key_id = ? AND source = ? AND seq = ?", c.KeyID, c.Source, c.Seq)
		if err != nil {
			return err
		}
	}
	return nil
}
