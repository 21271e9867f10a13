package lifecycle

import (
	"errors"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// plan decides what becomes of each key. All that is wrong with the list itself
// is told before rights, and rights before what stands against it in the store.
func (p *push) plan(in SourcePush) error {
	had := len(p.present)
	if len(in.Keys) > MaxSourceKeys {
		p.invalid.Add("keys", FieldTooMany, "are %d, at most %d are taken", len(in.Keys), MaxSourceKeys)
		return p.refused()
	}
	p.refuseTwins(in.Keys)
	if in.MaxRemovals.Has() && in.MaxRemovals.Value < 0 {
		p.invalid.Add("max_removals", FieldRange, "must be a whole number from 0")
	}
	for i := range in.Keys {
		step, err := p.step(indexed("keys", i), &in.Keys[i])
		if err != nil {
			return err
		}
		if len(p.invalid) > MaxFaults {
			break // no more are told
		}
		p.steps = append(p.steps, step)
	}
	if err := p.refused(); err != nil {
		return err
	}
	most := int64(max(minRemovals, had/removalShare))
	if in.MaxRemovals.Has() {
		most = in.MaxRemovals.Value
	}
	if int64(len(p.present)) > most {
		return &Error{Kind: Conflict, Code: CodeTooManyRemovals, Detail: fmt.Sprintf(
			"the list would remove %d of the source's %d keys, at most %d are allowed; if that is meant, say so by max_removals", len(p.present), had, most)}
	}
	for _, clientID := range sortedKeys(p.present) {
		gone := p.present[clientID]
		if err := p.admit("keys", gone, nil); err != nil {
			return err
		}
		p.steps = append(p.steps, pushStep{before: gone, changed: true})
	}
	if err := p.refused(); err != nil {
		return err
	}
	if err := p.findConflicts(); err != nil {
		return err
	}
	return p.refused()
}

// refuseTwins refuses two keys of one client ID or name. The store would too,
// with less to say.
func (p *push) refuseTwins(keys []SourceKey) {
	type place struct{ microtenant, name string }
	clients, names := make(map[string]int, len(keys)), make(map[place]int, len(keys))
	for i := range keys {
		k, at := &keys[i], indexed("keys", i)
		if first, twice := clients[k.ClientID]; twice && k.ClientID != "" {
			p.invalid.Add(at+".client_id", FieldConflict, "is also that of %s", indexed("keys", first))
			continue
		}
		clients[k.ClientID] = i
		var unread FieldErrors // told by step
		name := place{k.MicrotenantID.Value, cleanName(&unread, k.Name)}
		if first, twice := names[name]; twice && k.Name != "" {
			p.invalid.Add(at+".name", FieldConflict, "is also that of %s", indexed("keys", first))
			continue
		}
		names[name] = i
	}
}

// step is what becomes of one key of the list.
func (p *push) step(at string, in *SourceKey) (pushStep, error) {
	before := p.present[in.ClientID]
	delete(p.present, in.ClientID)
	var bad FieldErrors
	next, digest, given := p.wanted(&bad, in, before)
	if len(bad) > 0 {
		for _, f := range bad {
			p.invalid.Add(at+"."+f.Field, f.Code, "%s", f.Detail)
		}
		return pushStep{}, nil
	}
	changed := before == nil || !sameKey(before, next)
	if given {
		replaced, err := p.replaceSecret(next, digest)
		if err != nil {
			return pushStep{}, err
		}
		changed = changed || replaced
	}
	if !changed {
		return pushStep{before: before, after: before}, nil
	}
	next.Modified, next.ModifiedBy = p.stamp(), p.actor.label()
	return pushStep{before: before, after: next, changed: true}, p.admit(at, before, next)
}

// wanted is the key as the list describes it, on top of what only Keyreeve knows
// of it.
func (p *push) wanted(bad *FieldErrors, in *SourceKey, before *keystore.Key) (next *keystore.Key, digest [32]byte, given bool) {
	now := p.stamp()
	next = &keystore.Key{ID: credential.NewID("key"), ClientID: in.ClientID, CustomerID: p.source.CustomerID, Source: p.source.Name,
		MicrotenantID: in.MicrotenantID.Value, Created: now, CreatedBy: p.actor.label()}
	if before != nil {
		kept := *before
		next = &kept
		next.Secrets = slices.Clone(before.Secrets)
	} else {
		_, next.DisabledHere = p.disabled[in.ClientID]
	}
	next.Name, next.Description = cleanName(bad, in.Name), cleanDescription(bad, in.Description)
	next.RoleID, next.Enabled = in.RoleID, !in.Enabled.Has() || in.Enabled.Value
	next.AllowedCIDRs, next.Labels = cleanCIDRs(bad, in.AllowedCIDRs), cleanLabels(bad, in.Labels)
	p.patchTimes(bad, next, KeyPatch{SessionValiditySeconds: whole(in.SessionValiditySeconds), ExpiresAt: whole(in.ExpiresAt)})
	if before != nil && before.Enabled && !next.Enabled {
		next.Generation++ // its sessions are over for good, also once it is enabled again
	}
	p.checkRole(bad, in.RoleID)
	p.checkMicrotenant(bad, in, before)
	if in.ClientID == "" {
		bad.Add("client_id", FieldRequired, "is required")
		return next, digest, false
	}
	digest, given = cleanImport(bad, in.ClientID, in.SecretSHA256)
	if before == nil && in.SecretSHA256 == "" {
		bad.Add("secret_sha256", FieldRequired, "is required for a new key")
	}
	return next, digest, given
}

// whole is a member of a description that leaves nothing as it was: null where
// it was left out.
func whole[T any](v Optional[T]) Optional[T] {
	if v.Has() {
		return v
	}
	return Null[T]()
}

func (p *push) checkMicrotenant(bad *FieldErrors, in *SourceKey, before *keystore.Key) {
	id := in.MicrotenantID.Value
	switch {
	case in.MicrotenantID.Has() && id == "":
		bad.Add("microtenant_id", FieldFormat, "is empty; leave it out, or give null for the customer level")
	case id != "" && !p.microtenants[id]:
		bad.Add("microtenant_id", FieldNotFound, "there is none with this id")
	case before != nil && before.MicrotenantID != id:
		// Its sessions, its rights and its audit trail belong to the one it has.
		bad.Add("microtenant_id", FieldConflict, "a key cannot move; remove it, and push it under another client ID")
	}
}

func (p *push) checkRole(bad *FieldErrors, id string) {
	if id == "" {
		bad.Add("role_id", FieldRequired, "is required")
		return
	}
	known, there := p.roles[id]
	switch {
	case !there:
		bad.Add("role_id", FieldNotFound, "there is no such role for this customer")
	case !known.fits:
		bad.Add("role_id", FieldBeyondSource, "grants more than %s, the highest role of the source", p.max.Name)
	}
}

// replaceSecret makes the secret of this digest the key's only one; false if it
// is one already. The one before is remembered as every retired one is.
func (o *op) replaceSecret(k *keystore.Key, digest [32]byte) (bool, error) {
	now := o.stamp()
	for i := range k.Secrets {
		s := &k.Secrets[i]
		// Each under its own master key; one whose master key is gone is none we know.
		verifier, held := o.cfg.Keyring.Verifier(s.MasterKeyID, digest)
		if held && s.Live(o.now.Wall) && credential.Equal(verifier, s.Verifier) {
			return false, nil
		}
		if held && credential.Equal(verifier, s.Verifier) {
			s.ID = "" // one that ended and comes back is no longer a retired one
		}
	}
	k.Secrets = slices.DeleteFunc(k.Secrets, func(s keystore.Secret) bool { return s.ID == "" })
	for i := range k.Secrets {
		if s := &k.Secrets[i]; s.Live(o.now.Wall) {
			s.Retired = now
		}
	}
	k.Secrets = o.forget(k.Secrets)
	return true, o.addSecret(k, digest, "", now)
}

// admit is the subset rule for one key, as it is and as it would be; what is
// refused is told with the rest of the list.
func (p *push) admit(at string, before, next *keystore.Key) error {
	err := error(nil)
	if before != nil {
		err = p.withinStored(before)
	}
	if err == nil && next != nil {
		if before != nil {
			err = p.admitPatched(before, next)
		} else {
			err = p.within(next, p.roles[next.RoleID].role)
		}
	}
	var refused *Error
	if !errors.As(err, &refused) {
		return err
	}
	for _, f := range refused.Fields {
		field := at + "." + f.Field
		if next == nil {
			field = at
			f.Detail = "the list would remove " + before.ClientID + ": " + f.Detail
		}
		p.beyond.Add(field, f.Code, "%s", f.Detail)
	}
	return nil
}

// refused is the answer to what is wrong with the list so far; nil if nothing is.
func (p *push) refused() error {
	switch {
	case len(p.invalid) > 0:
		return p.invalid.refuse(Invalid, CodeValidation, "the list has invalid keys; nothing was written")
	case len(p.beyond) > 0:
		return p.beyond.refuse(Forbidden, CodeExceedsRights, "the list has keys beyond the rights of the acting key; nothing was written")
	case len(p.conflicts) > 0:
		e := p.conflicts.refuse(Conflict, p.conflicts[0].Code, "the list has keys that cannot be beside others; nothing was written")
		for i := range e.Fields {
			e.Fields[i].Code = FieldConflict
		}
		return e
	}
	return nil
}
