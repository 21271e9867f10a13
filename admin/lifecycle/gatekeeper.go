package lifecycle

import (
	"context"
	"net/netip"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Gatekeeper is what the operations on policy ask of the gates that run. Its
// answers are those of the code that decides on requests.
type Gatekeeper interface {
	// Gates lists the gates of the configuration in force, in the order of their numbers.
	Gates() []Gate
	// Standing tells how the key of a client ID would be taken, shown by its secret or
	// by a token. The zero address is one that is not known: networks are not judged.
	Standing(ctx context.Context, clientID string, token bool, from netip.Addr) Standing
	// Status is the HTTP status of a refusal.
	Status(r policy.Reason) int
	// Denial is one of the recent refusals, by the id of its request.
	Denial(requestID string) (Denial, bool)
}

// Gate is one gate: where it stands and what it decides by.
type Gate struct {
	// Name is unique among the gates of a configuration.
	Name string
	// Listen are the addresses of its server, Hosts those it is limited to.
	Listen, Hosts []string
	// Shadow: it decides, and lets everything through.
	Shadow bool
	Set    *policy.Set
}

// Standing is how a key would be taken whose credential is right.
type Standing struct {
	policy.Decision
	// Network: it is refused for where it comes from.
	Network bool
	// Subject and Key are the caller as decisions see it; Key is nil where it is not known.
	Subject policy.Subject
	Key     *keystore.Key
	// Role is nil where there is none.
	Role *keystore.Role
}

// Denial is one refused request: what was decided on, and what came of it. It
// holds no credential, and of the query the microtenant alone.
type Denial struct {
	RequestID string
	At        time.Time
	// Gate is the name of the gate.
	Gate string
	// Shadow: it was let through all the same. Preflight: Method is the one asked
	// about. Token: the caller showed an access token.
	Shadow, Preflight, Token bool
	Method                   string
	// Path as it was decided on, escaped; PathCut says that it was longer.
	Path    string
	PathCut bool
	// MicrotenantID is the one named in the query, see policy.TenantNamed.
	MicrotenantID        string
	MicrotenantAmbiguous bool
	// QueryUndecidable: the target held a `#`, which no path is decided on with.
	QueryUndecidable bool
	// KeyID is the caller's, "" if it is not known; Customer and Microtenant are the key's.
	KeyID, KeyCustomerID, KeyMicrotenantID string
	Address                                netip.Addr
	// Reason and Detail are the decision's.
	Reason policy.Reason
	Detail string
	// RoutePattern and RouteMethods are the rule that matched, "" for none; Resource
	// and Action what it asks for.
	RoutePattern string
	RouteMethods []string
	Resource     string
	Action       policy.Mask
}

// route is the rule as messages name it, "" for none.
func (d *Denial) route() string {
	if d.RoutePattern == "" {
		return ""
	}
	return (&policy.Route{Methods: d.RouteMethods, Pattern: d.RoutePattern}).String()
}

// GateRef names a gate in answers.
type GateRef struct {
	Number int      `json:"number" doc:"Counted from 1, in the order of the configuration."`
	Name   string   `json:"name" doc:"Its first host, or address where it has none; #2 for another of that name." example:"api.example.com"`
	Listen []string `json:"listen" nullable:"false"`
	Hosts  []string `json:"hosts" nullable:"false" doc:"Hosts it is limited to; empty is every one."`
	Shadow bool     `json:"shadow" doc:"It decides and logs, and lets everything through."`
}

func (s *Service) gates() []Gate {
	if s.cfg.Gatekeeper == nil {
		return nil
	}
	return s.cfg.Gatekeeper.Gates()
}

// gateAt is a gate with its place.
type gateAt struct {
	Gate
	number int
}

func (g gateAt) ref() GateRef {
	return GateRef{Number: g.number, Name: g.Name, Listen: append([]string{}, g.Listen...), Hosts: append([]string{}, g.Hosts...), Shadow: g.Shadow}
}

// pickGates lists the gates that ref, a number or name, stands for: all for "".
func (s *Service) pickGates(bad *FieldErrors, ref string) (picked []gateAt) {
	all := s.gates()
	for i, g := range all {
		if at := (gateAt{g, i + 1}); ref == "" || ref == g.Name || ref == strconv.Itoa(at.number) {
			picked = append(picked, at)
		}
	}
	if ref != "" && len(picked) == 0 {
		bad.Add("gate", FieldNotFound, "no gate has this number or name; there are %d", len(all))
	}
	return picked
}
