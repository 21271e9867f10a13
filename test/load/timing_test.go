package load

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

// within is how far apart the medians of two kinds of refusal may be.
const within = time.Millisecond

var requestID = regexp.MustCompile(`"request_id":"[^"]*"`)

// refusal is an answer as its caller sees it, less what is of each request alone, and how
// long it took.
func (g *gate) refusal(t *testing.T, client *http.Client, credential string) (string, time.Duration) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.plain+g.path, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", credential)
	began := time.Now()
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	took := time.Since(began)
	resp.Header.Del("Date")
	return fmt.Sprint(resp.StatusCode, resp.Header, requestID.ReplaceAllString(string(body), `"request_id":""`)), took
}

// TestTimingTellsNothing asks with a client that is unknown, disabled, expired or locked and
// with a wrong secret, in turns: the answers are the same to the byte. With KEYREEVE_SOAK=20
// each is asked 5,000 times and their medians are compared.
//
// Case: lockout-same-answer
func TestTimingTellsNothing(t *testing.T) {
	g := newGate(t)
	client := &http.Client{Timeout: proctest.Patience, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	wrong, disabled, expired, locked := g.create(t, "wrong"), g.create(t, "disabled"), g.create(t, "expired"), g.create(t, "locked")
	var edited struct {
		State string `json:"state"`
	}
	g.api(t, "PATCH", "/v1/keys/"+disabled.ID, `{"enabled":false}`, &edited)
	require.Equal(t, "disabled", edited.State)
	g.api(t, "PATCH", "/v1/keys/"+expired.ID, fmt.Sprintf(`{"expires_at":%q}`, time.Now().Add(2*time.Second).UTC().Format(time.RFC3339)), &edited)
	g.until(t, "the key expires", func() bool {
		g.api(t, "GET", "/v1/keys/"+expired.ID, "", &edited)
		return edited.State == "expired"
	})
	g.lockUp(t, locked)
	kinds := []struct {
		name       string
		credential func() string
	}{
		{"unknown", func() string { return basic("kr_"+rand.Text()[:20], wrong.Secret) }},
		{"wrong", func() string { return basic(wrong.ClientID, locked.Secret) }},
		{"disabled", disabled.basic},
		{"expired", expired.basic},
		{"locked", locked.basic},
	}
	samples := 10
	if soaking() > 1 {
		samples = 250 * soaking()
	}
	took := make([][]time.Duration, len(kinds))
	for range samples {
		first := ""
		for i, kind := range kinds {
			answer, d := g.refusal(t, client, kind.credential())
			took[i] = append(took[i], d)
			if first == "" {
				first = answer
			}
			require.Equal(t, first, answer, kind.name)
		}
		require.Contains(t, first, `"code":"invalid_client"`)
		require.Equal(t, http.StatusOK, g.status(t, wrong.basic()), "a success clears the count, so that the next failure is compared again")
	}
	var medians []time.Duration
	for i, kind := range kinds {
		slices.Sort(took[i])
		medians = append(medians, took[i][samples/2])
		t.Logf("%s: median %s", kind.name, medians[i])
	}
	if soaking() > 1 {
		require.LessOrEqual(t, slices.Max(medians)-slices.Min(medians), within, "%v", medians)
	}
}
