package caddymodule

import (
	"net/http"
	"net/netip"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/session/authn"
)

// used notes that a proven caller used its secret, and counts the call, whether it
// was let in or not. A gate that only watches leaves no trace.
func (g *Gate) used(r *http.Request, v *verdict) {
	if g.Shadow || !v.proven() {
		return
	}
	route := ""
	if v.Allow {
		route = v.Route.Pattern
	}
	auth := g.app.running.Load().auth
	auth.Used(&v.Result, route, func() netip.Addr { return clientAddress(r) }, v.since)
	auth.Called(&v.Result)
}

// noteFailure tells of what a failed proof brought about: a lock, or the news that
// somebody still has a secret that was retired.
func (a *App) noteFailure(r *http.Request, res *authn.Result) {
	if res.Key == nil {
		return
	}
	a.noteLocks(r, res)
	if res.RetiredUse {
		a.noteRetired(r, res)
	}
}

// noteRetired comes once in ten seconds for a secret, however often it is tried.
func (a *App) noteRetired(r *http.Request, res *authn.Result) {
	from := clientAddress(r).String()
	a.logger.Warn("retired secret used", zap.String("client_id", res.Key.ClientID), zap.String("key_id", res.Key.ID),
		zap.String("secret_id", res.SecretID), zap.String("client_ip", from), traceField(r))
	a.events.emit(eventRetiredUsed, func() map[string]any {
		data := keyData(res.Key)
		data["secret_id"], data["client_ip"] = res.SecretID, from
		return data
	})
}
