package authn

import "time"

// Used notes that a proven caller used its secret, or a token issued for it, for
// the key's last use: see keystore.Cached.Used. It is for the door to call, which
// alone knows the route, and once for each proof.
func (a *Authenticator) Used(r *Result, route string, from Address, since time.Duration) {
	a.keys.Used(r.Key, r.SecretID, route, from, since)
}

// Called counts a request that was decided on for a proven caller: see
// keystore.Cached.Called.
func (a *Authenticator) Called(r *Result) { a.keys.Called(r.Key) }
