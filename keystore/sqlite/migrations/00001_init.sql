-- Times are Unix milliseconds, 0 for none, unless a column's name ends in _ns.
-- Text is compared byte for byte (BINARY, SQLite's default).

-- +goose Up

-- One row: where the database stands.
CREATE TABLE state (
	id            INTEGER PRIMARY KEY CHECK (id = 1),
	head          INTEGER NOT NULL DEFAULT 0, -- newest revision
	trimmed       INTEGER NOT NULL DEFAULT 0, -- newest revision no longer in changes
	tally_seq     INTEGER NOT NULL DEFAULT 0, -- newest seq of a tally
	master_key_id TEXT    NOT NULL DEFAULT '', -- used last
	store_id      TEXT    NOT NULL DEFAULT ''  -- random, made with the store
) STRICT;
INSERT INTO state (id, store_id) VALUES (1, lower(hex(randomblob(16))));

CREATE TABLE changes (
	rev         INTEGER NOT NULL,
	n           INTEGER NOT NULL, -- order within the revision
	kind        TEXT    NOT NULL,
	id          TEXT    NOT NULL,
	client_id   TEXT    NOT NULL,
	customer_id TEXT    NOT NULL,
	at          INTEGER NOT NULL,
	PRIMARY KEY (rev, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE customers (
	id       TEXT    PRIMARY KEY,
	name     TEXT    NOT NULL UNIQUE,
	enabled  INTEGER NOT NULL,
	created  INTEGER NOT NULL,
	modified INTEGER NOT NULL,
	revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE microtenants (
	customer_id TEXT    NOT NULL REFERENCES customers (id),
	id          TEXT    NOT NULL,
	name        TEXT    NOT NULL,
	enabled     INTEGER NOT NULL,
	created     INTEGER NOT NULL,
	modified    INTEGER NOT NULL,
	revision    INTEGER NOT NULL,
	PRIMARY KEY (customer_id, id),
	UNIQUE (customer_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE roles (
	id          TEXT    PRIMARY KEY,
	customer_id TEXT    NOT NULL, -- '' for every customer
	name        TEXT    NOT NULL,
	description TEXT    NOT NULL,
	permissions TEXT    NOT NULL, -- JSON: name to mask
	predefined  INTEGER NOT NULL,
	created     INTEGER NOT NULL,
	modified    INTEGER NOT NULL,
	revision    INTEGER NOT NULL,
	UNIQUE (customer_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
	id                  TEXT    NOT NULL UNIQUE,
	client_id           TEXT    NOT NULL UNIQUE,
	name                TEXT    NOT NULL,
	description         TEXT    NOT NULL,
	customer_id         TEXT    NOT NULL REFERENCES customers (id),
	microtenant_id      TEXT    NOT NULL, -- '' at customer level
	role_id             TEXT    NOT NULL REFERENCES roles (id),
	enabled             INTEGER NOT NULL,
	session_validity_ns INTEGER NOT NULL,
	expires_at          INTEGER NOT NULL,
	allowed_cidrs       TEXT    NOT NULL, -- separated by commas
	labels              TEXT    NOT NULL, -- JSON object, '' for none
	source              TEXT    NOT NULL,
	generation          INTEGER NOT NULL, -- of its sessions
	last_used           INTEGER NOT NULL,
	created             INTEGER NOT NULL,
	created_by          TEXT    NOT NULL,
	modified            INTEGER NOT NULL,
	modified_by         TEXT    NOT NULL,
	revision            INTEGER NOT NULL,
	search              TEXT    NOT NULL, -- what a text search looks in, case-folded
	UNIQUE (customer_id, microtenant_id, name)
) STRICT;
CREATE INDEX keys_by_role ON keys (role_id);
-- Lists of one customer, and of all.
CREATE INDEX keys_of_customer_by_name ON keys (customer_id, name, id);
CREATE INDEX keys_of_customer_by_created ON keys (customer_id, created, id);
CREATE INDEX keys_of_customer_by_modified ON keys (customer_id, modified, id);
CREATE INDEX keys_by_name ON keys (name, id);
CREATE INDEX keys_by_created ON keys (created, id);

CREATE TABLE secrets (
	key_id        TEXT    NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
	pos           INTEGER NOT NULL, -- order within the key
	id            TEXT    NOT NULL UNIQUE,
	verifier      BLOB    NOT NULL CHECK (length(verifier) = 32),
	master_key_id TEXT    NOT NULL,
	hint          TEXT    NOT NULL,
	created       INTEGER NOT NULL,
	expires       INTEGER NOT NULL,
	retired       INTEGER NOT NULL,
	ends          INTEGER NOT NULL, -- retired, else expires: when it is or was over
	last_used     INTEGER NOT NULL,
	PRIMARY KEY (key_id, pos)
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_by_master_key ON secrets (master_key_id);
CREATE INDEX secrets_by_end ON secrets (ends) WHERE ends > 0;

CREATE TABLE tallies (
	key_id         TEXT    NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
	source         TEXT    NOT NULL, -- '' for the whole client
	failures       REAL    NOT NULL,
	last_wall_ns   INTEGER NOT NULL,
	last_boot      TEXT    NOT NULL,
	last_since_ns  INTEGER NOT NULL,
	lock_wall_ns   INTEGER NOT NULL,
	lock_boot      TEXT    NOT NULL,
	lock_since_ns  INTEGER NOT NULL,
	locked_for_ns  INTEGER NOT NULL, -- 0 is not locked
	seen           BLOB,             -- fingerprints, 8 bytes each
	trusted_ns     INTEGER NOT NULL,
	seq            INTEGER NOT NULL UNIQUE,
	at             INTEGER NOT NULL,
	PRIMARY KEY (key_id, source)
) STRICT, WITHOUT ROWID;
CREATE INDEX tallies_locked ON tallies (key_id, source) WHERE locked_for_ns > 0;

CREATE TABLE sessions (
	id         TEXT    PRIMARY KEY,
	key_id     TEXT    NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
	secret_id  TEXT    NOT NULL,
	generation INTEGER NOT NULL, -- of the key's sessions, as the id names it
	address    TEXT    NOT NULL,
	issued     INTEGER NOT NULL,
	expires    INTEGER NOT NULL,
	ended      INTEGER NOT NULL,
	end_reason TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_key ON sessions (key_id, issued);
CREATE INDEX sessions_by_issue ON sessions (issued, id);
CREATE INDEX sessions_by_expiry ON sessions (expires);
CREATE INDEX sessions_ended ON sessions (expires) WHERE ended > 0;

CREATE TABLE signing_keys (
	id            TEXT    PRIMARY KEY,
	algorithm     TEXT    NOT NULL,
	public        TEXT    NOT NULL, -- JWK
	sealed        BLOB    NOT NULL, -- private key, encrypted under the master key
	master_key_id TEXT    NOT NULL,
	created       INTEGER NOT NULL,
	sign_from     INTEGER NOT NULL,
	sign_until    INTEGER NOT NULL,
	expires       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	at          INTEGER NOT NULL,
	customer_id TEXT    NOT NULL,
	actor_kind  TEXT    NOT NULL,
	actor_id    TEXT    NOT NULL,
	actor_name  TEXT    NOT NULL,
	address     TEXT    NOT NULL,
	request_id  TEXT    NOT NULL,
	action      TEXT    NOT NULL,
	target_kind TEXT    NOT NULL,
	target_id   TEXT    NOT NULL,
	target_name TEXT    NOT NULL,
	before      TEXT,
	after       TEXT,
	chain       BLOB
) STRICT;
CREATE INDEX audit_by_customer ON audit (customer_id, id);

CREATE TABLE preferences (
	owner TEXT NOT NULL,
	name  TEXT NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;
