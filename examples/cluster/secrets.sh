#!/bin/sh
# Makes the secrets of the compose file, once: passwords, the two dsns, the master key,
# and certificates by two authorities of its own, for the database and for the gates.
# What is there is left alone.
#
#   sudo ./secrets.sh [DIRECTORY]     # secrets beside this script
#
# As root it gives each file to the group in whose container it is read. The directory
# stays root's: on the machine itself these groups may be somebody else's.
set -eu
umask 077
dir=${1:-$(dirname "$0")/secrets}
mkdir -p "$dir"
cd "$dir"

gates=65532    # the group of the gates' user, see Dockerfile
postgres=999   # and of the postgres image's

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

for name in postgres-password owner-password gate-password; do
	[ -s "$name" ] || random >"$name"
done
dsn() { printf 'postgres://%s:%s@database/keyreeve?sslmode=verify-full&sslrootcert=/run/secrets/db-ca.crt\n' "$1" "$(cat "$2")"; }
[ -s dsn ] || dsn keyreeve_gate gate-password >dsn
[ -s owner-dsn ] || dsn keyreeve_owner owner-password >owner-dsn
# Keep a copy of this one apart from the database and its backups: without it every API
# key must be issued anew.
[ -s master.key ] || printf 'krm_%s\n' "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n')" >master.key

# certificate NAME AUTHORITY HOST...: a key and a certificate for hosts, by an authority
# that is made too. Its own key is not kept: nobody can sign another one.
certificate() {
	name=$1 authority=$2
	shift 2
	[ ! -s "$name.crt" ] || return 0
	hosts=$(printf ',DNS:%s' "$@")
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -subj "/CN=$authority" \
		-keyout authority.key -out "$authority.crt" 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$name.key" -out "$name.csr" 2>/dev/null
	printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' "${hosts#,}" >"$name.ext"
	openssl x509 -req -in "$name.csr" -CA "$authority.crt" -CAkey authority.key -CAcreateserial -days 825 -extfile "$name.ext" -out "$name.crt" 2>/dev/null
	rm -f authority.key "$name.csr" "$name.ext" "$authority.srl"
}
certificate db db-ca database
certificate tls gate-ca "${KEYREEVE_NAME:-api.example.com}" "${KEYREEVE_ADMIN_NAME:-keys.example.com}"

chmod 0700 .
chmod 0644 db-ca.crt gate-ca.crt
if [ "$(id -u)" = 0 ]; then
	chgrp "$gates" dsn owner-dsn master.key tls.crt tls.key
	chgrp "$postgres" postgres-password owner-password gate-password db.crt db.key
	chmod 0640 dsn owner-dsn master.key tls.crt tls.key postgres-password owner-password gate-password db.crt db.key
fi
