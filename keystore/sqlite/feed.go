package sqlite

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

// Head is the newest revision. While no other connection has committed, SQLite
// says so from shared memory and the answer of last time stands.
func (s *Store) Head(ctx context.Context) (keystore.Revision, error) {
	if err := s.Enter(); err != nil {
		return 0, err
	}
	defer s.Leave()
	if err := s.inPlace(); err != nil {
		return 0, err
	}
	c, err := s.feed.get(ctx)
	if err != nil {
		return 0, err
	}
	defer s.feed.put(c)
	// As in KeyByClientID: too short to be worth watching ctx.
	ctx = context.WithoutCancel(ctx)
	var version int64
	if err := c.value(ctx, &version, "PRAGMA data_version"); err != nil {
		return 0, err
	}
	if c.head.known && c.head.version == version {
		return c.head.head, nil
	}
	// Read after the version: what is committed between the two makes the next
	// version differ, and the head is read again.
	var head keystore.Revision
	if err := c.value(ctx, &head, "SELECT head FROM state"); err != nil {
		return 0, err
	}
	c.head = headReading{known: true, version: version, head: head}
	return head, nil
}
