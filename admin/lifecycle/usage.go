package lifecycle

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// KeyUsage is how often a key was called of late. What counts as a call is
// keystore.Cached.Called's to say: a request to the upstreams with this key proven,
// let in or refused by the route, the tenant or the role.
type KeyUsage struct {
	Calls24h int64       `json:"calls_24h" doc:"Calls in all of the hours listed."`
	Hours    []HourCalls `json:"hours" nullable:"false" doc:"The last 24 hours by the clock in UTC, oldest first; the last one is still going on."`
}

// HourCalls is how often a key was used within one hour.
type HourCalls struct {
	From  time.Time `json:"from" doc:"Beginning of the hour."`
	Calls int64     `json:"calls"`
}

// usageHours is how many hours KeyUsage shows, the current one included.
const usageHours = 24

// KeyUsage shows how often a key was called in each of the last hours, over all
// nodes: what they have stored, which is all but the last ten seconds or so.
func (s *Service) KeyUsage(ctx context.Context, a Actor, keyID string) (KeyUsage, error) {
	var out KeyUsage
	err := s.view(ctx, a, func(o *op) error {
		if _, err := o.key(keyID, ResourceKeys, policy.Read); err != nil {
			return err
		}
		first := o.now.Wall.UTC().Truncate(time.Hour).Add(-(usageHours - 1) * time.Hour)
		out = KeyUsage{Hours: make([]HourCalls, usageHours)}
		for i := range out.Hours {
			out.Hours[i].From = first.Add(time.Duration(i) * time.Hour)
		}
		calls, err := o.r.Calls(o.ctx, keyID, first)
		for _, c := range calls {
			// A clock that was set back leaves hours that are still to come.
			if i := int(c.Hour.Sub(first) / time.Hour); i < usageHours {
				out.Hours[i].Calls += c.Calls
				out.Calls24h += c.Calls
			}
		}
		return err
	})
	return out, err
}
