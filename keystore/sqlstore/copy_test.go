package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
	"github.com/keyreeve/keyreeve/session"
)

// notCopied are the tables and columns that belong to a database and not to what it
// holds. Who adds one says here why, or copies it.
var notCopied = map[string]string{
	"state":            "where a database stands: Copy writes what the target's is",
	"changes":          "the log begins anew, past every revision of the source",
	"goose_db_version": "the schema's own",
	"sqlite_sequence":  "SQLite's own, by the ids that are there",
	"counted":          "which batches of processes that have ended were stored",
	"nodes":            "who follows the source; nobody may while it is copied",
	"clocks":           "how the clocks of machines stand beside that server's",
	"tallies.written":  "the transaction that wrote a row, which is the copy",
}

func TestEveryTableAndColumnIsCopiedOrKnownNotToBe(t *testing.T) {
	for _, c := range []struct {
		where place
		text  string
	}{
		{onSQLite(t), "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'"},
		{onPostgres(t), "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns WHERE table_schema = current_schema()"},
	} {
		inner, _ := keystore.As[interface{ SQL() *sqlstore.Store }](c.where.open(t))
		copied := sqlstore.CopiedColumns(c.where.dsn != "")
		found, err := sqlstore.Columns(t.Context(), inner.SQL(), c.text)
		require.NoError(t, err)
		for table, columns := range found {
			if notCopied[table] != "" {
				continue
			}
			columns = slices.DeleteFunc(columns, func(column string) bool { return notCopied[table+"."+column] != "" })
			require.ElementsMatch(t, columns, copied[table], table)
		}
		for table := range copied {
			require.NotEmpty(t, found[table], table)
		}
	}
}

// move copies a store and returns what was said of it.
func move(t testing.TB, from, to keystore.Store, ring *credential.Keyring) sqlstore.CopyReport {
	t.Helper()
	report, err := sqlstore.Copy(t.Context(), from, to, sqlstore.CopyOptions{Sealer: ring})
	require.NoError(t, err)
	require.Equal(t, sqlstore.TrailSeals, report.Audit.Proved)
	return report
}

func locks(t testing.TB, s keystore.Store) map[string]time.Duration {
	t.Helper()
	left := map[string]time.Duration{}
	require.NoError(t, s.View(t.Context(), func(r keystore.Reader) error {
		all, _, err := r.Locks(t.Context(), keystore.LockQuery{AllCustomers: true, Limit: 100})
		for _, l := range all {
			left[l.KeyID+" "+l.Source] = l.Remaining(r.Now())
		}
		return err
	}))
	return left
}

func TestAStoreThatMovesThereAndBackIsTheSameRowByRow(t *testing.T) {
	home, away, back := onSQLite(t), onPostgres(t), onSQLite(t)
	a, b, c := home.open(t), away.open(t), back.open(t)
	fill(t, a, 500)
	token := issue(t, a, home)
	want, held := rows(t, a), locks(t, a)
	require.Len(t, held, 2)
	for table := range sqlstore.CopiedColumns(false) {
		require.NotEmpty(t, want[table], "the test covers %s", table)
	}
	var before string
	storeID(t, a, &before)

	there := move(t, a, b, home.ring)
	require.Equal(t, want, rows(t, b))
	again := move(t, b, c, home.ring)
	require.Equal(t, want, rows(t, c))
	for _, r := range []sqlstore.CopyReport{there, again} {
		require.Equal(t, before, r.StoreID)
		require.Equal(t, r.Source+1, r.Revision)
		require.Equal(t, 2, r.Locks)
		require.Equal(t, len(want["audit"]), int(r.Audit.Events))
		require.False(t, r.Again)
	}
	for _, s := range []keystore.Store{b, c} {
		var id string
		storeID(t, s, &id)
		require.Equal(t, before, id)
		for lock, left := range locks(t, s) {
			require.InDelta(t, held[lock], left, float64(time.Minute), lock)
		}
		require.Len(t, locks(t, s), 2)
	}
	verifies(t, b, away, token)
	verifies(t, c, back, token)
	goesOn(t, b)
	goesOn(t, c)
}

func TestWhoFollowedADatabaseGoesOnInItsCopy(t *testing.T) {
	from, to := onPostgres(t), onPostgres(t)
	a, b := from.open(t), to.open(t)
	fill(t, a, 20)
	_, err := a.Update(t.Context(), func(tx keystore.Tx) error { return tx.DeleteKey(t.Context(), "key_7") })
	require.NoError(t, err)
	history := func(s keystore.Store) keystore.Historian {
		h, ok := keystore.As[keystore.Historian](s)
		require.True(t, ok)
		return h
	}
	at, seen, err := history(a).HeadStamp(t.Context())
	require.NoError(t, err)
	report := move(t, a, b, from.ring)
	news, err := history(b).Follow(t.Context(), at, seen)
	require.NoError(t, err, "the same history, one revision on")
	require.Equal(t, at+1, report.Revision)
	require.Len(t, news.Changes, 1)
	stones := func(s keystore.Store) (all []keystore.Tombstone) {
		require.NoError(t, s.View(t.Context(), func(r keystore.Reader) error {
			return r.(keystore.HistoryReader).Tombstones(t.Context(), 0, func(s keystore.Tombstone) { all = append(all, s) })
		}))
		return all
	}
	require.NotEmpty(t, stones(a))
	require.Equal(t, stones(a), stones(b))
	_, err = history(b).Follow(t.Context(), at-1, seen)
	require.Error(t, err, "what lies before is not in its log")
}

func storeID(t testing.TB, s keystore.Store, id *string) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(r keystore.Reader) (err error) {
		*id, err = r.StoreID(t.Context())
		return err
	}))
}

// goesOn: what is drawn and counted after the move is new, and the trail goes on.
func goesOn(t testing.TB, s keystore.Store) {
	t.Helper()
	ctx := t.Context()
	before, err := s.Tallies(ctx, -1)
	require.NoError(t, err)
	results, err := s.Count(ctx, lockout, []keystore.Proof{{KeyID: "key_9", Fingerprint: 3}})
	require.NoError(t, err)
	for _, tally := range before {
		require.Greater(t, results[0].Whole.Seq, tally.Seq)
	}
	head, err := s.Head(ctx)
	require.NoError(t, err)
	_, err = s.Changes(ctx, head-2)
	require.ErrorIs(t, err, keystore.ErrBehind, "the log begins with the copy")
	next, err := s.Update(ctx, func(tx keystore.Tx) error {
		k := fillKey(1_000_000, time.Now())
		if err := tx.PutKey(ctx, k); err != nil {
			return err
		}
		return tx.AddAudit(ctx, &keystore.Audit{At: time.Now(), CustomerID: "acme", ActorKind: "local", Action: "key.create"})
	})
	require.NoError(t, err)
	require.Equal(t, head+1, next)
}

func tokens(t testing.TB, s keystore.Store, p place) (*session.Tokens, *keystore.Cached) {
	t.Helper()
	keys, err := keystore.OpenCached(t.Context(), unclosed{s}, p.clock, keystore.CacheSizes{Keys: 100, Unknown: 100}, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { _ = keys.Close() })
	verified, err := session.NewVerified(100)
	require.NoError(t, err)
	t.Cleanup(verified.Close)
	var id string
	storeID(t, s, &id)
	return session.NewTokens(keys, p.ring, verified, session.Settings{Issuer: "urn:keyreeve:" + id, DefaultValidity: time.Hour, MaxValidity: time.Hour, MaxPerKey: 10,
		Algorithm: session.EdDSA, MaxStale: time.Minute}), keys
}

// unclosed is a store that its cache does not close.
type unclosed struct{ keystore.Store }

func (unclosed) Close() error             { return nil }
func (u unclosed) Unwrap() keystore.Store { return u.Store }

func issue(t testing.TB, s keystore.Store, p place) string {
	t.Helper()
	tokens, keys := tokens(t, s, p)
	defer keys.Close()
	key, err := s.KeyByClientID(t.Context(), "client-5")
	require.NoError(t, err)
	issued, err := tokens.Issue(t.Context(), key, 3+key.Generation, "sec_5", "", "192.0.2.1", p.clock.Now())
	require.NoError(t, err)
	return issued.Token
}

func verifies(t testing.TB, s keystore.Store, p place, token string) {
	t.Helper()
	tokens, keys := tokens(t, s, p)
	defer keys.Close()
	claims, err := tokens.Verify(t.Context(), token, p.clock.Now())
	require.NoError(t, err)
	require.Equal(t, "client-5", claims.Subject)
}

func TestWhateverInterruptsAMoveTheNextOneIsWhole(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			from, to := kind.from(t), kind.to(t)
			a, b := from.open(t), to.open(t)
			fill(t, a, 300)
			untouched := rows(t, b)
			total := 0
			for _, table := range rows(t, a) {
				total += len(table)
			}
			for range 6 {
				ctx, cancel := context.WithCancel(t.Context())
				heard, at := 0, 1+rand.IntN(40)
				_, err := sqlstore.Copy(ctx, a, b, sqlstore.CopyOptions{Sealer: from.ring, Progress: func(sqlstore.CopyProgress) {
					if heard++; heard == at {
						cancel()
					}
				}})
				cancel()
				if err == nil {
					continue // it had nothing left to be interrupted in
				}
				require.ErrorIs(t, err, context.Canceled)
				if got := rows(t, b); len(got["keys"]) == 0 {
					require.Equal(t, untouched, got, "nothing of it is stored")
				}
			}
			move(t, a, b, from.ring)
			require.Equal(t, rows(t, a), rows(t, b))
			require.True(t, move(t, a, b, from.ring).Again)
			require.Equal(t, rows(t, a), rows(t, b))
		})
	}
}

// childEnv makes the test binary a process that moves a store: from, to, and behind how
// many words of progress it kills itself.
const childEnv = "KEYREEVE_TEST_COPY_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		os.Exit(child(strings.Split(job, "\n")))
	}
	os.Exit(m.Run())
}

func TestAProcessThatIsKilledInAMoveLeavesNothingBehind(t *testing.T) {
	for _, kind := range kinds[:2] {
		t.Run(kind.name, func(t *testing.T) {
			from, to := kind.from(t), kind.to(t)
			a := from.open(t)
			fill(t, a, 300)
			for _, words := range []int{3, 10, 25} {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{from.path, from.dsn, to.path, to.dsn, fmt.Sprint(words)}, "\n"))
				out, err := cmd.CombinedOutput()
				var ended *exec.ExitError
				require.ErrorAs(t, err, &ended, string(out))
				require.False(t, ended.Exited(), "it was killed: %s", out)
			}
			b := to.open(t)
			require.Empty(t, rows(t, b)["keys"])
			move(t, a, b, from.ring)
			require.Equal(t, rows(t, a), rows(t, b))
		})
	}
}

var errUnexpected = errors.New("unexpected")

func TestWhatWouldLoseSomethingIsRefused(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			from, to := kind.from(t), kind.to(t)
			a, b := from.open(t), to.open(t)
			fill(t, a, 50)
			refused := func(from, to keystore.Store, why string, o sqlstore.CopyOptions) error {
				t.Helper()
				before, head := rows(t, to), head(t, to)
				_, err := sqlstore.Copy(t.Context(), from, to, o)
				require.ErrorContains(t, err, why)
				require.Equal(t, before, rows(t, to))
				require.Equal(t, head, headOf(t, to))
				return err
			}
			sealed := sqlstore.CopyOptions{Sealer: from.ring}
			refused(a, a, "are one store", sealed)

			other := kind.to(t).open(t)
			_, err := other.Update(t.Context(), func(tx keystore.Tx) error { return tx.PutCustomer(t.Context(), &keystore.Customer{ID: "c", Name: "C"}) })
			require.NoError(t, err)
			refused(a, other, "in use: it has 1 customers", sealed)

			wrote := false
			refused(a, b, "was written to while", sqlstore.CopyOptions{Sealer: from.ring, Progress: func(p sqlstore.CopyProgress) {
				if !wrote {
					wrote = true
					_, err := a.Update(context.Background(), func(tx keystore.Tx) error { return tx.PutKey(context.Background(), fillKey(2_000_000, time.Now())) })
					if err != nil {
						panic(errUnexpected)
					}
				}
			}})

			move(t, a, b, from.ring)
			_, err = a.Update(t.Context(), func(tx keystore.Tx) error { return tx.PutKey(t.Context(), fillKey(3_000_000, time.Now())) })
			require.NoError(t, err)
			require.True(t, move(t, a, b, from.ring).Again, "nobody used the copy")
			require.Equal(t, rows(t, a), rows(t, b))

			require.NoError(t, b.Use(t.Context(), []keystore.Use{{KeyID: "key_1", At: time.Now(), Address: "192.0.2.2"}}))
			refused(a, b, "its keys are not those that were copied", sealed)
			_, err = b.Update(t.Context(), func(tx keystore.Tx) error { return tx.DeleteKey(t.Context(), "key_8") })
			require.NoError(t, err)
			refused(a, b, "that was used since", sealed)

			third := kind.from(t).open(t)
			fill(t, third, 50)
			refused(third, b, "a copy of another store", sealed)
		})
	}
}

func TestAServerOnEitherStoreIsNoticed(t *testing.T) {
	from, to := onSQLite(t), onSQLite(t)
	a, b := from.open(t), to.open(t)
	fill(t, a, 10)
	for _, p := range []place{from, to} {
		server := p.serve(t)
		_, err := sqlstore.Copy(t.Context(), a, b, sqlstore.CopyOptions{Sealer: from.ring})
		require.ErrorIs(t, err, keystore.ErrInUse)
		require.ErrorContains(t, err, p.path)
		require.NoError(t, server.Close())
	}
	opened := make(chan error, 1)
	began := false
	_, err := sqlstore.Copy(t.Context(), a, b, sqlstore.CopyOptions{Sealer: from.ring, Progress: func(sqlstore.CopyProgress) {
		if !began {
			began = true
			go func() {
				s, err := from.server(context.Background())
				if err == nil {
					err = s.Close()
				}
				opened <- err
			}()
		}
		select {
		case err := <-opened:
			panic(fmt.Sprintf("a server came in: %v", err))
		default:
		}
	}})
	require.NoError(t, err)
	require.NoError(t, <-opened, "it waited and came up")
}

func TestATrailThatIsNotProvedMovesOnlyWhereThatIsWanted(t *testing.T) {
	for _, kind := range kinds[:2] {
		t.Run(kind.name, func(t *testing.T) {
			from, to := kind.from(t), kind.to(t)
			a, b := from.open(t), to.open(t)
			fill(t, a, 10)
			ctx := t.Context()
			unsealed, err := sqlstore.Copy(ctx, a, b, sqlstore.CopyOptions{})
			require.NoError(t, err)
			require.Equal(t, sqlstore.TrailLinks, unsealed.Audit.Proved)

			stranger, err := credential.NewKeyring(credential.NewMasterKey())
			require.NoError(t, err)
			_, err = sqlstore.Copy(ctx, a, b, sqlstore.CopyOptions{Sealer: stranger})
			require.ErrorContains(t, err, "which is not held here")

			from.raw(t, "UPDATE audit SET actor_name = 'somebody else' WHERE customer_id = 'globex' AND seq = 3")
			_, err = sqlstore.Copy(ctx, a, b, sqlstore.CopyOptions{Sealer: from.ring})
			require.ErrorContains(t, err, "customer globex")
			_, err = sqlstore.Copy(ctx, a, b, sqlstore.CopyOptions{})
			require.ErrorContains(t, err, "customer globex", "the links tell as much")
			report, err := sqlstore.Copy(ctx, a, b, sqlstore.CopyOptions{Sealer: from.ring, AnyTrail: true})
			require.NoError(t, err)
			require.Equal(t, sqlstore.TrailUnproved, report.Audit.Proved)
			require.Contains(t, report.Audit.Problem, "globex")
			require.Equal(t, rows(t, a), rows(t, b))

			from.raw(t, "DELETE FROM audit WHERE customer_id = 'globex' AND seq > 2")
			_, err = sqlstore.Copy(ctx, a, b, sqlstore.CopyOptions{Sealer: from.ring})
			require.ErrorContains(t, err, "should be", "cut off, and counted")
		})
	}
}

func TestProgressIsToldTableByTable(t *testing.T) {
	a, b := onSQLite(t).open(t), onPostgres(t).open(t)
	fill(t, a, 3000)
	var told []sqlstore.CopyProgress
	report, err := sqlstore.Copy(t.Context(), a, b, sqlstore.CopyOptions{Progress: func(p sqlstore.CopyProgress) { told = append(told, p) }})
	require.NoError(t, err)
	finished := map[string]int{}
	for i, p := range told {
		if i > 0 && told[i-1].Step == p.Step {
			require.GreaterOrEqual(t, p.Done, told[i-1].Done)
		}
		require.LessOrEqual(t, p.Done, p.Total)
		if p.TableDone {
			finished[p.Table+" "+p.Step]++
		}
	}
	for table := range maps.Keys(sqlstore.CopiedColumns(false)) {
		require.Equal(t, 1, finished[table+" "+sqlstore.CopyRows])
		require.Equal(t, 1, finished[table+" "+sqlstore.CopyVerify])
	}
	require.Equal(t, sqlstore.CopyTrail, told[len(told)-1].Step)
	require.Greater(t, len(told), 2*len(finished)/2, "and within large ones")
	require.EqualValues(t, 3000, report.Tables[4].Rows)
}
