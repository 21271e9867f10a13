package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// skewAllowed is how far the server's clock may be from this one's before it is
// worth a word: tokens are accepted with a minute of leeway.
const skewAllowed = time.Minute

// examine checks a running server over the admin API. The first finding is about
// reaching it at all; there are more only if it was reached.
func (c *client) examine(ctx context.Context) []Finding {
	const endpoint = "admin endpoint"
	r, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/openapi.json"})
	if err != nil {
		advice := "start the server, or name its admin endpoint with --address; --config checks what it would need"
		if c.console.reach.url != "" {
			advice = "correct --url, or the key in KEYREEVE_CLIENT_ID and KEYREEVE_CLIENT_SECRET"
		}
		return []Finding{{endpoint, StatusFail, err.Error(), advice}}
	}
	all := []Finding{{Check: endpoint, Status: StatusOK, Detail: "the admin API answers at " + c.where}, c.examineClock(r)}
	store, some := c.examineStore(ctx)
	all = append(all, store)
	if store.Status == StatusOK {
		all = append(all, c.examineWriting(ctx, some), c.examineLocks(ctx))
		all = append(all, c.examineNodes(ctx)...)
		all = append(all, c.examineSources(ctx), c.examineAudit(ctx))
	}
	return all
}

func (c *client) examineClock(r *reply) Finding {
	f := Finding{Check: "server clock", Status: StatusOK, Detail: "the server's and this machine's agree"}
	at, err := http.ParseTime(r.date)
	if err != nil { // over a store opened in this process, or a proxy that takes it away
		f.Detail = "the server does not tell its time"
		return f
	}
	skew := c.console.env.Now().Sub(at).Round(time.Second)
	if skew.Abs() > skewAllowed {
		f.Status, f.Detail = StatusWarn, fmt.Sprintf("the server's is %s away from this machine's", skew.Abs())
		f.Advice = "synchronise both by NTP: upstreams refuse tokens from another time"
	}
	return f
}

// examineStore asks for one key, which the store must be read for.
func (c *client) examineStore(ctx context.Context) (Finding, *page) {
	p, err := c.page(ctx, keysPath, url.Values{"page_size": {"1"}})
	f := Finding{Check: "server store", Status: StatusOK}
	var answer *problem
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusForbidden && !answer.foreign:
		f.Status, f.Detail, f.Advice = StatusWarn, "not asked: the key you signed in with may not read keys", "use a key whose role holds keyreeve/keys"
	case err != nil:
		f.Status, f.Detail, f.Advice = StatusFail, err.Error(), "look into the server's log; check its store with --config"
	case p.Total != nil && *p.Total == 0:
		f.Detail = "it answers; there is no key yet, make one with `key create`"
	default:
		f.Detail = fmt.Sprintf("it answers; %s keys", p.total())
	}
	return f, p
}

// examineWriting sends a change that changes nothing: the store takes its turn to
// write for it and writes no row.
func (c *client) examineWriting(ctx context.Context, some *page) Finding {
	f := Finding{Check: "server writing", Status: StatusOK, Detail: "the store takes changes"}
	var k struct {
		ID       string `json:"id"`
		Editable bool   `json:"editable"`
	}
	if len(some.Items) == 0 || json.Unmarshal(some.Items[0], &k) != nil || !k.Editable {
		f.Detail = "not tried: there is no key to try it on"
		return f
	}
	_, err := c.do(ctx, call{method: http.MethodPatch, path: keyPath(k.ID), body: map[string]any{}, merge: true})
	var answer *problem
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusForbidden && !answer.foreign:
		f.Status, f.Detail = StatusWarn, "you may only read here: "+answer.Detail
		f.Advice = "set `local_admin full` and ask over loopback or a socket, or sign in with a key whose role holds keyreeve/keys"
	case errors.As(err, &answer) && answer.Code == codeRestored:
		f.Status, f.Detail, f.Advice = StatusFail, "the key store was restored, and that is not accepted yet", "see `node accept-restore`"
	case err != nil:
		f.Status, f.Detail, f.Advice = StatusFail, err.Error(), "make sure that the store's disk has room and is writable for the server"
	}
	return f
}

// examineLocks tells of locks, which are what callers complain of first.
func (c *client) examineLocks(ctx context.Context) Finding {
	f := Finding{Check: "locks", Status: StatusOK, Detail: "no key is locked"}
	p, err := c.page(ctx, locksPath, url.Values{"page_size": {"1"}})
	switch {
	case err != nil:
		f.Status, f.Detail = StatusWarn, err.Error()
	case p.Total == nil || *p.Total > 0:
		f.Status, f.Detail, f.Advice = StatusWarn, p.total()+" locks are in force", "see `lock list`; end one with `lock unlock`"
	}
	return f
}
