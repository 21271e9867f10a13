package lifecycle

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/policy"
)

func TestAuditEventsNameOnlyWhatIsThereAndMayBeSeen(t *testing.T) {
	h := newHouse(t)
	reader := h.role("Reader", policy.Permissions{"keyreeve/*": policy.View})
	trail := h.role("Trail", policy.Permissions{"keyreeve/audit": policy.View})
	kept, gone := h.key("kept", reader), h.key("gone", trail)
	_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "foreign", RoleID: reader, CustomerID: "umbrella"})
	require.NoError(t, err)
	inside, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "inside", RoleID: reader, CustomerID: "acme", MicrotenantID: Some("emea")})
	require.NoError(t, err)
	_, err = h.DeleteKey(h.ctx, local, gone.ID, nil)
	require.NoError(t, err)
	page, err := h.ListAudit(h.ctx, local, AuditFilter{}, "", Paging{Size: Some(100)})
	require.NoError(t, err)

	of := func(a Actor) AuditNames {
		names, err := h.AuditNames(h.ctx, a, page.Items)
		require.NoError(t, err)
		return names
	}
	everything := of(local)
	require.Len(t, everything.Keys, 3)
	require.NotContains(t, everything.Keys, gone.ID)
	require.Equal(t, map[string]string{reader: "Reader", trail: "Trail"}, everything.Roles)
	require.Equal(t, map[string]string{"acme": "acme", "umbrella": "umbrella"}, everything.Customers)
	require.Equal(t, map[string]map[string]string{"acme": {"emea": "emea", "apac": "apac"}}, everything.Microtenants)

	acme := of(h.actor("reader", reader))
	require.Equal(t, map[string]string{kept.ID: "kept", inside.ID: "inside"}, acme.Keys)
	require.Equal(t, map[string]string{"acme": "acme"}, acme.Customers)
	emea := of(h.actor("reader of emea", reader, func(k *NewKey) { k.MicrotenantID = Some("emea") }))
	require.Equal(t, map[string]string{inside.ID: "inside"}, emea.Keys)
	require.Equal(t, map[string]map[string]string{"acme": {"emea": "emea"}}, emea.Microtenants)
	require.Empty(t, of(h.actor("trail reader", trail)).Keys, "who may not look at keys is told no names")

	_, err = h.AuditNames(h.ctx, h.actor("nobody", h.role("Nothing", policy.Permissions{"keyreeve/keys": policy.View})), page.Items)
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
}
