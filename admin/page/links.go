package page

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// LinkLifetime is how long a one-time link is good.
	LinkLifetime = 10 * time.Minute
	// maxLinks bounds those that are kept; the oldest goes first.
	maxLinks = 1000
)

// LinkPath is where a one-time link with this code leads.
func LinkPath(code string) string { return loginPath + "/" + code }

// Links are the one-time links that sign in as a key. They live in memory, by the
// hash of their code.
type Links struct {
	now  func() time.Time
	mu   sync.Mutex
	open map[[sha256.Size]byte]link
}

type link struct {
	clientID string
	expires  time.Time
}

// NewLinks has none yet.
func NewLinks(now func() time.Time) *Links {
	return &Links{now: now, open: map[[sha256.Size]byte]link{}}
}

// Make gives out a code for the key with this client ID, good once and for
// LinkLifetime.
func (l *Links) Make(clientID string) (code string) {
	code = rand.Text() + rand.Text()
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	var oldest [sha256.Size]byte
	first := now.Add(2 * LinkLifetime)
	for hash, at := range l.open {
		switch {
		case !now.Before(at.expires):
			delete(l.open, hash)
		case at.expires.Before(first):
			oldest, first = hash, at.expires
		}
	}
	if len(l.open) >= maxLinks {
		delete(l.open, oldest)
	}
	l.open[sha256.Sum256([]byte(code))] = link{clientID: clientID, expires: now.Add(LinkLifetime)}
	return code
}

// Take uses a code up; false if it was, or was never given out, or is too old.
func (l *Links) Take(code string) (clientID string, ok bool) {
	hash := sha256.Sum256([]byte(code))
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.open[hash]
	delete(l.open, hash)
	return at.clientID, ok && l.now().Before(at.expires)
}
