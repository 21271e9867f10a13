// Package session issues and verifies access tokens: signed JWTs (RFC 9068) by
// which a client that has shown its secret once calls until they end. A token
// carries no rights: the key it was issued to is looked up on every request, so
// that whatever happens to the key governs its running sessions.
package session
