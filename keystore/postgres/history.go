package postgres

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

// HeadStamp is the newest revision and its mark.
func (s *Store) HeadStamp(ctx context.Context) (keystore.Revision, keystore.Stamp, error) {
	return s.StampedHead(ctx)
}

// Follow is what follows on a revision for whoever saw its mark.
func (s *Store) Follow(ctx context.Context, after keystore.Revision, seen keystore.Stamp) (keystore.News, error) {
	return s.FollowFrom(ctx, after, seen)
}

var _ keystore.Historian = (*Store)(nil)
