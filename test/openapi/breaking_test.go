package openapi

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const small = `{"paths":{"/a":{"get":{
	"parameters":[{"name":"q","in":"query","schema":{"type":"string","enum":["x","y"]}},{"name":"n","in":"query","schema":{"type":"integer","maximum":9}}],
	"responses":{"200":{"headers":{"E":{"schema":{"type":"string"}}},"content":{"application/json":{"schema":{"$ref":"#/components/schemas/R"}}}},"404":{}}},
	"post":{"requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/W"}}}},"responses":{"201":{}}}}},
	"components":{"schemas":{
		"R":{"type":"object","additionalProperties":false,"required":["id"],"properties":{"id":{"type":"string"},"state":{"type":"string","enum":["on"]},"sub":{"type":"array","items":{"$ref":"#/components/schemas/R"}}}},
		"W":{"type":"object","required":["name"],"properties":{"name":{"type":["string","null"],"minLength":1},"old":{"type":"string"}}}}}}`

func TestWhatBreaksAClientIsNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, now, want string }{
		{`"get":{`, `"put":{`, "GET /a is gone"},
		{`"/a"`, `"/b"`, "GET /a is gone"},
		{`"404":{}`, `"410":{}`, "status 404 is gone"},
		{`"name":"q"`, `"name":"p"`, "query parameter q is gone"},
		{`"in":"query","schema":{"type":"string"`, `"in":"query","required":true,"schema":{"type":"string"`, "has become required"},
		{`["x","y"]`, `["x"]`, "value y came or went"},
		{`"enum":["on"]`, `"enum":["on","off"]`, "value off came or went"},
		{`,"state":{"type":"string","enum":["on"]}`, ``, "member state is gone"},
		{`"required":["id"],`, ``, "member id may now be missing"},
		{`"id":{"type":"string"}`, `"id":{"type":["string","null"]}`, "type string has become"},
		{`["string","null"]`, `"string"`, "has become string"},
		{`"required":["name"]`, `"required":["name","old"]`, "member old has become required"},
		{`"minLength":1`, `"minLength":2`, "minLength has been raised"},
		{`"maximum":9`, `"maximum":8`, "maximum has been lowered"},
		{`"headers":{"E"`, `"headers":{"F"`, "header E is gone"},
		{`"content":{"application/json":{"schema":{"$ref":"#/components/schemas/W"`, `"content":{"text/json":{"schema":{"$ref":"#/components/schemas/W"`, "application/json is gone"},
		{`,"old":{"type":"string"}`, ``, "member old is gone"},
		{`"additionalProperties":false`, `"additionalProperties":true`, "additionalProperties changed"},
	} {
		require.Contains(t, small, c.old)
		faults, err := Breaking([]byte(small), []byte(strings.Replace(small, c.old, c.now, 1)))
		require.NoError(t, err)
		require.Contains(t, strings.Join(faults, "\n"), c.want)
	}
}

func TestWhatIsOnlyAddedBreaksNobody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, now string }{
		{`"404":{}`, `"404":{},"409":{}`},
		{`["x","y"]`, `["x","y","z"]`},
		{`"id":{"type":"string"}`, `"id":{"type":"string"},"more":{"type":"integer"}`},
		{`"old":{"type":"string"}`, `"old":{"type":["string","null"]}`},
		{`"minLength":1`, `"minLength":0`},
		{`"paths":{`, `"info":{"title":"other words"},"paths":{"/b":{"get":{"responses":{}}},`},
		{`"id":{"type":"string"}`, `"id":{"type":"string","description":"words"}`},
	} {
		require.Contains(t, small, c.old)
		faults, err := Breaking([]byte(small), []byte(strings.Replace(small, c.old, c.now, 1)))
		require.NoError(t, err)
		require.Empty(t, faults, c.now)
	}
}
