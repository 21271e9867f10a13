package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// listedKeys is the size of a large customer.
	listedKeys = 100_000
	// listedPage is the page that is asked for.
	listedPage = 50
	// lockedKeys of them are locked: a burst of guesses.
	lockedKeys = 200
)

// office is the admin API over a store with one large customer.
type office struct {
	store   *sqlite.Store
	ring    *credential.Keyring
	service *lifecycle.Service
	api     *api.API
	// clerk signs in: a key that may read keys.
	clerk lifecycle.CreatedKey
	began time.Time
}

func openOffice(tb testing.TB) *office {
	tb.Helper()
	ctx := context.Background()
	ring, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(tb, err)
	o := &office{ring: ring, began: time.Now().UTC().Truncate(time.Second)}
	o.store, err = sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(tb.TempDir(), "keyreeve.db"), Clock: keystore.NewSystemClock()})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, o.store.Close()) })
	o.store.SealAudit(ring)
	o.service = lifecycle.New(lifecycle.Config{Store: o.store, Keyring: ring})
	o.api = api.New(o.service, o.authenticate)
	local := lifecycle.Local("bench", false)
	_, _, err = o.service.CreateCustomer(ctx, local, lifecycle.NewCustomer{ID: customer, Name: "Customer"})
	require.NoError(tb, err)
	role, _, err := o.service.CreateRole(ctx, local, lifecycle.NewRole{Name: "Clerk", CustomerID: lifecycle.Some(customer),
		Permissions: policy.Permissions{"keyreeve/keys": policy.View}})
	require.NoError(tb, err)
	o.clerk, _, err = o.service.CreateKey(ctx, local, lifecycle.NewKey{Name: "clerk", CustomerID: customer, RoleID: role.ID})
	require.NoError(tb, err)
	o.fill(tb)
	return o
}

// authenticate proves a secret against the store, without any cache.
func (o *office) authenticate(r *http.Request) (lifecycle.Actor, *api.AuthProblem) {
	denied := &api.AuthProblem{Status: http.StatusUnauthorized, Code: "invalid_client"}
	id, secret, _ := r.BasicAuth()
	k, err := o.store.KeyByClientID(r.Context(), id)
	if err != nil {
		return lifecycle.Actor{}, denied
	}
	verifier, held := o.ring.Verifier(k.Secrets[0].MasterKeyID, o.ring.Digest(secret))
	if !held || !credential.Equal(verifier, k.Secrets[0].Verifier) {
		return lifecycle.Actor{}, denied
	}
	var role *keystore.Role
	err = o.store.View(r.Context(), func(s keystore.Reader) (err error) {
		role, err = s.Role(r.Context(), k.RoleID)
		return err
	})
	if err != nil {
		return lifecycle.Actor{}, denied
	}
	return lifecycle.ForKey(k, role, "192.0.2.1", ""), nil
}

// listedKey is one of many: two roles, fifty teams, a tenth of them disabled, a
// third used, each fifth expired or about to be.
func (o *office) listedKey(i int) *keystore.Key {
	created := o.began.Add(-time.Duration(i*7919%listedKeys) * time.Minute)
	k := &keystore.Key{
		ID: fmt.Sprintf("key_%022d", i), ClientID: fmt.Sprintf("kr_%022d", i), Name: fmt.Sprintf("Key %08d", i*7919%listedKeys),
		Description: fmt.Sprintf("nightly export of team %d", i%50), CustomerID: customer, Enabled: i%10 != 0,
		RoleID: []string{keystore.RoleReadOnly, keystore.RoleFullAccess}[i%2],
		Labels: map[string]string{"team": strconv.Itoa(i % 50), "env": "production"}, Created: created, Modified: created, CreatedBy: "local", ModifiedBy: "local",
		Secrets: []keystore.Secret{{ID: fmt.Sprintf("sec_%022d", i), MasterKeyID: o.ring.CurrentID(), Hint: "abcd", Created: created}},
	}
	if i%3 == 0 {
		k.LastUsed, k.LastUsedAddress = created.Add(time.Minute), "192.0.2.7"
	}
	if i%5 == 0 {
		k.ExpiresAt = o.began.Add(time.Duration(i%1000-100) * time.Hour)
	}
	return k
}

func (o *office) fill(tb testing.TB) {
	tb.Helper()
	ctx := context.Background()
	_, err := o.store.Update(ctx, func(tx keystore.Tx) error {
		for i := range listedKeys {
			if err := tx.PutKey(ctx, o.listedKey(i)); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(tb, err)
	var wrong []keystore.Proof
	for i := range lockedKeys {
		id := o.listedKey(i * (listedKeys / lockedKeys)).ID
		wrong = append(wrong, keystore.Proof{KeyID: id}, keystore.Proof{KeyID: id}, keystore.Proof{KeyID: id})
	}
	_, err = o.store.Count(ctx, policy.DefaultLockout(), wrong)
	require.NoError(tb, err)
}

// listCase is a list by its query string and as the store is asked for it.
type listCase struct {
	name, query string
	bare        keystore.KeyQuery
}

func (o *office) listCases() []listCase {
	yes, team := true, "7"
	half := o.began.Add(-listedKeys / 2 * time.Minute)
	narrow := keystore.KeyQuery{RoleID: keystore.RoleReadOnly, State: keystore.StateActive, Text: "team 1"}
	const narrowQuery = "role_id=" + keystore.RoleReadOnly + "&state=active&q=team+1"
	cases := []listCase{
		{"all", "", keystore.KeyQuery{}},
		{"role", "role_id=" + keystore.RoleReadOnly, keystore.KeyQuery{RoleID: keystore.RoleReadOnly}},
		{"state=active", "state=active", keystore.KeyQuery{State: keystore.StateActive}},
		{"state=locked", "state=locked", keystore.KeyQuery{State: keystore.StateLocked}},
		{"q", "q=team+17", keystore.KeyQuery{Text: "team 17"}},
		{"q_few", "q=key+000999", keystore.KeyQuery{Text: "key 000999"}},
		{"label", "label=team:7", keystore.KeyQuery{Labels: []keystore.LabelFilter{{Name: "team", Value: &team}}}},
		{"never_used", "never_used=true", keystore.KeyQuery{NeverUsed: &yes}},
		{"locked", "locked=true", keystore.KeyQuery{Locked: &yes}},
		{"created_after", "created_after=" + url.QueryEscape(half.Format(time.RFC3339)), keystore.KeyQuery{CreatedAfter: half}},
		{"client_id", "q=" + o.listedKey(5).ClientID, keystore.KeyQuery{Text: o.listedKey(5).ClientID}},
		{"page=1000", "page=1000", keystore.KeyQuery{Offset: 999 * listedPage}},
	}
	for _, field := range keystore.KeySortFields() {
		sort := []keystore.SortField{{Field: field}}
		cases = append(cases, listCase{"sort=" + field, "sort=" + field, keystore.KeyQuery{Sort: sort}})
		q := narrow
		q.Sort = sort
		cases = append(cases, listCase{"role,state,q,sort=" + field, narrowQuery + "&sort=" + field, q})
	}
	both := narrow
	both.Sort = []keystore.SortField{{Field: keystore.SortRoleID}, {Field: keystore.SortCreated, Desc: true}}
	return append(cases, listCase{"role,state,q,sort=role_id,-created_at", narrowQuery + "&sort=role_id,-created_at", both})
}

// BenchmarkAdminList is a page of 50 out of 100,000 keys through the admin API's
// handler, sign-in included, and the same query on the store alone. The two take
// turns, and the medians are compared, so that what disturbs the machine disturbs
// both; ns/op is of the two together.
func BenchmarkAdminList(b *testing.B) {
	o := openOffice(b)
	for _, c := range o.listCases() {
		c.bare.CustomerID, c.bare.Limit = customer, listedPage
		query := "page_size=" + strconv.Itoa(listedPage) + "&" + c.query
		b.Run(c.name, func(b *testing.B) { o.compare(b, query, c.bare) })
	}
	// Far behind the beginning, by a cursor: a page of 500 each, to the middle.
	cursor, last := o.walk(b, listedKeys/2)
	deep := keystore.KeyQuery{CustomerID: customer, Limit: listedPage, After: &last}
	b.Run("cursor", func(b *testing.B) {
		o.compare(b, "page_size="+strconv.Itoa(listedPage)+"&cursor="+url.QueryEscape(cursor), deep)
	})
}

func (o *office) compare(b *testing.B, query string, q keystore.KeyQuery) {
	var bare, served []time.Duration
	want := -1
	for b.Loop() {
		at := time.Now()
		var total int
		err := o.store.View(b.Context(), func(r keystore.Reader) (err error) {
			_, total, err = r.Keys(b.Context(), q)
			return err
		})
		bare = append(bare, time.Since(at))
		if err != nil {
			b.Fatal(err)
		}
		at = time.Now()
		w := o.get(query)
		served = append(served, time.Since(at))
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
		if want < 0 { // both are asked for the same
			want = o.page(b, w).Total
			require.Equal(b, total, want)
		}
	}
	b.ReportMetric(float64(median(bare)), "bare-ns")
	b.ReportMetric(float64(median(served)), "served-ns")
	b.ReportMetric(float64(median(served))/float64(median(bare)), "ratio")
}

func median(of []time.Duration) time.Duration {
	slices.Sort(of)
	return of[len(of)/2]
}

func (o *office) get(query string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/v1/keys?"+query, nil)
	r.SetBasicAuth(o.clerk.ClientID, o.clerk.ClientSecret)
	w := httptest.NewRecorder()
	o.api.ServeHTTP(w, r)
	return w
}

func (o *office) page(tb testing.TB, w *httptest.ResponseRecorder) (p lifecycle.Page[lifecycle.Key]) {
	tb.Helper()
	require.NoError(tb, json.Unmarshal(w.Body.Bytes(), &p))
	return p
}

// walk goes past that many keys, by name, and says where it stands: the API's
// cursor and the store's.
func (o *office) walk(tb testing.TB, keys int) (cursor string, last keystore.Cursor) {
	tb.Helper()
	for past := 0; past < keys; past += lifecycle.MaxPageSize {
		w := o.get("page_size=" + strconv.Itoa(lifecycle.MaxPageSize) + "&cursor=" + url.QueryEscape(cursor))
		require.Equal(tb, http.StatusOK, w.Code, w.Body)
		p := o.page(tb, w)
		end := p.Items[len(p.Items)-1]
		cursor, last = *p.NextCursor, keystore.Cursor{Values: []string{end.Name}, ID: end.ID}
	}
	return cursor, last
}
