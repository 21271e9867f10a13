-- The rights of a gate's user in the PostgreSQL key store: to read and write the
-- tables, and no more. The tables belong to another user, who makes and migrates
-- them: run `keyreeve schema upgrade` of a new version with the owner's dsn, then this
-- script as the owner, or both by its `--grant`, then the gates.
--
--   psql "$OWNER_DSN" -v gate=keyreeve_gate -f postgres-grants.sql
--
-- Run it again after each migration: it covers the tables that are there by then.

GRANT USAGE ON SCHEMA public TO :"gate";
GRANT SELECT, INSERT, UPDATE, DELETE ON
	audit, audit_heads, audit_root, changes, clocks, counted, customers, idempotency, key_calls, keys, microtenants, nodes, preferences,
	replayed, roles, secrets, sessions, signing_keys, sources, tallies, tombstones
	TO :"gate";
-- One row that is there, and stays.
GRANT SELECT, UPDATE ON state TO :"gate";
GRANT USAGE ON SEQUENCE tally_seqs TO :"gate";
-- The time that all nodes go by.
GRANT EXECUTE ON FUNCTION keyreeve_now() TO :"gate";
-- Which version the tables are of.
GRANT SELECT ON goose_db_version TO :"gate";
