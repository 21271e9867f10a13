package browser

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// create makes a key of the demo's customer over the admin API.
func (d *demo) create(t *testing.T, body map[string]any) (clientID, secret string) {
	t.Helper()
	made := d.createKey(t, body)
	return made["client_id"].(string), made["client_secret"].(string)
}

// createKey is create, with all that the API answers.
func (d *demo) createKey(t *testing.T, body map[string]any) map[string]any {
	t.Helper()
	if body["customer_id"] == nil {
		body["customer_id"] = d.CustomerID
	}
	if body["role_id"] == nil {
		body["role_id"] = "role_api_read_only"
	}
	return d.api(t, http.MethodPost, "/v1/keys", body)
}

// fill makes keys such as people have.
func (d *demo) fill(t *testing.T) {
	t.Helper()
	soon := time.Now().AddDate(0, 0, 12).UTC().Format(time.RFC3339)
	for i, name := range []string{"Billing export", "Grafana reader", "Terraform", "Nightly backup", "SIEM forwarder", "Jenkins", "Data lake",
		"Mobile gateway", "Partner: Acme", "Incident bot", "Edge probe", "Reporting"} {
		for j, env := range []string{"prod", "dev"} {
			body := map[string]any{"name": name + " (" + env + ")", "labels": map[string]string{"env": env, "team": "a"}}
			switch (2*i + j) % 6 {
			case 0:
				body["description"] = "Runs at the end of each month"
			case 2:
				body["expires_at"] = soon
			case 3:
				body["session_validity_seconds"] = 900
			case 4:
				body["enabled"] = false
			}
			d.create(t, body)
		}
	}
}

// lock shows a wrong secret until the client is locked.
func (d *demo) lock(t *testing.T, clientID string) {
	t.Helper()
	for i := range 3 {
		require.Equal(t, http.StatusUnauthorized, d.call(t, clientID, fmt.Sprintf("wrong-%d", i)))
	}
}
