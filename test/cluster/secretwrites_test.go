package cluster

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/test/linear"
)

// maxSecrets is how many a history has room for: one bit each.
const maxSecrets = 7

// killedGate is in place of a node that none of the gates was in the beginning: one that is
// killed and comes again, or the row of the one before it.
const killedGate = -1

// write does one thing with the key's secrets, and reports whether there is more to do.
func (h *secretHistory) write() bool {
	g := rand.IntN(len(h.c.gates))
	path := "/v1/keys/" + h.key.id
	h.mu.Lock()
	made := len(h.secrets)
	h.mu.Unlock()
	switch p := rand.IntN(10); {
	case p < 4 && made < maxSecrets:
		return h.add(g)
	case p < 7:
		n := rand.IntN(made)
		id := h.key.secretID
		if n > 0 {
			id = h.ids[n-1]
		}
		return h.done(linear.SecretCall{Kind: linear.Retire, Gate: g, Secret: n}, "DELETE", path+"/secrets/"+id+"?force=true", nil)
	case p < 8:
		return h.done(linear.SecretCall{Kind: linear.Disable, Gate: g}, "PATCH", path, map[string]any{"enabled": false})
	default:
		return h.done(linear.SecretCall{Kind: linear.Enable, Gate: g}, "PATCH", path, map[string]any{"enabled": true})
	}
}

// add makes a secret beside those there are. Nobody knows one whose answer was lost.
func (h *secretHistory) add(gate int) bool {
	began := time.Now()
	a, err := h.c.gates[gate].tryAPI("POST", "/v1/keys/"+h.key.id+"/secrets", map[string]any{"previous_expires_in": nil})
	if err != nil || a.status >= http.StatusInternalServerError || a.status == http.StatusConflict {
		return true // also where there are two already
	}
	var got struct {
		ClientSecret string `json:"client_secret"`
		Secret       struct {
			ID string `json:"id"`
		} `json:"secret"`
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.ClientSecret == "" {
		h.fail(fmt.Errorf("gate %s: a new secret: %d", h.c.gates[gate].name, a.status))
		return false
	}
	h.mu.Lock()
	h.secrets, h.ids = append(h.secrets, got.ClientSecret), append(h.ids, got.Secret.ID)
	n := len(h.secrets) - 1
	h.mu.Unlock()
	h.note(linear.SecretCall{Kind: linear.Add, Gate: gate, Secret: n, Got: linear.Done, Began: h.clock.at(began), Ended: h.clock.at(a.ended)})
	return true
}

// done does it, and notes what was answered.
func (h *secretHistory) done(call linear.SecretCall, method, path string, body any) bool {
	began := time.Now()
	a, err := h.c.gates[call.Gate].tryAPI(method, path, body)
	call.Began, call.Ended, call.Got = h.clock.at(began), h.clock.at(time.Now()), linear.Done
	switch {
	case err != nil, a.status >= http.StatusInternalServerError:
		call.Got = linear.Open
	case a.status == http.StatusAccepted:
		var told struct {
			Pending []struct {
				NodeID string    `json:"node_id"`
				Until  time.Time `json:"accepts_until"`
			} `json:"pending"`
		}
		if err := json.Unmarshal([]byte(a.body), &told); err != nil {
			h.fail(err)
			return false
		}
		for _, p := range told.Pending {
			gate, known := h.nodes[p.NodeID]
			if !known {
				gate = killedGate
			}
			call.Pending, call.Until = append(call.Pending, gate), max(call.Until, h.clock.at(p.Until))
		}
	case a.status == http.StatusNotFound, a.status == http.StatusConflict: // over already
		return true
	case a.status != http.StatusOK && a.status != http.StatusNoContent:
		h.fail(fmt.Errorf("gate %s: %s %s: %d %s", h.c.gates[call.Gate].name, method, path, a.status, a.body))
		return false
	}
	h.note(call)
	return true
}
