package lifecycle

import (
	"context"
	"net/netip"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// maxTarget bounds the request target of a check, in bytes: room for a path that
// is refused for its length, and a query.
const maxTarget = 16 << 10

// maxMicrotenant bounds the microtenant that a check names, in bytes.
const maxMicrotenant = 128

// CodeNoGate: the configuration has no gate whose policy could be asked.
const CodeNoGate = "no_gate"

// PolicyCheck asks what a gate would decide. Exactly one of KeyID, ClientID and
// RoleID is required, Method and Target too.
type PolicyCheck struct {
	// KeyID or ClientID is the key whose right credential is supposed to be shown.
	KeyID, ClientID string
	// RoleID is a role alone: judged as held by a key of the customer that the
	// path names, at customer level.
	RoleID string
	Method string
	// Target is the path as it is on the wire, escaped, and maybe a query.
	Target string
	// MicrotenantID is added to the query as the parameter that the rule looks at.
	MicrotenantID string
	// SourceAddress is where the request comes from; "" is not known.
	SourceAddress string
	// Gate is the number or name of one gate; "" is every gate.
	Gate string
}

// PolicyAnswer is what the gates would decide, and how that comes about.
type PolicyAnswer struct {
	Key      *CheckedKey    `json:"key,omitempty" doc:"Absent for a role alone, and for a caller who is not known."`
	Role     *CheckedRole   `json:"role,omitempty" doc:"The role that counts, of the key or alone."`
	Recorded *RecordedCheck `json:"recorded,omitempty" doc:"The denial that was asked about."`
	Changed  *bool          `json:"changed,omitempty" doc:"With recorded: whether the present decision differs; absent where it cannot be known, since no credential is kept."`
	Results  []GateCheck    `json:"results" nullable:"false" doc:"One for each gate asked."`
}

// CheckedKey is the key of a check.
type CheckedKey struct {
	ID            string  `json:"id"`
	Name          string  `json:"name"`
	ClientID      string  `json:"client_id"`
	CustomerID    string  `json:"customer_id"`
	MicrotenantID *string `json:"microtenant_id" nullable:"true"`
}

// CheckedRole is the role of a check.
type CheckedRole struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// GateCheck is what one gate would decide.
type GateCheck struct {
	Gate     GateRef        `json:"gate"`
	Decision PolicyDecision `json:"decision"`
	Steps    []PolicyStep   `json:"steps" nullable:"false" doc:"In the order in which a gate examines a request; the first that fails answers."`
	Route    *PolicyRuleRef `json:"route,omitempty" doc:"The rule that the request falls under."`
	Needed   *PolicyNeed    `json:"needed,omitempty" doc:"The permission that the rule asks for; absent without a rule and for a public one."`
	Grants   []PolicyGrant  `json:"grants" nullable:"false" doc:"The entries of the role that cover the resource; they add up."`
	Tried    []PolicyTrial  `json:"rules_tried" nullable:"false" doc:"Rules that match the path, or would match another spelling of it."`
	Rules    int            `json:"rules_total" doc:"How many rules the gate has."`
}

// PolicyDecision is a decision as an answer would carry it.
type PolicyDecision struct {
	Allow  bool   `json:"allow"`
	Status *int   `json:"status" nullable:"true" doc:"HTTP status of the refusal; null where it is let through."`
	Code   string `json:"code" doc:"The reason, as in the body of a refusal; allowed or public." example:"permission_denied"`
	Detail string `json:"detail" doc:"The cause; more than clients are told."`
}

// PolicyStep is one step of the examination.
type PolicyStep struct {
	Step   string `json:"step" enum:"path,credential,client,source,route,tenant,role"`
	OK     *bool  `json:"ok" nullable:"true" doc:"null: not judged."`
	Detail string `json:"detail"`
}

// PolicyRuleRef names a rule.
type PolicyRuleRef struct {
	Pattern  string   `json:"pattern"`
	Methods  []string `json:"methods" nullable:"false"`
	Resource *string  `json:"resource" nullable:"true"`
	Action   *string  `json:"action" nullable:"true" doc:"What the request asks for."`
	Origin   string   `json:"origin" doc:"Where it was written, file:line."`
}

// PolicyNeed is a permission.
type PolicyNeed struct {
	Resource string  `json:"resource"`
	Group    *string `json:"group" nullable:"true" doc:"The group the resource belongs to; a role may name either."`
	Action   string  `json:"action"`
}

// PolicyGrant is an entry of a role.
type PolicyGrant struct {
	Entry   string   `json:"entry" doc:"The resource, its group, or *."`
	Actions []string `json:"actions" nullable:"false"`
}

// PolicyTrial is one rule held against the request.
type PolicyTrial struct {
	Pattern string   `json:"pattern"`
	Methods []string `json:"methods" nullable:"false"`
	Origin  string   `json:"origin"`
	Matched bool     `json:"matched" doc:"The request falls under this rule."`
	Outcome string   `json:"outcome" enum:"taken,shadowed,method,spelling,blocks,refused"`
	Why     string   `json:"why"`
}

// CheckPolicy tells what the gates would decide on a request of a key or role.
func (s *Service) CheckPolicy(ctx context.Context, a Actor, in PolicyCheck) (PolicyAnswer, error) {
	var (
		gates []gateAt
		who   caller
		q     asked
	)
	err := s.view(ctx, a, func(o *op) (err error) {
		var bad FieldErrors
		q = in.read(&bad)
		gates = s.pickGates(&bad, in.Gate)
		a = o.actor
		who, err = o.checked(in, bad)
		return err
	})
	if err != nil {
		return PolicyAnswer{}, err
	}
	if len(gates) == 0 {
		return PolicyAnswer{}, noGate()
	}
	// Outside the transaction: the gates read their own view of the store.
	if who.key != nil {
		who.stand(s.cfg.Gatekeeper.Standing(ctx, who.key.ClientID, false, q.address))
	}
	out := who.answer()
	for _, g := range gates {
		out.Results = append(out.Results, s.examine(a, g, who, q))
	}
	return out, nil
}

func noGate() error {
	return &Error{Kind: Conflict, Code: CodeNoGate, Detail: "the configuration has no gate, so there is no policy to ask"}
}

// asked is the request of a check.
type asked struct {
	method, target string
	// microtenant is added to the query; ambiguous adds the parameter in a way that
	// is refused.
	microtenant string
	ambiguous   bool
	address     netip.Addr
	// preflight: it is a browser's question about a request, which proves nobody.
	preflight bool
}

// read validates what does not depend on the store.
func (in PolicyCheck) read(bad *FieldErrors) asked {
	q := asked{method: in.Method, target: in.Target, microtenant: in.MicrotenantID}
	switch {
	case in.Method == "":
		bad.Add("method", FieldRequired, "is required")
	case !policy.ValidMethod(in.Method):
		bad.Add("method", FieldFormat, "must be a method such as GET")
	}
	switch {
	case in.Target == "":
		bad.Add("path", FieldRequired, "is required")
	case !strings.HasPrefix(in.Target, "/"):
		bad.Add("path", FieldFormat, "must begin with a slash; give the path as it is on the wire, without scheme and host")
	case len(in.Target) > maxTarget:
		bad.Add("path", FieldRange, "must be at most %d bytes", maxTarget)
	}
	if len(in.MicrotenantID) > maxMicrotenant {
		bad.Add("microtenant_id", FieldRange, "must be at most %d bytes", maxMicrotenant)
	}
	if in.SourceAddress != "" {
		address, err := netip.ParseAddr(in.SourceAddress)
		if err != nil || address.Zone() != "" {
			bad.Add("source_address", FieldFormat, "must be an IP address such as 192.0.2.7")
		}
		q.address = address.Unmap()
	}
	return q
}

// checked is the key or role that a check is about, if the actor may know of it.
func (o *op) checked(in PolicyCheck, bad FieldErrors) (who caller, err error) {
	named := 0
	for _, id := range []string{in.KeyID, in.ClientID, in.RoleID} {
		if id != "" {
			named++
		}
	}
	resource := ResourceKeys
	if in.RoleID != "" {
		resource = ResourceRoles
	}
	if err := o.need(resource, policy.Read); err != nil {
		return caller{}, err
	}
	if named != 1 {
		bad.Add("key_id", FieldRequired, "exactly one of key_id, client_id, role_id and request_id is required")
	}
	if err := bad.Err(); err != nil {
		return caller{}, err
	}
	switch {
	case in.RoleID != "":
		who.role, err = o.role(in.RoleID, policy.Read)
	case in.KeyID != "":
		who.key, err = o.key(in.KeyID, ResourceKeys, policy.Read)
	default:
		who.key, err = o.r.KeyByClientID(o.ctx, in.ClientID)
		if err == nil && !o.actor.sees(who.key.CustomerID, who.key.MicrotenantID) {
			err = keystore.ErrNotFound
		}
		err = refusal(err, "key")
	}
	return who, err
}
