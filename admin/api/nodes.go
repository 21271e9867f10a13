package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

type listNodesInput struct{ PageParams }

func (a *API) addNodes(h huma.API) {
	register(h, huma.Operation{OperationID: "list-nodes", Method: http.MethodGet, Path: "/v1/nodes", Summary: "List the nodes, by name", Tags: []string{"nodes"},
		Description: "The process that answers. Others that use the same SQLite file are not registered."}, nil, a.listNodes)
}

func (a *API) listNodes(c *call, in *listNodesInput) (*listOutput[lifecycle.Node], error) {
	page, err := a.svc.ListNodes(c.r.Context(), c.actor, lifecycle.NodeFilter{Paging: in.paging()})
	return &listOutput[lifecycle.Node]{Body: page}, err
}
