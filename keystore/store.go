package keystore

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// What a store can answer besides what was asked for. Any other error means
// that the store could not be asked: unavailable, never "unknown".
var (
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrConflict: a record with that name, id or client ID is there already.
	ErrConflict = errors.New("conflict")
	// ErrInUse: the record is referred to and cannot go.
	ErrInUse = errors.New("in use")
	// ErrBehind: the change log no longer reaches back to that position.
	ErrBehind = errors.New("change log trimmed past this position")
	// ErrNewer: the database was written by a newer version.
	ErrNewer = errors.New("database belongs to a newer version")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store closed")
	// ErrFull: the disk has no room; nothing was written.
	ErrFull = errors.New("no space left for the store")
	// ErrUnavailable: the store cannot be reached, or not written to, for now: nothing
	// was written, and it may be tried again later. What is wrong with the store itself
	// or with how it is reached is no such error.
	ErrUnavailable = errors.New("the key store is out of reach")
	// ErrInDoubt: the store was lost while it committed, so what was written may be
	// stored or not. Whoever tries again must look first.
	ErrInDoubt = errors.New("the key store was lost in the middle of a commit, so this may be stored or not")
)

// Store is a database of keys. All methods are safe for concurrent use. Every
// implementation passes storetest.
type Store interface {
	// KeyByClientID is the cache's miss path: one point lookup, secrets included
	// (the retired ones still remembered too). ErrNotFound if there is none.
	KeyByClientID(ctx context.Context, clientID string) (*Key, error)

	// View runs fn on one consistent snapshot.
	View(ctx context.Context, fn func(Reader) error) error
	// Update runs fn in one serialisable, durable transaction: all of it is
	// stored when Update returns nil, else none. The revision is that of the
	// transaction's changes, or the head if it changed nothing a decision depends on.
	Update(ctx context.Context, fn func(Tx) error) (Revision, error)

	// Count counts proofs, each atomically by l.Fail or l.Succeed, in order, all in
	// one durable transaction. A failure that locks appends a lock change and an
	// audit event. Each failure that counts is kept among the key's tries. Unknown
	// keys get a zero result.
	Count(ctx context.Context, l policy.Lockout, proofs []Proof) ([]CountResult, error)

	// Head is the newest revision.
	Head(ctx context.Context) (Revision, error)
	// Changes lists changes after a position, oldest first, whole revisions only
	// and at least one if there is any; more may remain. ErrBehind where the log
	// was trimmed, or lies behind `after`.
	Changes(ctx context.Context, after Revision) ([]Change, error)
	// Tallies lists failure counts and locks whose Seq is past after, oldest
	// first; a cleared or expired one is listed as zero. after 0 lists all that are not
	// empty, a negative one all there are.
	Tallies(ctx context.Context, after int64) ([]Tally, error)

	// Trim forgets what no longer matters: changes older than keep, retired
	// secrets past RetiredSecretMemory, requests past IdempotencyMemory, empty
	// tallies, sessions and signing keys long over. It seals ends of audit chains
	// that an older master key sealed anew under the current one.
	Trim(ctx context.Context, l policy.Lockout, keep time.Duration) error

	// Use records uses, all in one transaction; keys and secrets that are gone are
	// passed over, and nothing older than what is recorded already replaces it. It is
	// not in the change log: no decision depends on it. Calls are added to those that
	// are recorded of the same key and hour; hours past CallMemory are forgotten.
	Use(ctx context.Context, uses []Use, calls ...Calls) error
	// SealAudit names what the audit trail is sealed with. Until it is called, every
	// write with an audit event fails.
	SealAudit(s AuditSealer)
	// TrimAudit forgets audit events older than keep, but for the newest of each
	// chain; the chain keeps where it begins now. What does not verify, and what
	// follows on it, stays: an error tells of it once all chains were seen to.
	TrimAudit(ctx context.Context, keep time.Duration) error

	// Identity names the database: two stores with one identity share state.
	Identity() string
	// MasterKeyIDs lists the master keys that stored verifiers, signing keys in
	// use and the ends of audit chains depend on, and the one used last.
	MasterKeyIDs(ctx context.Context) ([]string, error)
	// Close ends all use; calls still under way finish, later ones get ErrClosed.
	Close() error
}

// Proof is one secret that was shown, to be counted.
type Proof struct {
	KeyID string
	// Source is the caller's network (guard), "" in strict mode.
	Source string
	// Address is the caller's address, for the audit of a lock.
	Address string
	// RequestID is that of the request, "" for none, for the audit of a lock.
	RequestID string
	// Fingerprint identifies the wrong secret of this key without revealing it; 0 is
	// not known.
	Fingerprint uint64
	// Success: the secret was right and clears the count.
	Success bool
	// At is when it was shown; zero is the transaction's time. A proof that the
	// store hears of late counts as of then.
	At policy.Instant
	// Locked and SourceLocked: the node that it was shown to has locked the client,
	// or the source, by it, while the store was out of reach. So does the store,
	// whatever it counted meanwhile: of two views the stricter stands.
	Locked, SourceLocked bool
}

// Count counts the proof on top of the client's and the source's tallies; counted
// is false where it changed nothing. Stores and caches count by this alone.
func (p *Proof) Count(l policy.Lockout, whole, source policy.Tally) (w, s policy.Tally, out policy.Outcome, counted bool) {
	if p.Success {
		w, s, counted = l.Succeed(whole, source, p.At)
		return w, s, out, counted
	}
	w, s, out = l.Fail(whole, source, p.At, p.Fingerprint)
	if p.Locked && !out.Locked {
		w, out.Locked = l.Lock(w, p.At)
	}
	if p.SourceLocked && !out.SourceLocked {
		s, out.SourceLocked = l.Lock(s, p.At)
	}
	return w, s, out, out.Counted || out.Locked || out.SourceLocked
}

// CountResult is where a proof left the counts.
type CountResult struct {
	policy.Outcome
	// OK: (a success) the counts were cleared; false if the caller is locked.
	OK bool
	// Whole and Source are the tallies afterwards, with their Seq.
	Whole, Source Tally
}

// KeyQuery selects and orders keys. Zero fields do not filter.
type KeyQuery struct {
	CustomerID    string
	MicrotenantID string
	// AllCustomers must be set for a query that names no customer.
	AllCustomers bool
	// CustomerLevel selects keys in no microtenant.
	CustomerLevel bool
	RoleID        string
	Source        string
	// OwnOnly selects keys of no external source.
	OwnOnly bool
	// Text is found in name, description or client ID, case-insensitively.
	Text string
	// Name, ID and ClientID match exactly.
	Name, ID, ClientID string
	// State is active, disabled, locked or expired.
	State string
	// Labels must all match.
	Labels []LabelFilter
	// CreatedAfter and CreatedBefore exclude the instant itself, ExpiresBefore too;
	// a key without expiry does not expire before anything.
	CreatedAfter, CreatedBefore, ExpiresBefore time.Time
	// NeverUsed selects keys by whether they were ever used; nil is both.
	NeverUsed *bool
	// Locked selects keys by whether the whole client is locked, disabled and
	// expired ones too; nil is both.
	Locked *bool
	// Sort is the order, by the first field first; none is by name. The id is always last.
	Sort []SortField
	// After continues behind this place; nil starts at the beginning.
	After *Cursor
	// Offset skips; used instead of After.
	Offset int
	// Limit is the most keys to list; 0 only counts.
	Limit int
}

// LabelFilter selects keys by a label.
type LabelFilter struct {
	Name string
	// Value is what it must be; nil is anything.
	Value *string
}

// SortField is one field of an order.
type SortField struct {
	Field string
	Desc  bool
}

// Cursor is a place in a sorted list: behind the record with these sort values
// and this id.
type Cursor struct {
	Values []string
	ID     string
	// AsOf is KeyQuery.AsOf, in lists of keys alone.
	AsOf time.Time
}

// TenantQuery selects customers or microtenants. Zero fields do not filter.
type TenantQuery struct {
	// CustomerID is the customer itself, or that of the microtenants.
	CustomerID string
	// ID is that of the microtenant.
	ID string
	// AllCustomers must be set for a query that names no customer.
	AllCustomers bool
	// Text is found in name or id, case-insensitively.
	Text string
	// Sort is by name or created_at; the zero value is by name.
	Sort SortField
	// After continues behind this place; nil starts at the beginning.
	After *Cursor
	// Offset skips; used instead of After.
	Offset int
	// Limit is the most records to list; 0 only counts.
	Limit int
}

// Reader reads one consistent snapshot. Records are the caller's own.
type Reader interface {
	// Now is the snapshot's time.
	Now() policy.Instant
	Key(ctx context.Context, id string) (*Key, error)
	KeyByClientID(ctx context.Context, clientID string) (*Key, error)
	// Keys lists matching keys, and how many match in all.
	Keys(ctx context.Context, q KeyQuery) (keys []*Key, total int, err error)
	// KeyCursor is the place of a key in the list in the query's order. Its values are
	// text that Keys takes back; times are in Unix milliseconds.
	KeyCursor(ctx context.Context, q KeyQuery, id string) (Cursor, error)
	// Tallies lists the failure counts of these keys by key, the whole client's of
	// each first.
	Tallies(ctx context.Context, keyIDs ...string) ([]Tally, error)
	// Tries lists the latest tries that failed with a key and counted, oldest first:
	// at most MaxTries, since the key was last unlocked and not past TryMemory.
	Tries(ctx context.Context, keyID string) ([]Try, error)
	// Calls lists how often a key was called in each hour that began then or later,
	// oldest first. Hours without a call are not in it.
	Calls(ctx context.Context, keyID string, from time.Time) ([]Calls, error)
	// Locks lists the locks in force, and how many there are in all.
	Locks(ctx context.Context, q LockQuery) (locks []Lock, total int, err error)
	Role(ctx context.Context, id string) (*Role, error)
	// Roles lists a customer's roles and the global ones; customerID "" lists all. By name.
	Roles(ctx context.Context, customerID string) ([]*Role, error)
	Customer(ctx context.Context, id string) (*Customer, error)
	Customers(ctx context.Context) ([]*Customer, error)
	// ListCustomers lists matching customers, and how many match in all.
	ListCustomers(ctx context.Context, q TenantQuery) (customers []*Customer, total int, err error)
	Microtenant(ctx context.Context, customerID, id string) (*Microtenant, error)
	// Microtenants lists a customer's; "" lists all.
	Microtenants(ctx context.Context, customerID string) ([]*Microtenant, error)
	// ListMicrotenants lists matching microtenants, and how many match in all.
	ListMicrotenants(ctx context.Context, q TenantQuery) (microtenants []*Microtenant, total int, err error)
	// KeysByRole counts keys by their role; customerID "" counts those of all, and
	// microtenantID "" those of all microtenants and of none.
	KeysByRole(ctx context.Context, customerID, microtenantID string) (map[string]int, error)
	// KeysByTenant counts keys by their customer, and in it by their microtenant: ""
	// has those of none. customerID "" counts those of all customers.
	KeysByTenant(ctx context.Context, customerID string) (map[string]map[string]int, error)
	// MicrotenantsByCustomer counts microtenants; customerID "" counts those of all.
	MicrotenantsByCustomer(ctx context.Context, customerID string) (map[string]int, error)
	Source(ctx context.Context, customerID, name string) (*Source, error)
	// Sources lists a customer's, by name; "" lists all.
	Sources(ctx context.Context, customerID string) ([]*Source, error)
	Session(ctx context.Context, id string) (*Session, error)
	// ListSessions lists matching sessions of any key, and how many match in all.
	ListSessions(ctx context.Context, q SessionQuery) (sessions []*Session, total int, err error)
	// EndedSessions lists sessions that were ended early and have not expired yet.
	EndedSessions(ctx context.Context) ([]*Session, error)
	// SessionsBeyond lists the sessions of a key that are neither ended nor
	// expired, but for the newest `keep`.
	SessionsBeyond(ctx context.Context, keyID string, keep int) ([]*Session, error)
	// LastEnded is when a session of the key was last ended for that reason before a
	// time, zero for never.
	LastEnded(ctx context.Context, keyID, reason string, before time.Time) (time.Time, error)
	// CountEnded is how many were, from one time on and before another.
	CountEnded(ctx context.Context, keyID, reason string, from, before time.Time) (int, error)
	// SigningKeys lists all that have not expired, by id.
	SigningKeys(ctx context.Context) ([]*SigningKey, error)
	// StoreID is a random name that the store was given when it was made.
	StoreID(ctx context.Context) (string, error)
	// AuditEvents lists matching events, and how many match in all.
	AuditEvents(ctx context.Context, q AuditQuery) (events []*Audit, total int, err error)
	// AuditHeads lists the ends of one customer's chain, or of every chain where
	// all is set. The chain of events of no customer has customerID "".
	AuditHeads(ctx context.Context, customerID string, all bool) ([]AuditHead, error)
	// AuditTotals is what there is of the whole trail, and what should be.
	AuditTotals(ctx context.Context) (AuditTotals, error)
	// AuditCustomers lists whose events there are, by id; "" for those of none.
	AuditCustomers(ctx context.Context) ([]string, error)
	// Idempotency is what was done under this name. ErrNotFound if nothing was.
	Idempotency(ctx context.Context, owner, key string) (*Idempotency, error)
	Preferences(ctx context.Context, owner string) ([]Preference, error)
	Head(ctx context.Context) (Revision, error)
}

// Tx reads and writes. Put inserts a record or replaces it whole, sets its
// Revision to the transaction's and logs the change. Constraints (unique names
// and client IDs, references) answer ErrConflict, ErrNotFound and ErrInUse.
type Tx interface {
	Reader
	// PutKey stores the key and exactly its Secrets.
	PutKey(ctx context.Context, k *Key) error
	DeleteKey(ctx context.Context, id string) error
	// Unlock clears every count and lock of a key and its tries, and logs a lock change.
	Unlock(ctx context.Context, keyID string) error
	PutRole(ctx context.Context, r *Role) error
	DeleteRole(ctx context.Context, id string) error
	PutCustomer(ctx context.Context, c *Customer) error
	DeleteCustomer(ctx context.Context, id string) error
	PutMicrotenant(ctx context.Context, m *Microtenant) error
	DeleteMicrotenant(ctx context.Context, customerID, id string) error
	// PutSession logs a change only for a session that has ended: a sign-in is no
	// news to other nodes.
	PutSession(ctx context.Context, s *Session) error
	PutSigningKey(ctx context.Context, k *SigningKey) error
	// PutSource stores a source; its customer and role must exist.
	PutSource(ctx context.Context, s *Source) error
	// TouchSource records that a source's list was pushed and said nothing new. It
	// is no change: neither its revision nor the change log moves.
	TouchSource(ctx context.Context, customerID, name string, at time.Time, by string) error
	// DeleteSource answers ErrInUse while it owns keys.
	DeleteSource(ctx context.Context, customerID, name string) error
	// PutIdempotency remembers a request for IdempotencyMemory. ErrConflict if its
	// name is taken.
	PutIdempotency(ctx context.Context, i *Idempotency) error
	// AddAudit appends an event to its customer's chain; ID, Seq, Number, Hash, MAC
	// and MasterKeyID are set. What an end is sealed with is made sure of first: under
	// a master key that is not held nothing is written.
	AddAudit(ctx context.Context, e *Audit) error
	// PutPreference stores a value, or removes it when Value is nil.
	PutPreference(ctx context.Context, p Preference) error
	// Rewrap replaces a secret's verifier by the same under another master key.
	// No edit of the key: its revision stays. It is logged, so that caches read the
	// key again and the older master key may be taken away.
	Rewrap(ctx context.Context, secretID string, verifier [32]byte, masterKeyID string) error
}
