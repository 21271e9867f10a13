package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/admin/page"
	"github.com/keyreeve/keyreeve/policy"
)

// desk is the page over an office, with somebody signed in at it.
type desk struct {
	*office
	shows  *page.Page
	cookie string
}

// openDesk gives the customer what a large one has: microtenants, roles and saved
// views to choose from.
func openDesk(tb testing.TB) *desk {
	tb.Helper()
	d := &desk{office: openOffice(tb)}
	d.shows = page.New(page.Config{Service: d.service, Door: d, Keyring: d.ring})
	ctx, local := context.Background(), lifecycle.Local("bench", false)
	for i := range 50 {
		_, _, err := d.service.CreateMicrotenant(ctx, local, lifecycle.NewMicrotenant{CustomerID: customer, Name: fmt.Sprintf("Branch %d", i)})
		require.NoError(tb, err)
		_, _, err = d.service.CreateRole(ctx, local, lifecycle.NewRole{Name: fmt.Sprintf("Role %d", i), CustomerID: lifecycle.Some(customer)})
		require.NoError(tb, err)
	}
	// Who may do everything to keys, so that each row offers it.
	role, _, err := d.service.CreateRole(ctx, local, lifecycle.NewRole{Name: "Chief", CustomerID: lifecycle.Some(customer),
		Permissions: policy.Permissions{"keyreeve/*": policy.Full}})
	require.NoError(tb, err)
	d.clerk, _, err = d.service.CreateKey(ctx, local, lifecycle.NewKey{Name: "chief", CustomerID: customer, RoleID: role.ID})
	require.NoError(tb, err)
	form := url.Values{"client_id": {d.clerk.ClientID}, "client_secret": {d.clerk.ClientSecret}}
	r := httptest.NewRequest(http.MethodPost, "/keyreeve/login", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	d.shows.ServeHTTP(w, r)
	require.Equal(tb, http.StatusSeeOther, w.Code, w.Body)
	for _, c := range w.Result().Cookies() {
		if strings.HasSuffix(c.Name, "keyreeve_session") {
			d.cookie = c.Name + "=" + c.Value
		}
	}
	require.NotEmpty(tb, d.cookie)
	return d
}

// The door of the desk: it is the clerk, proven against the store like the API's.
func (d *desk) SignIn(r *http.Request, _, _ string) (page.Session, *api.AuthProblem) {
	a, problem := d.Resume(r, "")
	return page.Session{Token: "token", Actor: a}, problem
}

func (d *desk) Resume(r *http.Request, _ string) (lifecycle.Actor, *api.AuthProblem) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(d.clerk.ClientID, d.clerk.ClientSecret)
	return d.authenticate(r)
}

func (*desk) SessionID(*http.Request, string) string { return "" }
func (*desk) SignOut(*http.Request, string) error    { return nil }
func (*desk) Redeem(*http.Request, string) (page.Session, *api.AuthProblem) {
	return page.Session{}, &api.AuthProblem{Status: http.StatusUnauthorized, Code: page.CodeLinkUsed}
}

// look asks for the page; part asks as htmx does for the list alone.
func (d *desk) look(query string, part bool) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/keyreeve/keys?"+query, nil)
	r.Header.Set("Cookie", d.cookie)
	if part {
		r.Header.Set("HX-Request", "true")
		r.Header.Set("HX-Target", "keys")
	}
	w := httptest.NewRecorder()
	d.shows.ServeHTTP(w, r)
	return w
}

// BenchmarkPageList is a page of 50 out of 100,000 keys as HTML, everything around
// the list included, and the same list from the API. They take turns as in
// BenchmarkAdminList. The page promises to take no more than twice as long.
func BenchmarkPageList(b *testing.B) {
	if testing.Short() {
		b.Skip("100,000 keys")
	}
	d := openDesk(b)
	size := "page_size=" + strconv.Itoa(listedPage)
	for _, c := range d.listCases() {
		values, err := url.ParseQuery(size + "&" + c.query)
		require.NoError(b, err)
		query := values.Encode() // as the page has it, which redirects to it otherwise
		for _, part := range []bool{false, true} {
			b.Run(c.name+map[bool]string{false: "/whole", true: "/part"}[part], func(b *testing.B) {
				var served, shown []time.Duration
				for b.Loop() {
					at := time.Now()
					a := d.get(query)
					served = append(served, time.Since(at))
					at = time.Now()
					p := d.look(query, part)
					shown = append(shown, time.Since(at))
					if a.Code != http.StatusOK || p.Code != http.StatusOK {
						b.Fatal(a.Code, p.Code, p.Header(), p.Body)
					}
					if len(shown) == 1 {
						require.Equal(b, min(listedPage, len(d.page(b, a).Items)), strings.Count(p.Body.String(), `class="key-name"`))
					}
				}
				b.ReportMetric(float64(median(served)), "api-ns")
				b.ReportMetric(float64(median(shown)), "page-ns")
				b.ReportMetric(float64(median(shown))/float64(median(served)), "ratio")
			})
		}
	}
}
