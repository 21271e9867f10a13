package keystore_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// nodeChildEnv makes the test binary a node with its files in the directory it names.
const nodeChildEnv = "KEYREEVE_TEST_NODE_CHILD"

// nodeChild revokes and locks keys, and says so of each once that would be confirmed, or
// is answered, until it is killed.
func nodeChild(dir string) error {
	ctx := context.Background()
	master, err := credential.ReadMasterKeyFile(filepath.Join(dir, "master.key"))
	if err != nil {
		return err
	}
	keys, err := credential.NewKeyring(master)
	if err != nil {
		return err
	}
	clock := keystore.NewSystemClock()
	s, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(dir, "keys.db"), Clock: clock})
	if err != nil {
		return err
	}
	s.SealAudit(storetest.NewSealer("mk"))
	c, err := keystore.OpenCachedFrom(ctx, s, clock, keystore.CachedOptions{Sizes: sizes, NodeID: credential.NewID("node"),
		Snapshot: &keystore.SnapshotOptions{Path: filepath.Join(dir, "snapshot"), Sealer: keys, MaxStale: maxStale}}, zap.NewNop())
	if err != nil {
		return err
	}
	for {
		id := credential.NewClientID()
		if _, err := c.Update(ctx, func(tx keystore.Tx) error { return putKey(ctx, tx, id, true) }); err != nil {
			return err
		}
		if _, _, err := c.Look(ctx, id, clock.Now()); err != nil {
			return err
		}
		if rand.N(3) == 0 {
			c.RewriteSnapshot()
		}
		switch rand.N(3) {
		case 0:
			rev, err := c.Update(ctx, func(tx keystore.Tx) error { return disable(ctx, tx, id) })
			if err != nil {
				return err
			}
			if rand.N(2) == 0 { // read again, as it is by then
				_, _, _ = c.Look(ctx, id, clock.Now())
			}
			if err := c.Durable(rev); err != nil {
				return err
			}
			fmt.Println("revoked", id)
		case 1:
			for i := range 3 {
				c.Fail(policy.DefaultLockout(), keystore.Attempt{KeyID: "key_" + id, Fingerprint: uint64(i + 1)})
			}
			fmt.Println("locked", id)
		default:
			if err := c.Durable(c.Position()); err != nil {
				return err
			}
			fmt.Println("good", id)
		}
	}
}

// TestWhatWasConfirmedIsRefusedAfterAKillAndAStartWithoutTheStore kills a node at any
// moment, 50 times over.
func TestWhatWasConfirmedIsRefusedAfterAKillAndAStartWithoutTheStore(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	dir := fastDir(t)
	master, err := credential.CreateMasterKeyFile(filepath.Join(dir, "master.key"))
	require.NoError(t, err)
	n := &node{t: t, db: filepath.Join(dir, "keys.db"), file: filepath.Join(dir, "snapshot"), clock: keystore.NewSystemClock(), sealer: ring(t, master)}
	s := n.reach()
	ctx := t.Context()
	_, err = s.Update(ctx, func(tx keystore.Tx) error {
		return tx.PutCustomer(ctx, &keystore.Customer{ID: "c1", Name: "One", Enabled: true})
	})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	said := map[string][]string{}
	served, total := 0, 0
	for range rounds {
		for _, line := range killedNode(t, dir, rand.N(60*time.Millisecond)) {
			what, id, _ := strings.Cut(line, " ")
			said[what] = append(said[what], id)
		}
		c := n.start(n.lost())
		require.Empty(t, n.whyRefused())
		for _, id := range said["revoked"] {
			require.False(t, n.serves(c, id), "%s was confirmed to be revoked", id)
		}
		for _, id := range said["locked"] {
			require.Positive(t, c.Locked(policy.DefaultLockout(), "key_"+id, netip.Prefix{}, n.clock.Now()), "%s was locked", id)
		}
		// Those of this round; what was read in earlier ones may have been left unread since.
		for _, id := range said["good"] {
			total++
			if n.serves(c, id) {
				served++
			}
		}
		clear(said)
		n.close(c)
	}
	require.Positive(t, total)
	t.Logf("of %d keys that were good, %d are known after the start", total, served)
	require.GreaterOrEqual(t, served, total*9/10, "a start knows the keys")
}

// killedNode runs a node until a while after it said something first, and is what it said.
func killedNode(t *testing.T, dir string, after time.Duration) (lines []string) {
	cmd := exec.Command(os.Args[0], strconv.Itoa(os.Getpid()))
	cmd.Env = append(os.Environ(), nodeChildEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	in := bufio.NewReader(out)
	killed := make(chan struct{})
	for {
		line, err := in.ReadString('\n')
		if err != nil { // half a line was not said
			require.ErrorIs(t, err, io.EOF)
			break
		}
		if lines = append(lines, strings.TrimSpace(line)); len(lines) == 1 {
			go func() {
				defer close(killed)
				time.Sleep(after)
				_ = cmd.Process.Kill()
			}()
		}
	}
	require.NotEmpty(t, lines, "the node ended by itself")
	<-killed
	_ = cmd.Wait()
	return lines
}
