package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

type listNodesInput struct{ PageParams }

type nodesOutput struct {
	Body lifecycle.Nodes
}

// restoredOutput is what was accepted.
type restoredOutput struct {
	Written
	Body lifecycle.StoreRestored
}

const tagNodes = "nodes"

func (a *API) addNodes(h huma.API) {
	tags := []string{tagNodes}
	register(h, huma.Operation{OperationID: "list-nodes", Method: http.MethodGet, Path: "/v1/nodes", Summary: "List the nodes, by name", Tags: tags,
		Description: "The processes that decide on requests. With a SQLite store that is the one that answers: others that use the same file are not registered."}, nil, a.listNodes)
	register(h, huma.Operation{OperationID: "forget-node", Method: http.MethodDelete, Path: "/v1/nodes/{id}", Summary: "Forget a node that will not come back", Tags: tags,
		Description: "Refused with `node_not_fenced` while the node may still serve: accepts_until says until when. One that does come back registers anew."}, nil, a.forgetNode)
	register(h, huma.Operation{OperationID: "accept-restore", Method: http.MethodPost, Path: "/v1/nodes/accept-restore", Summary: "Accept that the key store went back to an earlier state", Tags: tags,
		Description: "After a backup was restored, or a failover lost what it had confirmed, every other write answers 503 `store_restored` until this is done. Look first at what is lost: keys made since are gone, and what was changed since is as it was, but for what was revoked.",
		Metadata:    unnamed}, nil, a.acceptRestore)
}

func (a *API) listNodes(c *call, in *listNodesInput) (*nodesOutput, error) {
	nodes, err := a.svc.ListNodes(c.r.Context(), c.actor, lifecycle.NodeFilter{Paging: in.paging()})
	return &nodesOutput{Body: nodes}, err
}

func (a *API) forgetNode(c *call, in *RecordID) (*writtenOutput, error) {
	commit, err := a.svc.ForgetNode(c.r.Context(), c.actor, in.ID)
	return &writtenOutput{writtenAs(commit)}, err
}

func (a *API) acceptRestore(c *call, _ *struct{}) (*restoredOutput, error) {
	done, commit, err := a.svc.AcceptRestore(c.r.Context(), c.actor)
	return &restoredOutput{Written: writtenAs(commit), Body: done}, err
}
