package policy

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAllowGrantsWhatTheMaskOnTheResourceHolds(t *testing.T) {
	t.Parallel()
	names := []string{"*", "apps", "rules", "configuration", OwnPrefix + "keys", OwnPrefix + "*"}
	rapid.Check(t, func(t *rapid.T) {
		mask := rapid.Custom(func(t *rapid.T) Mask { return Mask(rapid.IntRange(0, int(Full)).Draw(t, "mask")) })
		p := Permissions(rapid.MapOfN(rapid.SampledFrom(names), mask, 0, len(names)).Draw(t, "permissions"))
		resource := rapid.SampledFrom([]string{"apps", "rules", "others", OwnPrefix + "keys", OwnPrefix + "roles"}).Draw(t, "resource")
		group := rapid.SampledFrom([]string{"", "configuration"}).Draw(t, "group")
		want := mask.Draw(t, "want")
		require.Equal(t, p.On(resource, group).Has(want), p.Allow(resource, group, want))
	})
}

func TestTheCustomerIsFoundByItsPlaceInThePath(t *testing.T) {
	t.Parallel()
	set, err := Compile(nil, []RouteSpec{
		{Methods: []string{"GET"}, Path: "/v1/customers/{customerId}", Resource: "customers"},
		{Methods: []string{"GET"}, Path: "/v1/customers/{customerId}/apps", Resource: "apps"},
		{Methods: []string{"GET"}, Path: "/{region}/of/{customerId}/apps", Resource: "apps"},
		{Methods: []string{"GET"}, Path: "/{customerId}", Resource: "customers"},
	})
	require.NoError(t, err)
	for path, want := range map[string]string{
		"/v1/customers/c1":         "c1",
		"/v1/customers/c1/apps":    "c1",
		"/eu/of/c1/apps":           "c1",
		"/a-longer-one/of/c1/apps": "c1",
		"/c1":                      "c1",
	} {
		m, reason := set.Match("GET", path, false)
		require.Equal(t, Allowed, reason, path)
		require.Equal(t, want, m.Route.customerIn(path), path)
		require.Equal(t, pathSegment(path, m.Route.customerAt), m.Route.customerIn(path), path)
	}
}

func TestADecisionAllocatesNothing(t *testing.T) {
	set, err := Compile(nil, []RouteSpec{{Methods: []string{"GET"}, Path: "/v1/customers/{customerId}/apps", Resource: "apps"}})
	require.NoError(t, err)
	who := Subject{CustomerID: "c1", Permissions: Permissions{"apps": View}, Microtenant: func(string, string) (enabled, known bool) { return true, true }}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		m, _ := set.Match("GET", "/v1/customers/c1/apps", false)
		if d := set.Decide(m, "/v1/customers/c1/apps", "page=1&microtenantId=m1", who); !d.Allow {
			t.Fatal(d.Reason)
		}
	}))
}
