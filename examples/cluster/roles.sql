-- The users and the database, once, as the server's superuser:
--
--   KEYREEVE_SECRETS=/srv/keyreeve-setup psql -v ON_ERROR_STOP=1 -f roles.sql "host=db.internal user=postgres dbname=postgres"
--
-- psql reads owner-password and gate-password there itself, as the user of the operating
-- system that runs it: `sudo -u postgres psql` cannot look into a directory of root's.
--
-- The owner makes and migrates the tables; the gates may read and write them and no
-- more (postgres-grants.sql), so that a gate that is taken over cannot drop its tracks.
\set owner_password `cat "${KEYREEVE_SECRETS:-/run/secrets}/owner-password"`
\set gate_password `cat "${KEYREEVE_SECRETS:-/run/secrets}/gate-password"`
-- A file that cannot be read is an empty password to psql, and no error: a user without
-- a password, whom nobody notices until the gates cannot sign in.
\set ON_ERROR_STOP on
SELECT least(length(:'owner_password'), length(:'gate_password')) >= 16 AS passwords \gset
\if :passwords
\else
DO $$ BEGIN
	RAISE EXCEPTION 'owner-password or gate-password in KEYREEVE_SECRETS (or /run/secrets) cannot be read by the user who runs psql, or has less than 16 characters; nothing was made';
END $$;
\endif
-- How it is stored is made here, whatever the server's default was.
SET password_encryption = 'scram-sha-256';
CREATE ROLE keyreeve_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE keyreeve_gate LOGIN PASSWORD :'gate_password';
CREATE DATABASE keyreeve OWNER keyreeve_owner TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE keyreeve FROM PUBLIC;
GRANT CONNECT ON DATABASE keyreeve TO keyreeve_gate;
\connect keyreeve
ALTER SCHEMA public OWNER TO keyreeve_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
