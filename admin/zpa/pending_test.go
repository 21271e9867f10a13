package zpa

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func TestADeletionThatANodeHasYetToConfirmIs204AndSaysSoInItsHeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.key(lifecycle.NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	nodes := storetest.WithNodes(w.store)
	nodes.Put(keystore.Registered{Registration: keystore.Registration{ID: "node_1", Position: 1 << 40}, Left: time.Minute},
		keystore.Registered{Registration: keystore.Registration{ID: "node_2"}, Left: time.Minute})
	server := httptest.NewServer(New(lifecycle.New(lifecycle.Config{Store: nodes, Keyring: w.ring, Propagation: nodes.Propagate}), w.authenticate))
	t.Cleanup(server.Close)
	w.url = server.URL
	a := w.do(w.admin, "DELETE", "/mgmtconfig/v1/admin/customers/acme/apiKeys/"+k.ID, "")
	require.Equal(t, 204, a.status)
	require.Equal(t, "confirmed=1; pending=1", a.header.Get("Keyreeve-Propagation"))
	require.Equal(t, []time.Duration{2 * time.Second}, nodes.Waits())

	nodes.Restore(keystore.Restore{})
	a = w.do(w.admin, "DELETE", "/mgmtconfig/v1/admin/customers/acme/apiKeys/"+k.ID, "")
	require.Equal(t, 503, a.status)
	require.Equal(t, "store.restored", a.body["id"])
}
