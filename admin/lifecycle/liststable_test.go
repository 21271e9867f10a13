package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

// crowd makes keys of random values, few enough of each that many share one.
type crowd struct {
	*house
	rand *rand.Rand
	made int
}

// key is another key of acme, not yet stored.
func (c *crowd) key() *keystore.Key {
	c.made++
	at := func() time.Time { return c.clock.Now().Wall.Add(-time.Duration(c.rand.IntN(8)) * time.Hour) }
	name := fmt.Sprintf("%c%c %d", 'a'+rune(c.rand.IntN(26)), 'a'+rune(c.rand.IntN(26)), c.made)
	k := &keystore.Key{ID: fmt.Sprintf("key_%x", c.rand.Uint64()), ClientID: fmt.Sprintf("kr_%x", c.rand.Uint64()), Name: name, CustomerID: "acme",
		RoleID: []string{keystore.RoleReadOnly, keystore.RoleFullAccess}[c.rand.IntN(2)], Enabled: c.rand.IntN(4) > 0,
		MicrotenantID: []string{"", "emea", "apac"}[c.rand.IntN(3)], Created: at(), Modified: at(),
		Labels: map[string]string{"team": fmt.Sprint(c.rand.IntN(2))}, SessionValidity: time.Duration(c.rand.IntN(3)) * time.Minute}
	if c.rand.IntN(2) == 0 {
		k.LastUsed = at()
	}
	if c.rand.IntN(3) == 0 {
		k.ExpiresAt = at().Add(4 * time.Hour)
	}
	return k
}

// put and remove answer what they ran into, for goroutines other than the test's.
func (c *crowd) put(keys ...*keystore.Key) error {
	_, err := c.store.Update(c.ctx, func(tx keystore.Tx) error {
		for _, k := range keys {
			if err := tx.PutKey(c.ctx, k); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func (c *crowd) remove(id string) error {
	_, err := c.store.Update(c.ctx, func(tx keystore.Tx) error { return tx.DeleteKey(c.ctx, id) })
	return err
}

// order is up to four random fields, each either way.
func (c *crowd) order() string {
	fields := keystore.KeySortFields()
	c.rand.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	fields = fields[:1+c.rand.IntN(keystore.MaxSortFields)]
	for i := range fields {
		fields[i] = []string{"", "-"}[c.rand.IntN(2)] + fields[i]
	}
	return strings.Join(fields, ",")
}

// walk lists the ids of all pages; between is called between two of them.
func (c *crowd) walk(f KeyFilter, between func()) (ids []string) {
	c.Helper()
	for range 500 {
		page, err := c.ListKeys(c.ctx, local, f)
		require.NoError(c, err)
		for _, k := range page.Items {
			ids = append(ids, k.ID)
		}
		if page.NextCursor == nil {
			return ids
		}
		f.Cursor = *page.NextCursor
		between()
	}
	require.Fail(c, "the list does not end")
	return nil
}

// churn makes and deletes keys until the walk ends, at least one for each time
// that it says next; it takes none but its own.
func (c *crowd) churn(next <-chan struct{}) error {
	var others []string
	for range next {
		if len(others) > 0 && c.rand.IntN(2) == 0 {
			i := c.rand.IntN(len(others))
			if err := c.remove(others[i]); err != nil {
				return err
			}
			others = slices.Delete(others, i, i+1)
			continue
		}
		k := c.key()
		if err := c.put(k); err != nil {
			return err
		}
		others = append(others, k.ID)
	}
	return nil
}

// While others make and delete keys, whoever walks over all pages sees every key
// that was there throughout once, in its place, whatever the order.
func TestPagesShowEveryKeyThatStaysOnceAndInOrderWhileOthersComeAndGo(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			c := &crowd{house: newHouse(t), rand: rand.New(rand.NewPCG(seed, 0))}
			kept := make([]*keystore.Key, 60)
			for i := range kept {
				kept[i] = c.key()
			}
			require.NoError(t, c.put(kept...))
			f := KeyFilter{Sort: c.order(), Labels: []string{"", "team:1"}[c.rand.IntN(2)], Paging: Paging{Size: Some(MaxPageSize)}}
			staying := c.walk(f, func() { require.Fail(t, "all of them are on one page") })
			require.NotEmpty(t, staying)
			f.Size = Some(1 + c.rand.IntN(7))

			next, ended := make(chan struct{}, 1), make(chan error, 1)
			go func() { ended <- c.churn(next) }()
			listed := c.walk(f, func() { next <- struct{}{} }) // it is at it while the next page is read
			close(next)
			require.NoError(t, <-ended)

			seen := map[string]int{}
			for _, id := range listed {
				seen[id]++
				require.Equal(t, 1, seen[id], "%s is listed once, by %s", id, f.Sort)
			}
			stayed := slices.DeleteFunc(listed, func(id string) bool { return !slices.Contains(staying, id) })
			require.Equal(t, staying, stayed, "by %s", f.Sort)
		})
	}
}
