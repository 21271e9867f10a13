package endpoint

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/keyreeve/keyreeve/session/authn"
)

// published is how long, in seconds, the metadata and the published keys may be
// kept: far less than a key is known before it signs.
const published = "max-age=300"

// serverMetadata is RFC 8414 section 2, of what there is.
type serverMetadata struct {
	Issuer        string `json:"issuer"`
	Token         string `json:"token_endpoint"`
	Introspection string `json:"introspection_endpoint"`
	Revocation    string `json:"revocation_endpoint"`
	JWKS          string `json:"jwks_uri"`
	// Required, and empty: there is no authorization endpoint to ask at. (Section
	// 3.2 would leave out empty lists, but not those that are required.)
	ResponseTypes     []string `json:"response_types_supported"`
	GrantTypes        []string `json:"grant_types_supported"`
	TokenAuth         []string `json:"token_endpoint_auth_methods_supported"`
	IntrospectionAuth []string `json:"introspection_endpoint_auth_methods_supported"`
	RevocationAuth    []string `json:"revocation_endpoint_auth_methods_supported"`
}

func newMetadata(issuer string) []byte {
	methods := []string{"client_secret_basic", "client_secret_post"}
	data, _ := json.Marshal(serverMetadata{ // strings always marshal
		Issuer: issuer, Token: issuer + pathToken, Introspection: issuer + pathIntrospect, Revocation: issuer + pathRevoke,
		JWKS: issuer + pathJWKS, ResponseTypes: []string{}, GrantTypes: []string{"client_credentials"},
		TokenAuth: methods, IntrospectionAuth: append(slices.Clone(methods), tokenType), RevocationAuth: methods,
	})
	return data
}

func (c *call) serverMetadata() {
	c.publish("application/json", published, c.metadata)
}

var emptySet = []byte(`{"keys":[]}`)

// jwks is the published keys. An empty set may not be kept: the first key signs
// as soon as it is made.
func (c *call) jwks() {
	keys, err := c.Tokens.JWKS()
	if err != nil {
		c.fail(*c.failed(authn.Result{}, err))
		return
	}
	cache := published
	if bytes.Equal(keys, emptySet) {
		cache = "no-store"
	}
	c.publish("application/jwk-set+json", cache, keys)
}

func (c *call) publish(contentType, cache string, body []byte) {
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", cache)
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(body) // the client may be gone
}
