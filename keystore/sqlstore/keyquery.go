package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// activeKey is keystore.Key.Active in SQL.
const activeKey = "(k.enabled AND NOT k.disabled_here)"

// Keys lists one page of the matching keys and counts them all.
func (r *reader) Keys(ctx context.Context, q keystore.KeyQuery) ([]*keystore.Key, int, error) {
	l, err := r.keyList(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	keys, total, err := page(ctx, r, l, place{after: q.After, offset: q.Offset, limit: q.Limit}, scanKey)
	if err != nil {
		return nil, 0, err
	}
	return keys, total, r.addSecrets(ctx, keys)
}

func (r *reader) keyList(ctx context.Context, q keystore.KeyQuery) (listing, error) {
	order, err := keyOrder(q)
	if err != nil {
		return listing{}, err
	}
	match, err := r.keyConditions(ctx, q)
	if err != nil {
		return listing{}, err
	}
	given, err := r.asOf(ctx, q)
	return listing{given: given, columns: keyColumns, from: "keys k", row: r.dialect.KeyRow, match: match, rare: q.Text != "" || len(q.Labels) > 0, order: order}, err
}

func (r *reader) keyConditions(ctx context.Context, q keystore.KeyQuery) (conditions, error) {
	var c conditions
	if q.CustomerID == "" && !q.AllCustomers {
		return c, errors.New("a key query must name its customer or ask for all")
	}
	c.equal("k.customer_id", q.CustomerID)
	c.equal("k.microtenant_id", q.MicrotenantID)
	if q.CustomerLevel {
		c.add("k.microtenant_id = ''")
	}
	c.equal("k.role_id", q.RoleID)
	c.equal("k.source", q.Source)
	if q.OwnOnly {
		c.add("k.source = ''")
	}
	c.equal("k.name", q.Name)
	c.equal("k.id", q.ID)
	c.equal("k.client_id", q.ClientID)
	if q.Text != "" {
		// Not LIKE: that would read % and _ as wildcards and fold ASCII only.
		c.add(r.dialect.Contains+"(k.search, ?) > 0", fold(q.Text))
	}
	for _, l := range q.Labels {
		if err := c.label(r.dialect, l); err != nil {
			return c, err
		}
	}
	c.keyTimes(q)
	return c, r.keyState(ctx, q, &c)
}

// label asks for a label. No path into the object: a label's name may hold what
// means something there. Its text is looked for first, which spares reading most
// objects.
func (c *conditions) label(d *Dialect, l keystore.LabelFilter) error {
	text := d.Contains + "(k.labels, ?) > 0 AND "
	name, err := json.Marshal(l.Name) // as encodeLabels writes it
	if err != nil {
		return err
	}
	if l.Value == nil {
		c.add(text+d.Label, string(name)+":", l.Name)
		return nil
	}
	value, err := json.Marshal(*l.Value)
	if err != nil {
		return err
	}
	c.add(text+d.LabelValue, string(name)+":"+string(value), l.Name, *l.Value)
	return nil
}

// keyTimes asks for what a query says of times.
func (c *conditions) keyTimes(q keystore.KeyQuery) {
	if !q.CreatedAfter.IsZero() {
		c.bound("k.created", " > ?", millis(q.CreatedAfter))
	}
	if !q.CreatedBefore.IsZero() {
		c.bound("k.created", " < ?", millisUp(q.CreatedBefore))
	}
	if !q.ExpiresBefore.IsZero() {
		c.add("k.expires_at > 0 AND k.expires_at < ?", millisUp(q.ExpiresBefore))
	}
	if q.NeverUsed != nil {
		if *q.NeverUsed {
			c.add("k.last_used = 0")
		} else {
			c.add("k.last_used > 0")
		}
	}
}

// keyState asks for the state of a key and for its lock: Key.State in SQL.
func (r *reader) keyState(ctx context.Context, q keystore.KeyQuery, c *conditions) error {
	now := millis(r.now.Wall)
	const unexpired = "(k.expires_at = 0 OR k.expires_at > ?)"
	locked := q.Locked
	switch q.State {
	case "":
	case keystore.StateDisabled:
		c.add("NOT " + activeKey)
	case keystore.StateExpired:
		c.add(activeKey+" AND NOT "+unexpired, now)
	case keystore.StateLocked, keystore.StateActive:
		c.add(activeKey+" AND "+unexpired, now)
		want := q.State == keystore.StateLocked
		if locked != nil && *locked != want {
			c.add("1 = 0") // a lock is what tells the two apart
		}
		locked = &want
	default:
		return fmt.Errorf("unknown key state %q, expected active, disabled, locked or expired", q.State)
	}
	if locked == nil {
		return nil
	}
	ids, err := r.lockedKeys(ctx, r.now)
	if err != nil {
		return err
	}
	not := "NOT "
	if *locked {
		not = ""
	}
	c.add("k.id "+not+"IN ("+r.dialect.Each+")", ids)
	return nil
}

// lockedKeys is a list, to be bound, of the keys whose whole client is locked at an instant.
// How long a lock lasts over boots is for package policy to say, not for SQL.
func (r *reader) lockedKeys(ctx context.Context, at policy.Instant) (any, error) {
	locks, err := list(ctx, r, scanTally, "SELECT "+tallyColumns+" FROM tallies WHERE locked_for_ns > 0 AND source = ''")
	if err != nil {
		return nil, err
	}
	ids := []string{}
	for _, t := range locks {
		if t.Remaining(at) > 0 {
			ids = append(ids, t.KeyID)
		}
	}
	return r.dialect.List(ids)
}
