package api

import (
	"fmt"
	"testing"
)

func TestSmoke(t *testing.T) {
	w := newWorld(t)
	show := func(a answer) { fmt.Println(a.status, a.header, a.raw) }
	show(w.do(w.admin, "GET", "/v1/keys?page_size=2", ""))
	show(w.do(w.admin, "POST", "/v1/keys", `{"name":"x","role_id":"`+w.viewerRole+`","labels":{"a":"b"},"expires_at":"2027-01-01T00:00:00Z","allowed_cidrs":["10.0.0.0/8"]}`))
	show(w.do(w.admin, "POST", "/v1/keys", `{"name":"x","role_id":"`+w.viewerRole+`"}`))
	show(w.do(w.admin, "GET", "/v1/keys?page_size=a&page=2x", ""))
	show(w.do(w.admin, "GET", "/v1/keys?page_size=0", ""))
	show(w.do(w.admin, "GET", "/v1/roles", ""))
	show(w.do(w.admin, "DELETE", "/v1/keys/"+w.bystander.ID+"/lock", ""))
	show(w.do(w.admin, "GET", "/v1/openapi.json", ""))
}
