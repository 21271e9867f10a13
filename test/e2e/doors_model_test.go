package e2e

import (
	"slices"
	"strings"
	"time"
)

// The model that random sequences are held against. It is written from what the
// contract says about rights, and shares nothing with the program.

// mask is a set of actions.
type mask uint8

const (
	mayRead mask = 1 << iota
	mayCreate
	mayUpdate
	mayDelete
	mayAll = mayRead | mayCreate | mayUpdate | mayDelete
)

var actionWords = []string{"read", "create", "update", "delete"}

func (m mask) words() []string {
	words := []string{}
	for i, word := range actionWords {
		if m&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return words
}

// grants is a role's permissions.
type grants map[string]mask

// probed are the resources that rights are compared on: the last of the upstreams'
// stands for all that no role here names by itself.
var probed = []string{"application-segments", "policy-rules", "certificates", "keyreeve/keys", "keyreeve/roles", "keyreeve/tenants",
	"keyreeve/locks", "keyreeve/sessions", "keyreeve/audit", "keyreeve/sources", "keyreeve/nodes"}

func (g grants) on(resource string) mask {
	if strings.HasPrefix(resource, "keyreeve/") {
		return g[resource] | g["keyreeve/*"]
	}
	return g[resource] | g["*"]
}

func (g grants) within(most grants) bool {
	return !slices.ContainsFunc(probed, func(r string) bool { return g.on(r)&^most.on(r) != 0 })
}

// body is the permissions as the API takes and shows them.
func (g grants) body() map[string]any {
	out := map[string]any{}
	for resource, m := range g {
		switch m {
		case mayAll:
			out[resource] = "full"
		case mayRead:
			out[resource] = "view"
		default:
			out[resource] = m.words()
		}
	}
	return out
}

// grantsOf reads the permissions of an answer.
func grantsOf(body any) grants {
	g := grants{}
	shown, _ := body.(map[string]any)
	for resource, level := range shown {
		switch level := level.(type) {
		case string:
			g[resource] = map[string]mask{"full": mayAll, "view": mayRead}[level]
		case []any:
			for _, word := range level {
				g[resource] |= 1 << slices.Index(actionWords, word.(string))
			}
		}
	}
	return g
}

// doorRole is a role of the model. by made its permissions what they are.
type doorRole struct {
	id, name, customer string
	grants             grants
	by                 *doorActor
	gone               bool
}

// doorSecret is a secret that some key has or had.
type doorSecret struct {
	id, text    string
	ended, used bool
}

// doorToken is an access token that was given out. ended says that its own session
// was ended, over that it is over by whatever.
type doorToken struct {
	text, jti   string
	secret      *doorSecret
	over, ended bool
}

// doorKey is a key of the model. by gave it the role that it has.
type doorKey struct {
	id, clientID, name            string
	customer, microtenant, source string
	role                          *doorRole
	by                            *doorActor
	enabled, here, narrow, gone   bool // here: disabled_here
	ends                          time.Time
	fails                         int
	locked                        bool
	secrets                       []*doorSecret
	tokens                        []*doorToken
}

func (k *doorKey) live() (n int) {
	for _, s := range k.secrets {
		if !s.ended {
			n++
		}
	}
	return n
}

// cut ends all sessions of a key for good.
func (k *doorKey) cut() {
	for _, t := range k.tokens {
		t.over = true
	}
}

// doorActor is who works on the keys. local is whoever sits at the machine.
type doorActor struct {
	name                  string
	key                   key
	customer, microtenant string
	role                  *doorRole
	all, local, narrow    bool
	ends                  time.Time
}

func (a *doorActor) sees(customer, microtenant string) bool {
	return a.all || (customer == a.customer && (a.microtenant == "" || microtenant == a.microtenant))
}

// verdict is what an operation is to be answered with; the zero one is success.
type verdict struct {
	status int
	code   string
}

func (v verdict) ok() bool { return v.status == 0 }

var (
	unknownHere   = verdict{404, "not_found"}
	notPermitted  = verdict{403, "permission_denied"}
	beyondRights  = verdict{403, "exceeds_own_rights"}
	managedThere  = verdict{409, "managed_externally"}
	invalidFields = verdict{400, "validation_failed"}
)

// exit is the CLI's exit code for it.
func (v verdict) exit() int {
	switch v.status {
	case 0:
		return 0
	case 401, 403:
		return 4
	case 404:
		return 5
	case 409, 412:
		return 6
	}
	return 1
}

// first is the first refusal.
func first(verdicts ...verdict) verdict {
	for _, v := range verdicts {
		if !v.ok() {
			return v
		}
	}
	return verdict{}
}

// serving reports whether a key is let in at all, its lock aside.
func (w *world) serving(k *doorKey) bool {
	return !k.gone && k.enabled && !k.here && (k.ends.IsZero() || k.ends.After(time.Now())) && !w.disabled[k.microtenant]
}

func (w *world) accepts(k *doorKey, s *doorSecret) bool { return w.serving(k) && !k.locked && !s.ended }

func (w *world) honours(k *doorKey, t *doorToken) bool { return w.accepts(k, t.secret) && !t.over }

// may is the right to do something at all.
func (w *world) may(a *doorActor, resource string, m mask) verdict {
	if a.microtenant != "" && w.disabled[a.microtenant] {
		return verdict{401, "invalid_client"}
	}
	if a.role.grants.on("keyreeve/"+resource)&m != m {
		return notPermitted
	}
	return verdict{}
}

// on is the right to do something with a key that is there and one's own to see.
func (w *world) on(a *doorActor, k *doorKey, resource string, m mask) verdict {
	if v := w.may(a, resource, m); !v.ok() {
		return v
	}
	if k.gone || !a.sees(k.customer, k.microtenant) {
		return unknownHere
	}
	return verdict{}
}

// within is the subset rule: in role, tenant, networks and expiry.
func (a *doorActor) within(k *doorKey) verdict {
	switch {
	case !a.sees(k.customer, k.microtenant), k.role.id == "role_operator" && !a.all, !k.role.grants.within(a.role.grants):
		return beyondRights
	case a.narrow && !k.narrow, !a.ends.IsZero() && (k.ends.IsZero() || k.ends.After(a.ends)):
		return beyondRights
	}
	return verdict{}
}

// changes is the right to change a key to what next is; nil is to delete it.
func (w *world) changes(a *doorActor, k, next *doorKey, m mask) verdict {
	v := w.on(a, k, "keys", m)
	if v.ok() && k.source != "" {
		v = managedThere
	}
	if v = first(v, a.within(k)); !v.ok() || next == nil {
		return v
	}
	if next.role.gone || (next.role.customer != "" && next.role.customer != k.customer) {
		return invalidFields
	}
	return a.within(next)
}

// makes is the right to make a key.
func (w *world) makes(a *doorActor, k *doorKey) verdict {
	switch v := w.may(a, "keys", mayCreate); {
	case !v.ok():
		return v
	case !a.sees(k.customer, k.microtenant):
		return beyondRights
	case k.role.gone || (k.role.customer != "" && k.role.customer != k.customer):
		return invalidFields
	}
	return a.within(k)
}

// reaches is what the ZPA face says of the tenant that a request names.
func (w *world) reaches(a *doorActor, customer, microtenant string) verdict {
	switch {
	case a.microtenant != "" && w.disabled[a.microtenant]:
		return verdict{401, "invalid_client"}
	case !a.all && customer != a.customer:
		return unknownHere
	case a.microtenant != "" && microtenant == "":
		return verdict{403, "microtenant_required"}
	case a.microtenant != "" && microtenant != a.microtenant, microtenant != "" && w.disabled[microtenant]:
		return verdict{403, "tenant_mismatch"}
	}
	return verdict{}
}

// holds is the right over a role as it is: of one's customer, not predefined, not
// one's own, and granting nothing that one does not hold.
func (w *world) holds(a *doorActor, r *doorRole, m mask) verdict {
	switch v := w.may(a, "roles", m); {
	case !v.ok():
		return v
	case r.gone, r.customer != "" && r.customer != a.customer && !a.all:
		return unknownHere
	case r.customer == "":
		return verdict{409, "predefined"}
	case a.role == r:
		return beyondRights
	}
	return a.grantsRole(r.customer, r.grants)
}

func (a *doorActor) grantsRole(customer string, g grants) verdict {
	if !a.sees(customer, "") || !g.within(a.role.grants) {
		return beyondRights
	}
	return verdict{}
}

// users are the keys that have a role.
func (w *world) users(r *doorRole) (found []*doorKey) {
	for _, k := range w.keys {
		if !k.gone && k.role == r {
			found = append(found, k)
		}
	}
	return found
}
