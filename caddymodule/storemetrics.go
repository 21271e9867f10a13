package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

var (
	storeSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "keyreeve_store_duration_seconds",
		Help:    "Time that operations on the key store took.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"operation"})
	storeErrors = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyreeve_store_errors_total",
		Help: "Operations that the key store could not do.",
	}, []string{"operation"})
)

// storeOperation observes one kind of operation.
type storeOperation struct {
	seconds prometheus.Observer
	errors  prometheus.Counter
}

func newStoreOperation(name string) storeOperation {
	return storeOperation{storeSeconds.WithLabelValues(name), storeErrors.WithLabelValues(name)}
}

// The operations of a store. Counting and clearing failures are of their own:
// answers wait for them.
var (
	opKeyByClientID = newStoreOperation("key_by_client_id")
	opView          = newStoreOperation("view")
	opUpdate        = newStoreOperation("update")
	opCount         = newStoreOperation("count")
	opHead          = newStoreOperation("head")
	opChanges       = newStoreOperation("changes")
	opTallies       = newStoreOperation("tallies")
	opTrim          = newStoreOperation("trim")
	opTrimAudit     = newStoreOperation("trim_audit")
	opUse           = newStoreOperation("use")
)

func (op storeOperation) observe(began time.Time, err error) {
	op.seconds.Observe(time.Since(began).Seconds())
	if isStoreError(err) {
		op.errors.Inc()
	}
}

// isStoreError tells that the store could not do what was asked, from what it
// answers or its caller decides inside a transaction.
func isStoreError(err error) bool {
	if err == nil {
		return false
	}
	for _, answer := range []error{
		keystore.ErrNotFound, keystore.ErrConflict, keystore.ErrInUse, keystore.ErrBehind, context.Canceled,
	} {
		if errors.Is(err, answer) {
			return false
		}
	}
	var refused *lifecycle.Error
	return !errors.As(err, &refused)
}

// measuredStore is a store whose operations are counted and timed.
type measuredStore struct{ keystore.Store }

// Unwrap is the store itself, for what it is besides.
func (s measuredStore) Unwrap() keystore.Store { return s.Store }

func (s measuredStore) KeyByClientID(ctx context.Context, clientID string) (*keystore.Key, error) {
	began := time.Now()
	key, err := s.Store.KeyByClientID(ctx, clientID)
	opKeyByClientID.observe(began, err)
	return key, err
}

func (s measuredStore) View(ctx context.Context, fn func(keystore.Reader) error) error {
	began := time.Now()
	err := s.Store.View(ctx, fn)
	opView.observe(began, err)
	return err
}

func (s measuredStore) Update(ctx context.Context, fn func(keystore.Tx) error) (keystore.Revision, error) {
	began := time.Now()
	revision, err := s.Store.Update(ctx, fn)
	opUpdate.observe(began, err)
	return revision, err
}

func (s measuredStore) Count(ctx context.Context, l policy.Lockout, proofs []keystore.Proof) ([]keystore.CountResult, error) {
	began := time.Now()
	results, err := s.Store.Count(ctx, l, proofs)
	opCount.observe(began, err)
	return results, err
}

func (s measuredStore) Head(ctx context.Context) (keystore.Revision, error) {
	began := time.Now()
	head, err := s.Store.Head(ctx)
	opHead.observe(began, err)
	return head, err
}

func (s measuredStore) Changes(ctx context.Context, after keystore.Revision) ([]keystore.Change, error) {
	began := time.Now()
	changes, err := s.Store.Changes(ctx, after)
	opChanges.observe(began, err)
	return changes, err
}

func (s measuredStore) Tallies(ctx context.Context, after int64) ([]keystore.Tally, error) {
	began := time.Now()
	tallies, err := s.Store.Tallies(ctx, after)
	opTallies.observe(began, err)
	return tallies, err
}

func (s measuredStore) Trim(ctx context.Context, l policy.Lockout, keep time.Duration) error {
	began := time.Now()
	err := s.Store.Trim(ctx, l, keep)
	opTrim.observe(began, err)
	return err
}

func (s measuredStore) TrimAudit(ctx context.Context, keep time.Duration) error {
	began := time.Now()
	err := s.Store.TrimAudit(ctx, keep)
	opTrimAudit.observe(began, err)
	return err
}

func (s measuredStore) Use(ctx context.Context, uses []keystore.Use, calls ...keystore.Calls) error {
	began := time.Now()
	err := s.Store.Use(ctx, uses, calls...)
	opUse.observe(began, err)
	return err
}
