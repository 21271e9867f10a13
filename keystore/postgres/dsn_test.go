package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func TestNoPieceOfAPasswordIsRepeatedHoweverItIsWritten(t *testing.T) {
	for _, dsn := range []string{
		"postgres://gate:hid@den@127.0.0.1:1/k", "postgres://gate:hid/den@127.0.0.1:1/k", "postgres://gate:1/hidden@127.0.0.1:1/k",
		"postgres://gate:hid#den@127.0.0.1:1/k", "postgres://gate:hid?den@127.0.0.1:1/k", "postgres://gate:hid%den@127.0.0.1:1/k",
		"postgres://127.0.0.1:1/k?password=hid&den", "postgres://127.0.0.1:1/k?password=hid&den=1", "postgres://127.0.0.1:1/k?password=hid=den",
		"postgres://127.0.0.1:1/k?password=a&hid den=1", "postgres://127.0.0.1:1/k?password=x&hid-den=1", "postgresql://gate:hidden@127.0.0.1:none/k", "postgres://127.0.0.1:hidden/k",
		"host=127.0.0.1 port=1 password=hid den", "host=127.0.0.1 port=1 password=a hidden", "host=127.0.0.1 port=1 password='hidden", "host=127.0.0.1 port=1 password='a'hidden=1",
		"host=127.0.0.1 port=1 password=a 'hidden'=1", "hidden", "gate:hidden@127.0.0.1/k", "postgres:hidden", "Postgres://gate:hidden@127.0.0.1:1/k", "mysql://gate:hidden@127.0.0.1:1/k",
		"postgres://gate:hidden@127.0.0.1:1/k?sslmode=on", "postgres://gate:hidden@127.0.0.1:1/k?sslmode=verify-full&sslrootcert=/nowhere", "postgres://gate:hidden@127.0.0.1:1/k",
		"postgres://gate:hidden@127.0.0.1:1/k?pool_max_conns=x", "postgres://gate:hidden@127.0.0.1:1/k?connect_timeout=x", "postgres://gate:hidden@127.0.0.1:1/k?service=none",
	} {
		_, err := Open(t.Context(), Options{DSN: dsn, Clock: storetest.NewClock()})
		require.Error(t, err, dsn)
		for _, piece := range []string{"hid", "den"} {
			require.NotContains(t, err.Error(), piece, dsn)
		}
	}
	_, err := Identity("postgres://gate:hidden@127.0.0.1:1/k?sslmode=verify-full&sslrootcert=/nowhere")
	require.ErrorContains(t, err, "/nowhere", "what is wrong is told")
	for _, good := range []string{"postgres://gate:a%40b%2Fc@127.0.0.1:1/k", "postgres://h/k?application_name=a%40b", "host=h password='a@b/c' dbname=k", "postgres:///k?host=/run/postgresql", "postgres://h/k?host=/run/a"} {
		_, err := Identity(good)
		require.NoError(t, err, good)
	}
}
