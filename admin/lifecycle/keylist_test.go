package lifecycle

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func (h *house) list(a Actor, f KeyFilter) []string {
	h.Helper()
	page, err := h.ListKeys(h.ctx, a, f)
	require.NoError(h, err)
	names := make([]string, 0, len(page.Items))
	for _, k := range page.Items {
		names = append(names, k.Name)
	}
	require.Equal(h, len(names), page.Total)
	return names
}

func TestKeysAreFilteredByEverythingTheyShow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	make := func(name string, change func(*NewKey)) CreatedKey {
		in := NewKey{Name: name, RoleID: keystore.RoleReadOnly, CustomerID: "acme"}
		change(&in)
		k, _, err := h.CreateKey(h.ctx, local, in)
		require.NoError(t, err)
		h.clock.Advance(time.Hour)
		return k
	}
	start := h.clock.Now().Wall
	hour := func(n int) Optional[time.Time] { return Some(start.Add(time.Duration(n) * time.Hour)) }
	prod := make("prod", func(k *NewKey) { k.Labels = map[string]string{"env": "prod", "team": "a,b:c"} })
	test := make("test", func(k *NewKey) {
		k.Labels = map[string]string{"env": "test", "path": `x\y`}
		k.ExpiresAt = hour(50)
	})
	make("emea", func(k *NewKey) { k.MicrotenantID = Some("emea"); k.ExpiresAt = hour(100) })
	off := make("off", func(k *NewKey) { k.Enabled = Some(false) })
	h.external("theirs", keystore.RoleReadOnly)
	h.use(prod.ID, prod.Secrets[0].ID)
	for _, id := range []string{test.ID, off.ID} {
		for range 3 {
			_, err := h.store.Count(h.ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: id}})
			require.NoError(t, err)
		}
	}
	for name, c := range map[string]struct {
		f    KeyFilter
		want []string
	}{
		"a label's value":           {KeyFilter{Labels: "env:prod"}, []string{"prod"}},
		"any value":                 {KeyFilter{Labels: "env"}, []string{"prod", "test"}},
		"two labels":                {KeyFilter{Labels: "env,team"}, []string{"prod"}},
		"two that none has":         {KeyFilter{Labels: "env:test,team"}, nil},
		"a comma and colon in it":   {KeyFilter{Labels: `team:a\,b:c`}, []string{"prod"}},
		"a backslash in it":         {KeyFilter{Labels: `path:x\\y`}, []string{"test"}},
		"an empty value":            {KeyFilter{Labels: "env:"}, nil},
		"created after":             {KeyFilter{CreatedAfter: hour(1)}, []string{"emea", "off", "theirs"}},
		"created before":            {KeyFilter{CreatedBefore: hour(1)}, []string{"prod"}},
		"created between":           {KeyFilter{CreatedAfter: hour(0), CreatedBefore: hour(2)}, []string{"test"}},
		"expires before":            {KeyFilter{ExpiresBefore: hour(100)}, []string{"test"}},
		"never used":                {KeyFilter{NeverUsed: Some(true)}, []string{"emea", "off", "test", "theirs"}},
		"used":                      {KeyFilter{NeverUsed: Some(false)}, []string{"prod"}},
		"locked, disabled ones too": {KeyFilter{Locked: Some(true)}, []string{"off", "test"}},
		"not locked":                {KeyFilter{Locked: Some(false)}, []string{"emea", "prod", "theirs"}},
		"state locked":              {KeyFilter{State: "locked"}, []string{"test"}},
		"of a source":               {KeyFilter{Source: "idp"}, []string{"theirs"}},
		"of none":                   {KeyFilter{Source: FilterNull}, []string{"emea", "off", "prod", "test"}},
		"of a microtenant":          {KeyFilter{MicrotenantID: "emea"}, []string{"emea"}},
		"at customer level":         {KeyFilter{MicrotenantID: FilterNull}, []string{"off", "prod", "test", "theirs"}},
		"by two fields":             {KeyFilter{Sort: "-enabled,-name"}, []string{"theirs", "test", "prod", "emea", "off"}},
		"by expiry, none first":     {KeyFilter{Sort: "expires_at,name"}, []string{"off", "prod", "theirs", "test", "emea"}},
	} {
		require.Equal(t, append([]string{}, c.want...), h.list(local, c.f), name)
	}
	inside := h.actor("inside", h.role("Reader", policy.Permissions{"keyreeve/keys": policy.View}), func(k *NewKey) { k.MicrotenantID = Some("emea") })
	require.Empty(t, h.list(inside, KeyFilter{MicrotenantID: FilterNull}), "the customer level is not a microtenant's to see")
	require.Equal(t, []string{"emea", "inside"}, h.list(inside, KeyFilter{}))
}

func TestAFilterThatMeansNothingIsRefusedByName(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		f           KeyFilter
		field, code string
	}{
		{KeyFilter{Labels: "-x"}, "label", FieldFormat},
		{KeyFilter{Labels: "env:a,"}, "label", FieldFormat},
		{KeyFilter{Labels: ":a"}, "label", FieldFormat},
		{KeyFilter{Labels: `env:a\`}, "label", FieldFormat},
		{KeyFilter{Labels: "env:\x1b"}, "label", FieldFormat},
		{KeyFilter{Labels: strings.Repeat("a,", MaxLabels) + "a"}, "label", FieldTooMany},
		{KeyFilter{CreatedAfter: Some(time.Time{})}, "created_after", FieldRange},
		{KeyFilter{CreatedBefore: Some(time.Unix(-1, 0))}, "created_before", FieldRange},
		{KeyFilter{ExpiresBefore: Some(lastTime.Add(1))}, "expires_before", FieldRange},
		{KeyFilter{ExpiresBefore: Some(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))}, "expires_before", FieldRange},
		{KeyFilter{Sort: "secret"}, "sort", FieldFormat},
		{KeyFilter{Sort: "name,name"}, "sort", FieldFormat},
		{KeyFilter{Sort: "name,-name"}, "sort", FieldFormat},
		{KeyFilter{Sort: "name,"}, "sort", FieldFormat},
		{KeyFilter{Sort: "name,client_id,created_at,role_id,source"}, "sort", FieldFormat},
		{KeyFilter{State: "happy"}, "state", FieldFormat},
	} {
		_, err := h.ListKeys(h.ctx, local, c.f)
		requireInvalid(t, err, c.field, c.code)
	}
}

// Every field of the filter, one added later too, binds the cursor.
func TestACursorIsBoundToEveryFieldOfTheFilter(t *testing.T) {
	t.Parallel()
	var zero KeyFilter
	v := reflect.ValueOf(&zero).Elem()
	seen := [][]string{zero.scope()}
	for i := range v.NumField() {
		f := KeyFilter{}
		field := reflect.ValueOf(&f).Elem().Field(i)
		if v.Type().Field(i).Name == "Paging" {
			f.Paging = Paging{Size: Some(3), Number: Some(2), Cursor: "x"}
			require.Equal(t, zero.scope(), f.scope(), "the page is no part of it")
			continue
		}
		switch x := field.Addr().Interface().(type) {
		case *string:
			*x = "x"
		case *Optional[bool]:
			*x = Some(false)
		case *Optional[time.Time]:
			*x = Some(time.Unix(1, 0))
		default:
			require.Fail(t, "a kind of filter that this test does not know", "%s %T", v.Type().Field(i).Name, x)
		}
		require.False(t, slices.ContainsFunc(seen, func(s []string) bool { return slices.Equal(s, f.scope()) }), v.Type().Field(i).Name)
		seen = append(seen, f.scope())
	}
}
