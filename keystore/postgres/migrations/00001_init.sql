-- Times are Unix milliseconds, 0 for none, unless a column's name ends in _ns. Text
-- is compared byte for byte (COLLATE "C"), whatever language the database has.

-- +goose Up

-- One row: where the database stands.
CREATE TABLE state (
	id            INTEGER PRIMARY KEY CHECK (id = 1),
	head          BIGINT  NOT NULL DEFAULT 0, -- newest revision
	trimmed       BIGINT  NOT NULL DEFAULT 0, -- newest revision no longer in changes
	master_key_id TEXT    COLLATE "C" NOT NULL DEFAULT '', -- used last
	store_id      TEXT    COLLATE "C" NOT NULL, -- random, made with the store
	stamp         BIGINT  NOT NULL DEFAULT 0, -- of the newest revision
	-- What an operator has to accept, see keystore.Restore.
	restored          BIGINT NOT NULL DEFAULT 0, -- when it was noticed
	restored_from     BIGINT NOT NULL DEFAULT 0,
	restored_to       BIGINT NOT NULL DEFAULT 0,
	restored_replayed BIGINT NOT NULL DEFAULT 0,
	-- A stretch in which this server's clock is not known to have been set, and when
	-- it began.
	clock_era     BIGINT  NOT NULL DEFAULT 0,
	era_began     BIGINT  NOT NULL DEFAULT 0
);
INSERT INTO state (id, store_id) VALUES (1, replace(gen_random_uuid()::text, '-', ''));

-- The time that all nodes go by: Unix nanoseconds, at the moment it is called.
CREATE FUNCTION keyreeve_now() RETURNS BIGINT LANGUAGE sql VOLATILE
	AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000';

-- How the clocks of the machines that use the store stood beside the server's: the
-- latest measurement of each boot, by the machine's time since that boot. lo_ns and
-- hi_ns bound what the server's clock was ahead of it.
CREATE TABLE clocks (
	boot     TEXT   COLLATE "C" PRIMARY KEY,
	era      BIGINT NOT NULL,
	since_ns BIGINT NOT NULL,
	lo_ns    BIGINT NOT NULL,
	hi_ns    BIGINT NOT NULL,
	at_ns    BIGINT NOT NULL -- by the server's clock
) WITH (fillfactor = 50);

CREATE TABLE changes (
	rev         BIGINT  NOT NULL,
	n           INTEGER NOT NULL, -- order within the revision
	kind        TEXT    COLLATE "C" NOT NULL,
	id          TEXT    COLLATE "C" NOT NULL,
	client_id   TEXT    COLLATE "C" NOT NULL,
	customer_id TEXT    COLLATE "C" NOT NULL,
	at          BIGINT  NOT NULL,
	stamp       BIGINT  NOT NULL, -- random, the same in all of a revision: see keystore.Stamp
	PRIMARY KEY (rev, n)
);

-- What records may be accepted for, see keystore.Tombstone: one row for each whose
-- limits were changed lately.
CREATE TABLE tombstones (
	kind   TEXT    COLLATE "C" NOT NULL,
	parent TEXT    COLLATE "C" NOT NULL,
	id     TEXT    COLLATE "C" NOT NULL,
	gone   BOOLEAN NOT NULL,
	bounds TEXT    COLLATE "C" NOT NULL,
	rev    BIGINT  NOT NULL,
	stamp  BIGINT  NOT NULL,
	at     BIGINT  NOT NULL,
	PRIMARY KEY (kind, id, parent)
);
CREATE INDEX tombstones_by_revision ON tombstones (rev);

-- Tombstones of histories that are gone, made sure of in this one.
CREATE TABLE replayed (
	stamp  BIGINT NOT NULL, -- of the tombstone
	kind   TEXT   COLLATE "C" NOT NULL,
	id     TEXT   COLLATE "C" NOT NULL,
	parent TEXT   COLLATE "C" NOT NULL,
	at     BIGINT NOT NULL,
	PRIMARY KEY (stamp, kind, id, parent)
);

CREATE TABLE customers (
	id         TEXT    COLLATE "C" PRIMARY KEY,
	name       TEXT    COLLATE "C" NOT NULL UNIQUE,
	enabled    BOOLEAN NOT NULL,
	generation BIGINT  NOT NULL, -- of its keys' sessions
	created    BIGINT  NOT NULL,
	modified   BIGINT  NOT NULL,
	revision   BIGINT  NOT NULL,
	search     TEXT    COLLATE "C" NOT NULL -- as of keys
);

CREATE TABLE microtenants (
	customer_id TEXT    COLLATE "C" NOT NULL REFERENCES customers (id),
	id          TEXT    COLLATE "C" NOT NULL,
	name        TEXT    COLLATE "C" NOT NULL,
	enabled     BOOLEAN NOT NULL,
	generation  BIGINT  NOT NULL,
	created     BIGINT  NOT NULL,
	modified    BIGINT  NOT NULL,
	revision    BIGINT  NOT NULL,
	search      TEXT    COLLATE "C" NOT NULL,
	PRIMARY KEY (customer_id, id),
	UNIQUE (customer_id, name)
);

CREATE TABLE roles (
	id          TEXT    COLLATE "C" PRIMARY KEY,
	customer_id TEXT    COLLATE "C" NOT NULL, -- '' for every customer
	name        TEXT    COLLATE "C" NOT NULL,
	description TEXT    COLLATE "C" NOT NULL,
	permissions TEXT    COLLATE "C" NOT NULL, -- JSON: name to mask
	predefined  BOOLEAN NOT NULL,
	created     BIGINT  NOT NULL,
	modified    BIGINT  NOT NULL,
	revision    BIGINT  NOT NULL,
	UNIQUE (customer_id, name)
);

CREATE TABLE sources (
	customer_id TEXT   COLLATE "C" NOT NULL REFERENCES customers (id),
	name        TEXT   COLLATE "C" NOT NULL,
	owner       TEXT   COLLATE "C" NOT NULL,
	rule        TEXT   COLLATE "C" NOT NULL,
	max_role_id TEXT   COLLATE "C" NOT NULL REFERENCES roles (id),
	created     BIGINT NOT NULL,
	modified    BIGINT NOT NULL,
	synced      BIGINT NOT NULL,
	synced_by   TEXT   COLLATE "C" NOT NULL,
	revision    BIGINT NOT NULL,
	PRIMARY KEY (customer_id, name)
);
CREATE INDEX sources_by_role ON sources (max_role_id);

-- Room is left in each page: last uses are written often, and where a row has room
-- to be written anew beside itself, no index is touched.
CREATE TABLE keys (
	id                  TEXT    COLLATE "C" PRIMARY KEY,
	client_id           TEXT    COLLATE "C" NOT NULL UNIQUE,
	name                TEXT    COLLATE "C" NOT NULL,
	description         TEXT    COLLATE "C" NOT NULL,
	customer_id         TEXT    COLLATE "C" NOT NULL REFERENCES customers (id),
	microtenant_id      TEXT    COLLATE "C" NOT NULL, -- '' at customer level
	role_id             TEXT    COLLATE "C" NOT NULL REFERENCES roles (id),
	enabled             BOOLEAN NOT NULL,
	disabled_here       BOOLEAN NOT NULL,
	session_validity_ns BIGINT  NOT NULL,
	expires_at          BIGINT  NOT NULL,
	allowed_cidrs       TEXT    COLLATE "C" NOT NULL, -- separated by commas
	labels              TEXT    COLLATE "C" NOT NULL, -- JSON object, '' for none
	source              TEXT    COLLATE "C" NOT NULL,
	generation          BIGINT  NOT NULL, -- of its sessions
	last_used           BIGINT  NOT NULL,
	last_used_address   TEXT    COLLATE "C" NOT NULL,
	last_used_route     TEXT    COLLATE "C" NOT NULL,
	created             BIGINT  NOT NULL,
	created_by          TEXT    COLLATE "C" NOT NULL,
	modified            BIGINT  NOT NULL,
	modified_by         TEXT    COLLATE "C" NOT NULL,
	revision            BIGINT  NOT NULL,
	search              TEXT    COLLATE "C" NOT NULL, -- what a text search looks in, case-folded
	UNIQUE (customer_id, microtenant_id, name)
) WITH (fillfactor = 80);
CREATE INDEX keys_by_role ON keys (role_id);
-- Lists of one customer, and of all.
CREATE INDEX keys_of_customer_by_name ON keys (customer_id, name, id);
CREATE INDEX keys_of_customer_by_client_id ON keys (customer_id, client_id, id);
CREATE INDEX keys_of_customer_by_created ON keys (customer_id, created, id);
CREATE INDEX keys_of_customer_by_modified ON keys (customer_id, modified, id);
CREATE INDEX keys_by_name ON keys (name, id);
CREATE INDEX keys_by_created ON keys (created, id);
-- The keys of a source.
CREATE INDEX keys_by_source ON keys (customer_id, source, id) WHERE source <> '';

CREATE TABLE secrets (
	key_id            TEXT    COLLATE "C" NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
	pos               INTEGER NOT NULL, -- order within the key
	id                TEXT    COLLATE "C" NOT NULL UNIQUE,
	verifier          BYTEA   NOT NULL CHECK (length(verifier) = 32),
	master_key_id     TEXT    COLLATE "C" NOT NULL,
	hint              TEXT    COLLATE "C" NOT NULL,
	created           BIGINT  NOT NULL,
	expires           BIGINT  NOT NULL,
	retired           BIGINT  NOT NULL,
	ends              BIGINT  NOT NULL, -- retired, else expires: when it is or was over
	last_used         BIGINT  NOT NULL,
	last_used_address TEXT    COLLATE "C" NOT NULL,
	tried             BIGINT  NOT NULL, -- shown last when no longer good
	tried_address     TEXT    COLLATE "C" NOT NULL,
	PRIMARY KEY (key_id, pos)
) WITH (fillfactor = 80);
CREATE INDEX secrets_by_master_key ON secrets (master_key_id);
CREATE INDEX secrets_by_end ON secrets (ends) WHERE ends > 0;

-- Drawn while the key of the tally is held, so that they ascend in each tally.
CREATE SEQUENCE tally_seqs;

CREATE TABLE tallies (
	key_id        TEXT   COLLATE "C" NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
	source        TEXT   COLLATE "C" NOT NULL, -- '' for the whole client
	failures      DOUBLE PRECISION NOT NULL,
	last_wall_ns  BIGINT NOT NULL,
	last_boot     TEXT   COLLATE "C" NOT NULL,
	last_since_ns BIGINT NOT NULL,
	lock_wall_ns  BIGINT NOT NULL,
	lock_boot     TEXT   COLLATE "C" NOT NULL,
	lock_since_ns BIGINT NOT NULL,
	locked_for_ns BIGINT NOT NULL, -- 0 is not locked
	seen          BYTEA,           -- fingerprints, 8 bytes each
	trusted_ns    BIGINT NOT NULL,
	seq           BIGINT NOT NULL UNIQUE,
	at            BIGINT NOT NULL,
	tries         BYTEA,           -- in the row of the whole client: see keystore.EncodeTries
	written       BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint), -- the transaction that wrote it
	PRIMARY KEY (key_id, source)
) WITH (fillfactor = 80);
CREATE INDEX tallies_locked ON tallies (key_id, source) WHERE locked_for_ns > 0;
CREATE INDEX tallies_by_time ON tallies (at);
CREATE INDEX tallies_by_writer ON tallies (written);

-- The latest batch that each node has counted.
CREATE TABLE counted (
	node  TEXT   COLLATE "C" PRIMARY KEY,
	batch BIGINT NOT NULL,
	at    BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE sessions (
	id         TEXT   COLLATE "C" PRIMARY KEY,
	key_id     TEXT   COLLATE "C" NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
	secret_id  TEXT   COLLATE "C" NOT NULL,
	generation BIGINT NOT NULL, -- of the key's sessions, as the id names it
	address    TEXT   COLLATE "C" NOT NULL,
	issued     BIGINT NOT NULL,
	expires    BIGINT NOT NULL,
	ended      BIGINT NOT NULL,
	end_reason TEXT   COLLATE "C" NOT NULL
);
CREATE INDEX sessions_by_key ON sessions (key_id, issued);
CREATE INDEX sessions_by_issue ON sessions (issued, id);
CREATE INDEX sessions_by_expiry ON sessions (expires);
CREATE INDEX sessions_ended ON sessions (expires) WHERE ended > 0;
-- When sessions of a key were ended for a reason.
CREATE INDEX sessions_ended_for ON sessions (key_id, end_reason, ended) WHERE ended > 0;

CREATE TABLE signing_keys (
	id            TEXT   COLLATE "C" PRIMARY KEY,
	algorithm     TEXT   COLLATE "C" NOT NULL,
	public        TEXT   COLLATE "C" NOT NULL, -- JWK
	sealed        BYTEA  NOT NULL, -- private key, encrypted under the master key
	master_key_id TEXT   COLLATE "C" NOT NULL,
	created       BIGINT NOT NULL,
	sign_from     BIGINT NOT NULL,
	sign_until    BIGINT NOT NULL,
	expires       BIGINT NOT NULL
);

CREATE TABLE idempotency (
	owner       TEXT   COLLATE "C" NOT NULL,
	key         TEXT   COLLATE "C" NOT NULL,
	fingerprint BYTEA  NOT NULL CHECK (length(fingerprint) = 32),
	result      TEXT   COLLATE "C" NOT NULL, -- JSON
	revision    BIGINT NOT NULL,
	created     BIGINT NOT NULL,
	PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created);

-- seq 0 and below is for events from before there was a chain, of which a database
-- that was moved here may have some.
CREATE TABLE audit (
	id             BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
	seq            BIGINT NOT NULL CHECK (seq >= 0), -- in the customer's chain
	number         BIGINT NOT NULL, -- over all chains
	at             BIGINT NOT NULL,
	customer_id    TEXT   COLLATE "C" NOT NULL,
	microtenant_id TEXT   COLLATE "C" NOT NULL,
	actor_kind     TEXT   COLLATE "C" NOT NULL,
	actor_id       TEXT   COLLATE "C" NOT NULL,
	actor_name     TEXT   COLLATE "C" NOT NULL,
	address        TEXT   COLLATE "C" NOT NULL,
	request_id     TEXT   COLLATE "C" NOT NULL,
	action         TEXT   COLLATE "C" NOT NULL,
	target_kind    TEXT   COLLATE "C" NOT NULL,
	target_id      TEXT   COLLATE "C" NOT NULL,
	target_name    TEXT   COLLATE "C" NOT NULL,
	before         TEXT   COLLATE "C",
	after          TEXT   COLLATE "C",
	hash           BYTEA,
	mac            BYTEA,
	master_key_id  TEXT   COLLATE "C" NOT NULL
);
CREATE INDEX audit_by_customer ON audit (customer_id, id);
CREATE UNIQUE INDEX audit_chain ON audit (customer_id, seq) WHERE seq > 0;
CREATE UNIQUE INDEX audit_numbers ON audit (number) WHERE seq > 0;
CREATE INDEX audit_unchained ON audit (at) WHERE seq <= 0;
CREATE INDEX audit_by_target ON audit (target_id, id);
CREATE INDEX audit_by_actor ON audit (actor_id, id);
CREATE INDEX audit_by_request ON audit (request_id, id) WHERE request_id <> '';
CREATE INDEX audit_by_time ON audit (at);

CREATE TABLE audit_heads (
	customer_id           TEXT   COLLATE "C" PRIMARY KEY, -- '' for the events of no customer
	seq                   BIGINT NOT NULL,
	hash                  BYTEA  NOT NULL CHECK (length(hash) = 32),
	mac                   BYTEA  NOT NULL CHECK (length(mac) = 32),
	master_key_id         TEXT   COLLATE "C" NOT NULL,
	trimmed_seq           BIGINT NOT NULL DEFAULT 0, -- newest event no longer in audit
	trimmed_hash          BYTEA,
	trimmed_mac           BYTEA,
	trimmed_master_key_id TEXT   COLLATE "C" NOT NULL DEFAULT ''
);

-- One row, made when the store is opened first: what there should be of all chains
-- together.
CREATE TABLE audit_root (
	one           INTEGER PRIMARY KEY CHECK (one = 1),
	appended      BIGINT  NOT NULL, -- number of the newest event
	trimmed       BIGINT  NOT NULL, -- how many are no longer in audit
	unchained     BIGINT  NOT NULL, -- events with seq 0
	unchained_id  BIGINT  NOT NULL, -- id of the newest of them
	since         BIGINT  NOT NULL, -- when the row was made
	mac           BYTEA   NOT NULL CHECK (length(mac) = 32),
	master_key_id TEXT    COLLATE "C" NOT NULL -- '' without a seal
);

-- The processes that decide on requests, see keystore.Registered. There is no index but
-- that of the id, and room for a few versions of each row: rows are renewed often.
CREATE TABLE nodes (
	id           TEXT    COLLATE "C" PRIMARY KEY,
	token        TEXT    COLLATE "C" NOT NULL, -- of the process that has the row
	turn         BIGINT  NOT NULL, -- of its renewals the latest
	name         TEXT    COLLATE "C" NOT NULL,
	version      TEXT    COLLATE "C" NOT NULL,
	started      BIGINT  NOT NULL,
	position     BIGINT  NOT NULL, -- confirmed
	renewed_ns   BIGINT  NOT NULL, -- by this server's clock
	era          BIGINT  NOT NULL, -- of that clock
	lease_ns     BIGINT  NOT NULL,
	max_stale_ns BIGINT  NOT NULL,
	stopped      BOOLEAN NOT NULL,
	boot         TEXT    COLLATE "C" NOT NULL DEFAULT '' -- see keystore.Registration
) WITH (fillfactor = 40);

CREATE TABLE preferences (
	owner TEXT COLLATE "C" NOT NULL,
	name  TEXT COLLATE "C" NOT NULL,
	value TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (owner, name)
);

CREATE TABLE key_calls (
	key_id TEXT   COLLATE "C" NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
	hour   BIGINT NOT NULL, -- when it begins
	calls  BIGINT NOT NULL,
	PRIMARY KEY (key_id, hour)
) WITH (fillfactor = 80);
CREATE INDEX key_calls_by_hour ON key_calls (hour);
