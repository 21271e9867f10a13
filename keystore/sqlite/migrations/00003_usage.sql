-- Calls per key and hour, and the latest failing tries of a key. Conventions as
-- in 00001.

-- +goose Up

CREATE TABLE key_calls (
	key_id TEXT    NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
	hour   INTEGER NOT NULL, -- when it begins
	calls  INTEGER NOT NULL,
	PRIMARY KEY (key_id, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX key_calls_by_hour ON key_calls (hour);

-- In the row of the whole client: see keystore.EncodeTries. NULL is none.
ALTER TABLE tallies ADD COLUMN tries BLOB;
