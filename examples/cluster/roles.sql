-- The users and the database, once, as the server's superuser:
--
--   KEYREEVE_SECRETS=/etc/keyreeve/secrets psql -v ON_ERROR_STOP=1 -f roles.sql
--
-- The owner makes and migrates the tables; the gates may read and write them and no
-- more (postgres-grants.sql), so that a gate that is taken over cannot drop its tracks.
\set owner_password `cat "${KEYREEVE_SECRETS:-/run/secrets}/owner-password"`
\set gate_password `cat "${KEYREEVE_SECRETS:-/run/secrets}/gate-password"`
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
