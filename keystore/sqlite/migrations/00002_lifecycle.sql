-- External sources, last use, retried requests, generations of tenants, and the
-- chain of the audit trail. Conventions as in 00001.

-- +goose Up

-- When sessions of a key were ended for a reason.
CREATE INDEX sessions_ended_for ON sessions (key_id, end_reason, ended) WHERE ended > 0;

ALTER TABLE customers ADD COLUMN generation INTEGER NOT NULL DEFAULT 0; -- of its keys' sessions
ALTER TABLE customers ADD COLUMN search TEXT NOT NULL DEFAULT ''; -- as of keys; Open fills in what is empty
ALTER TABLE microtenants ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE microtenants ADD COLUMN search TEXT NOT NULL DEFAULT '';

ALTER TABLE keys ADD COLUMN disabled_here INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN last_used_address TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN last_used_route TEXT NOT NULL DEFAULT '';

-- Lists of one customer, in each order that is not served already.
CREATE INDEX keys_of_customer_by_client_id ON keys (customer_id, client_id, id);
CREATE INDEX keys_of_customer_by_use ON keys (customer_id, last_used, id);
-- What a filtered list is counted by, and sorted by where no index is in its
-- order: the columns of the usual filters, so that no key's row is read for it.
CREATE INDEX keys_counted ON keys (customer_id, role_id, microtenant_id, source, enabled, disabled_here, expires_at, session_validity_ns, id, search, labels);
-- The keys of a source.
CREATE INDEX keys_by_source ON keys (customer_id, source, id) WHERE source <> '';

ALTER TABLE secrets ADD COLUMN last_used_address TEXT NOT NULL DEFAULT '';
ALTER TABLE secrets ADD COLUMN tried INTEGER NOT NULL DEFAULT 0; -- shown last when no longer good
ALTER TABLE secrets ADD COLUMN tried_address TEXT NOT NULL DEFAULT '';

CREATE TABLE sources (
	customer_id TEXT    NOT NULL REFERENCES customers (id),
	name        TEXT    NOT NULL,
	owner       TEXT    NOT NULL,
	rule        TEXT    NOT NULL,
	max_role_id TEXT    NOT NULL REFERENCES roles (id),
	created     INTEGER NOT NULL,
	modified    INTEGER NOT NULL,
	synced      INTEGER NOT NULL,
	synced_by   TEXT    NOT NULL,
	revision    INTEGER NOT NULL,
	PRIMARY KEY (customer_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX sources_by_role ON sources (max_role_id);
-- A key's source must be there: those named so far get the least rights.
INSERT INTO sources (customer_id, name, owner, rule, max_role_id, created, modified, synced, synced_by, revision)
	SELECT DISTINCT k.customer_id, k.source, '', 'read_only', 'role_api_read_only', 0, 0, 0, '', s.head FROM keys k, state s WHERE k.source <> '';

CREATE TABLE idempotency (
	owner       TEXT    NOT NULL,
	key         TEXT    NOT NULL,
	fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
	result      TEXT    NOT NULL, -- JSON
	revision    INTEGER NOT NULL,
	created     INTEGER NOT NULL,
	PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created);

-- Events from before the chain keep seq 0 and no hash: the chain begins behind them.
ALTER TABLE audit RENAME COLUMN chain TO hash;
ALTER TABLE audit ADD COLUMN seq INTEGER NOT NULL DEFAULT 0 CHECK (seq >= 0); -- in the customer's chain
ALTER TABLE audit ADD COLUMN number INTEGER NOT NULL DEFAULT 0; -- over all chains
ALTER TABLE audit ADD COLUMN microtenant_id TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN mac BLOB;
ALTER TABLE audit ADD COLUMN master_key_id TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX audit_chain ON audit (customer_id, seq) WHERE seq > 0;
CREATE UNIQUE INDEX audit_numbers ON audit (number) WHERE seq > 0;
CREATE INDEX audit_unchained ON audit (at) WHERE seq <= 0;
CREATE INDEX audit_by_target ON audit (target_id, id);
CREATE INDEX audit_by_actor ON audit (actor_id, id);
CREATE INDEX audit_by_request ON audit (request_id, id) WHERE request_id <> '';
CREATE INDEX audit_by_time ON audit (at);

CREATE TABLE audit_heads (
	customer_id           TEXT    PRIMARY KEY, -- '' for the events of no customer
	seq                   INTEGER NOT NULL,
	hash                  BLOB    NOT NULL CHECK (length(hash) = 32),
	mac                   BLOB    NOT NULL CHECK (length(mac) = 32),
	master_key_id         TEXT    NOT NULL,
	trimmed_seq           INTEGER NOT NULL DEFAULT 0, -- newest event no longer in audit
	trimmed_hash          BLOB,
	trimmed_mac           BLOB,
	trimmed_master_key_id TEXT    NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

-- One row, made by Open: what there should be of all chains together.
CREATE TABLE audit_root (
	one           INTEGER PRIMARY KEY CHECK (one = 1),
	appended      INTEGER NOT NULL, -- number of the newest event
	trimmed       INTEGER NOT NULL, -- how many are no longer in audit
	unchained     INTEGER NOT NULL, -- events with seq 0
	unchained_id  INTEGER NOT NULL, -- id of the newest of them
	since         INTEGER NOT NULL, -- when the row was made
	mac           BLOB    NOT NULL CHECK (length(mac) = 32),
	master_key_id TEXT    NOT NULL  -- '' without a seal
) STRICT;
