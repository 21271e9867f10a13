package session

import (
	"errors"
)

// storeURN and the store's own name are the issuer where none is configured.
const storeURN = "urn:keyreeve:"

// errNoIssuer: no issuer is configured, and the store that names one was not met yet.
var errNoIssuer = errors.New("the store, after which tokens are named, was not reached since this process started")

// names are what tokens say of whom they are by and for.
type names struct {
	issuer string
	// audiences are those allowed, the default first.
	audiences []string
}

// names is an error as long as nothing tells the issuer: a node that was started
// without the store takes no token for foreign that is not.
func (t *Tokens) names() (*names, error) {
	if n := t.named.Load(); n != nil {
		return n, nil
	}
	n := &names{issuer: t.settings.Issuer, audiences: t.settings.Audiences}
	if n.issuer == "" {
		id := t.keys.StoreID()
		if id == "" {
			return nil, errNoIssuer
		}
		n.issuer = storeURN + id
	}
	if len(n.audiences) == 0 {
		n.audiences = []string{n.issuer}
	}
	t.named.Store(n)
	return n, nil
}
