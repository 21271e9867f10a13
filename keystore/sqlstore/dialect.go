package sqlstore

// Dialect is what databases say differently. All else is SQL that each takes.
type Dialect struct {
	// Local: a statement takes microseconds, no round trips, and watching its context
	// would cost more.
	Local bool

	// BeginRead begins a transaction that only reads, on one snapshot: where databases
	// are local, that of its first read. BeginWrite begins one
	// that writes, once no other does (the turn); BeginFree one that writes beside
	// others, and may append neither changes nor audit events.
	BeginRead, BeginWrite, BeginFree string

	// Each reads a bound list (see List) as rows of one column.
	Each string
	// List is a list of text as it is bound for Each.
	List func(values []string) (any, error)
	// Contains begins a function of a text and what it may contain, which answers
	// where that is, 0 for nowhere.
	Contains string
	// Label finds, among the labels of k, one of a bound name; LabelValue one of a
	// bound name and value.
	Label, LabelValue string
	// KeyRow names a row of the keys k: what is cheapest to find it again by.
	KeyRow string
	// Unindexed stands before a column that is to be sorted by, whatever index there is.
	Unindexed string

	// LockKeys takes keys, a bound list, from all others who do so until the
	// transaction ends: "" where there is one writer at a time.
	LockKeys string
	// DrawSeqs reads a bound number of seqs of tallies, ascending, each past all that
	// were drawn before: "" where they are counted in the table state.
	DrawSeqs string
	// Announce tells whoever listens, once it is committed, that there are changes: ""
	// where nobody does.
	Announce string
	// Time is columns of state, the first of which reads the database's clock: what it says
	// of its time (see Time), "" where the time is that of the one machine. Where it is
	// not, BeginRead and BeginFree end with a statement that answers it.
	Time string
	// Ledger is the table in which counts that were stored are noted, "" where answers
	// cannot get lost: see ledger.
	Ledger string
	// Where tallies are written beside one another: TallyStamp ends the statement that
	// replaces one, with the number of the transaction that writes; TallyWritten is that
	// number in a row, and Horizon reads the oldest that is not over yet.
	TallyStamp, TallyWritten, Horizon string

	// History: revisions have stamps, and what may be accepted no more is remembered
	// apart from its record. See keystore.Historian.
	History bool
	// Distrust are statements for a database that turns out to have gone back, as what it
	// knows of the nodes did too: none of them is known to be fenced, or to have confirmed
	// anything, for as long as a lease in ns, which is bound. Moved sets right what a database that was moved from another server says
	// of the transactions that wrote it.
	Distrust []string
	Moved    string
	// Registry: there is a table of the nodes. See keystore.Registry.
	Registry bool

	// What copying a store takes (see Copy). Unhurried lifts the bounds on how long a
	// transaction may take, "" where there are none. SeqsDrawn reads the newest seq that
	// was drawn, and MoveSeqs and MoveAuditIDs move on, past a bound number, what seqs and
	// the ids of audit events are drawn from: "" where the tables themselves say so.
	Unhurried, SeqsDrawn, MoveSeqs, MoveAuditIDs string
	// FillLacks reads which rights this user lacks to do the latter, as "UPDATE on …": ""
	// where there are none to lack.
	FillLacks string
}
