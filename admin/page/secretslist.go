package page

import (
	"net/url"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// How long a secret must not have been used for what is said of it.
const (
	stillUsed = 24 * time.Hour
	hardlyOut = lifecycle.InUseWithin
)

// secretsList is the secrets of a key, for the part `secrets-list`.
type secretsList struct {
	Key lifecycle.Key
	// Live are those that are good, newest first; Past those that were, of the last 30 days.
	Live, Past []secretRow
	// MayChange: the actor's role allows to rotate and retire.
	MayChange bool
}

// secretRow is a secret with what can be said of it.
type secretRow struct {
	lifecycle.KeySecret
	// Name is how people tell it apart: by its end.
	Name string
	// Newest: the one that deployments should have.
	Newest bool
	// Words tell where it stands in a rotation, in the tone Tone: good, warn or "".
	Words, Tone string
	// RetireURL asks to end it, "" where it is over.
	RetireURL string
}

// RotateURL makes another secret.
func (d *secretsList) RotateURL() string { return keyURL(d.Key.ID, "secrets", "new") }

// Full reports that no other secret can be added beside them.
func (d *secretsList) Full() bool { return len(d.Live) >= keystore.MaxLiveSecrets }

// secretsList reads the secrets of a key that the actor may see.
func (v *visit) secretsList(k lifecycle.Key) (*secretsList, error) {
	all, err := v.svc().ListSecrets(v.ctx(), v.actor, k.ID)
	if err != nil {
		return nil, err
	}
	d := &secretsList{Key: k, MayChange: v.may(lifecycle.ResourceKeys, policy.Update)}
	for _, one := range all.Items {
		row := secretRow{KeySecret: one, Name: secretName(one)}
		if over(one) {
			d.Past = append(d.Past, row)
			continue
		}
		row.Newest = len(d.Live) == 0
		row.RetireURL = keyURL(k.ID, "secrets", url.PathEscape(one.ID), "retire")
		d.Live = append(d.Live, row)
	}
	now := v.page.cfg.Now()
	for i := range d.Live {
		d.Live[i].Words, d.Live[i].Tone = readiness(d.Live, i, now)
	}
	for i := range d.Past {
		d.Past[i].Words, d.Past[i].Tone = lagging(d.Past[i].KeySecret, now)
	}
	return d, nil
}

func over(s lifecycle.KeySecret) bool {
	return s.State == lifecycle.SecretRetired || s.State == lifecycle.SecretExpired
}

// secretName is `…abcd`; of an imported secret not even the end is known.
func secretName(s lifecycle.KeySecret) string {
	if s.Hint == "" {
		return "imported"
	}
	return "…" + s.Hint
}

// from says where a use came from, "" where that has no address.
func from(address *string) string {
	if address == nil {
		return ""
	}
	return " from " + *address
}

// readiness says where the i-th of the good secrets stands in a rotation: whether
// the newest has arrived, and whether the ones before can go.
func readiness(live []secretRow, i int, now time.Time) (words, tone string) {
	s, newest := live[i], live[0]
	switch {
	case s.Newest && len(live) == 1:
		return "", ""
	case s.Newest && s.LastUsedAt == nil:
		return "Not used yet: give it to whoever uses the one before.", "warn"
	case s.Newest:
		return "In use.", "good"
	case s.LastUsedAt == nil:
		return "Never used: safe to retire.", "good"
	}
	idle := now.Sub(*s.LastUsedAt)
	switch {
	case idle < stillUsed:
		return "Still used " + span(idle) + from(s.LastUsedAddress) + ".", "warn"
	case idle >= hardlyOut:
		return "Not used for " + spell(idle.Truncate(24*time.Hour)) + ": safe to retire.", "good"
	case newest.LastUsedAt != nil && newest.LastUsedAt.After(*s.LastUsedAt):
		return "Not used for " + spell(idle.Truncate(24*time.Hour)) + ", and the newer one is: most likely safe to retire.", "good"
	}
	return "Not used for " + spell(idle.Truncate(24*time.Hour)) + ", nor is the newer one since.", ""
}

// lagging says who shows a secret that is over.
func lagging(s lifecycle.KeySecret, now time.Time) (words, tone string) {
	if s.LastTriedAt == nil {
		return "", ""
	}
	return "Still tried " + span(now.Sub(*s.LastTriedAt)) + from(s.LastTriedAddress) + ", and refused: a deployment that lags.", "warn"
}
