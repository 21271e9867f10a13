package lifecycle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// maxDisabledHere is how many client IDs a source keeps as disabled here that it
// does not list at present; the oldest are forgotten.
const maxDisabledHere = 10_000

// disabledPrefix begins the names that they are kept under, followed by the client ID.
const disabledPrefix = "disabled_here:"

// sourceOwner owns what is kept for a source, its keys aside.
func sourceOwner(customerID, name string) string { return "source:" + customerID + "/" + name }

// goneDisabled is that a source took away a key that was disabled here.
type goneDisabled struct {
	Gone time.Time `json:"gone_at"`
}

// disabledHere is when the source took away those of its keys that were disabled
// here, by client ID. What was refused here stays so when it comes back: else a
// source undoes that by two lists.
func (o *op) disabledHere(s *keystore.Source) (map[string]time.Time, error) {
	owner := sourceOwner(s.CustomerID, s.Name)
	kept, err := o.r.Preferences(o.ctx, owner)
	if err != nil {
		return nil, err
	}
	gone := make(map[string]time.Time, len(kept))
	for _, p := range kept {
		clientID, is := strings.CutPrefix(p.Name, disabledPrefix)
		if !is {
			continue
		}
		var at goneDisabled
		if err := json.Unmarshal(p.Value, &at); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", p.Name, owner, err)
		}
		gone[clientID] = at.Gone
	}
	return gone, nil
}

// keepDisabledHere brings what is kept up to what the push makes of the keys.
func (p *push) keepDisabledHere() error {
	kept := maps.Clone(p.disabled)
	for _, s := range p.steps {
		switch {
		case s.after == nil && s.before.DisabledHere:
			kept[s.before.ClientID] = p.stamp()
		case s.before == nil:
			delete(kept, s.after.ClientID) // the key itself holds it now
		}
	}
	if surplus := len(kept) - maxDisabledHere; surplus > 0 {
		oldest := slices.SortedFunc(maps.Keys(kept), func(a, b string) int { return cmp.Or(kept[a].Compare(kept[b]), strings.Compare(a, b)) })
		for _, clientID := range oldest[:surplus] {
			delete(kept, clientID)
		}
	}
	for _, clientID := range sortedKeys(p.disabled) {
		if _, still := kept[clientID]; !still {
			if err := p.putDisabledHere(clientID, nil); err != nil {
				return err
			}
		}
	}
	for _, clientID := range sortedKeys(kept) {
		if _, already := p.disabled[clientID]; already {
			continue
		}
		value, err := json.Marshal(goneDisabled{kept[clientID]})
		if err != nil {
			return err
		}
		if err := p.putDisabledHere(clientID, value); err != nil {
			return err
		}
	}
	return nil
}

func (p *push) putDisabledHere(clientID string, value json.RawMessage) error {
	return p.tx.PutPreference(p.ctx, keystore.Preference{Owner: sourceOwner(p.source.CustomerID, p.source.Name), Name: disabledPrefix + clientID, Value: value})
}
