package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// pushedKeys is how many keys a large source has.
const pushedKeys = 20_000

// BenchmarkAdminPush is the list of a large source, beside 100,000 other keys:
// its first push, one in which every key changes, and one that says nothing new.
// blocked-ns is the longest that a wrong secret waited to be counted meanwhile.
func BenchmarkAdminPush(b *testing.B) {
	o := openOffice(b)
	ctx, local := b.Context(), lifecycle.Local("bench", false)
	round := 0
	push := func(b *testing.B, source, description string) {
		list := make([]lifecycle.SourceKey, pushedKeys)
		for i := range list {
			digest := sha256.Sum256(fmt.Append(nil, source, i))
			list[i] = lifecycle.SourceKey{ClientID: fmt.Sprintf("%s-%06d", source, i), Name: fmt.Sprintf("%s %06d", source, i), Description: description,
				RoleID: keystore.RoleReadOnly, SecretSHA256: hex.EncodeToString(digest[:]), Labels: map[string]string{"team": "7"}}
		}
		_, _, err := o.service.PushSourceKeys(ctx, local, lifecycle.SourceRef{Name: source, CustomerID: customer}, lifecycle.SourcePush{Keys: list}, nil)
		require.NoError(b, err)
	}
	source := func(b *testing.B) string {
		round++
		name := fmt.Sprintf("source%d", round)
		_, _, err := o.service.CreateSource(ctx, local, lifecycle.NewSource{Name: name, CustomerID: customer, Rule: keystore.SourceReadOnly, MaxRoleID: keystore.RoleReadOnly})
		require.NoError(b, err)
		return name
	}
	b.Run("new", func(b *testing.B) {
		longest := time.Duration(0)
		for b.Loop() {
			name := source(b)
			longest = max(longest, o.blocked(b, func() { push(b, name, "") }))
		}
		b.ReportMetric(float64(longest), "blocked-ns")
	})
	name := source(b)
	push(b, name, "")
	b.Run("changed", func(b *testing.B) {
		longest := time.Duration(0)
		for b.Loop() {
			round++
			longest = max(longest, o.blocked(b, func() { push(b, name, fmt.Sprint(round)) }))
		}
		b.ReportMetric(float64(longest), "blocked-ns")
	})
	b.Run("unchanged", func(b *testing.B) {
		push(b, name, "")
		longest := time.Duration(0)
		for b.Loop() {
			longest = max(longest, o.blocked(b, func() { push(b, name, "") }))
		}
		b.ReportMetric(float64(longest), "blocked-ns")
	})
}

// blocked counts wrong secrets, one after the other, while fn runs: the longest
// that one took.
func (o *office) blocked(b *testing.B, fn func()) (longest time.Duration) {
	ctx, stop := context.WithCancel(b.Context())
	counted := make(chan error, 1)
	go func() {
		l := policy.DefaultLockout()
		l.Attempts = 1 << 50 // every one counts
		for ctx.Err() == nil {
			began := time.Now()
			if _, err := o.store.Count(context.WithoutCancel(ctx), l, []keystore.Proof{{KeyID: o.clerk.ID}}); err != nil {
				counted <- err
				return
			}
			longest = max(longest, time.Since(began))
			time.Sleep(10 * time.Millisecond) // as a guesser would let others have their turn
		}
		counted <- nil
	}()
	fn()
	stop()
	require.NoError(b, <-counted)
	return longest
}
