package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// zpaKeys is the part of a zpaClient that manages keys. It too knows the public
// description of the modelled product and nothing of this one.
type zpaKeys struct {
	*zpaClient
	t        *testing.T
	customer string
}

// zpaKey is an API key: every number and time is a string, and what is empty or
// false is left out.
type zpaKey struct {
	ID                   string `json:"id,omitempty"`
	Name                 string `json:"name,omitempty"`
	ClientID             string `json:"clientId,omitempty"`
	ClientSecret         string `json:"clientSecret,omitempty"`
	Enabled              bool   `json:"enabled,omitempty"`
	TokenExpiryTimeInSec string `json:"tokenExpiryTimeInSec,omitempty"`
	RoleID               string `json:"roleId,omitempty"`
	IsLocked             bool   `json:"isLocked,omitempty"`
	ReadOnly             bool   `json:"readOnly,omitempty"`
	RestrictedEntity     bool   `json:"restrictedEntity,omitempty"`
	ZscalerManaged       bool   `json:"zscalerManaged,omitempty"`
	PinSessionEnabled    bool   `json:"pinSessionEnabled,omitempty"`
	SyncVersion          string `json:"syncVersion,omitempty"`
	CustomerID           string `json:"customerId,omitempty"`
	CreationTime         string `json:"creationTime,omitempty"`
	ModifiedTime         string `json:"modifiedTime,omitempty"`
	ModifiedBy           string `json:"modifiedBy,omitempty"`
	ScopeID              string `json:"scopeId,omitempty"`
	MicrotenantID        string `json:"microtenantId,omitempty"`
	MicrotenantName      string `json:"microtenantName,omitempty"`
}

// zpaError is the body of a refusal.
type zpaError struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// do calls the API; into is filled from a good answer, the error from a bad one.
func (c *zpaKeys) do(method, path string, query url.Values, body, into any) (status int, failed zpaError) {
	c.t.Helper()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		require.NoError(c.t, err)
		sent = bytes.NewReader(text)
	}
	target := c.base + "/mgmtconfig/v1/admin/customers/" + c.customer + path
	if len(query) > 0 {
		// As the product's own client does.
		target += "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, target, sent)
	require.NoError(c.t, err)
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	if res.StatusCode >= 300 {
		require.Contains(c.t, res.Header.Get("Content-Type"), "application/json", "a body of another type is not read: %s", data)
		require.NoError(c.t, json.Unmarshal(data, &failed), string(data))
		return res.StatusCode, failed
	}
	if into != nil {
		require.NoError(c.t, json.Unmarshal(data, into), string(data))
	}
	return res.StatusCode, failed
}

func (c *zpaKeys) create(k zpaKey) zpaKey {
	c.t.Helper()
	var made zpaKey
	status, failed := c.do("POST", "/apiKeys", nil, k, &made)
	require.Equal(c.t, http.StatusCreated, status, failed)
	return made
}

func (c *zpaKeys) get(id string) (k zpaKey, status int) {
	c.t.Helper()
	status, _ = c.do("GET", "/apiKeys/"+id, nil, nil, &k)
	return k, status
}

// list reads all pages.
func (c *zpaKeys) list(query url.Values) (keys []zpaKey, count string) {
	c.t.Helper()
	for page, pages := 1, 1; page <= pages; page++ {
		var out struct {
			TotalPages string   `json:"totalPages"`
			TotalCount string   `json:"totalCount"`
			List       []zpaKey `json:"list"`
		}
		q := url.Values{"page": {strconv.Itoa(page)}}
		for name, values := range query {
			q[name] = values
		}
		status, failed := c.do("GET", "/apiKeys", q, nil, &out)
		require.Equal(c.t, http.StatusOK, status, failed)
		var err error
		pages, err = strconv.Atoi(out.TotalPages)
		require.NoError(c.t, err)
		keys, count = append(keys, out.List...), out.TotalCount
	}
	return keys, count
}
