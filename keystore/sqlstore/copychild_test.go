//go:build unix

package sqlstore_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/postgres"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
	"github.com/keyreeve/keyreeve/policy"
)

var lockout = policy.DefaultLockout()

func head(t testing.TB, s keystore.Store) keystore.Revision { return headOf(t, s) }

func headOf(t testing.TB, s keystore.Store) keystore.Revision {
	t.Helper()
	head, err := s.Head(t.Context())
	require.NoError(t, err)
	return head
}

// server opens the store as one does that decides on requests.
func (p place) server(ctx context.Context) (keystore.Store, error) {
	if p.dsn != "" {
		return postgres.Open(ctx, postgres.Options{DSN: p.dsn, Clock: p.clock})
	}
	return sqlite.Open(ctx, sqlite.Options{Path: p.path, Clock: p.clock})
}

func (p place) serve(t testing.TB) keystore.Store {
	t.Helper()
	s, err := p.server(t.Context())
	require.NoError(t, err)
	return s
}

// child moves a store and kills itself on the way.
func child(job []string) int {
	err := func() error {
		ctx, clock := context.Background(), keystore.NewSystemClock()
		words, err := strconv.Atoi(job[4])
		if err != nil {
			return err
		}
		var stores []keystore.Store
		for _, where := range [][]string{job[:2], job[2:4]} {
			var s keystore.Store
			if where[1] != "" {
				s, err = postgres.Open(ctx, postgres.Options{DSN: where[1], Clock: clock, Visit: true})
			} else {
				s, err = sqlite.Open(ctx, sqlite.Options{Path: where[0], Clock: clock, Visit: true})
			}
			if err != nil {
				return err
			}
			stores = append(stores, s)
		}
		_, err = sqlstore.Copy(ctx, stores[0], stores[1], sqlstore.CopyOptions{Progress: func(sqlstore.CopyProgress) {
			if words--; words == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}})
		return err
	}()
	fmt.Println("not killed:", err)
	return 1
}
