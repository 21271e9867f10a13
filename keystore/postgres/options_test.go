package postgres

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOptionsOfLibpqMeanWhatTheyMeanThere(t *testing.T) {
	cfg, err := Options{DSN: "host=db.example.com sslmode=require gssencmode=prefer keepalives=1 keepalives_idle=30 keepalives_interval=5 keepalives_count=3 " +
		"tcp_user_timeout=1000 fallback_application_name=gate client_encoding=auto ssl_min_protocol_version=TLSv1.3 statement_timeout=2s work_mem=8MB"}.config()
	require.NoError(t, err)
	c := cfg.ConnConfig
	require.Equal(t, map[string]string{"application_name": "gate", "statement_timeout": "2s", "idle_in_transaction_session_timeout": "10s", "work_mem": "8MB"}, c.RuntimeParams)
	require.EqualValues(t, tls.VersionTLS13, c.TLSConfig.MinVersion)
	require.Equal(t, connectTimeout, c.ConnectTimeout)

	for _, refused := range []string{"gssencmode=require", "hostaddr=192.0.2.1", "sslcrl=x.crl", "client_encoding=LATIN1", "ssl_min_protocol_version=SSLv3", "keepalives_idle=x", "replication=database"} {
		_, err := Options{DSN: "host=x " + refused}.config()
		require.ErrorContains(t, err, "dsn of the key store", refused)
	}
	_, err = Options{DSN: "postgres://u:hidden@h:port/x"}.config()
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hidden")
}

func TestTheTimeOutsAreThoseOfTheDSNOrTheDefaults(t *testing.T) {
	cfg, err := Options{DSN: "host=x"}.config()
	require.NoError(t, err)
	require.Equal(t, settings, cfg.ConnConfig.RuntimeParams)
	require.EqualValues(t, DefaultMaxConns-1, cfg.MaxConns, "one listens")
	cfg, err = Options{DSN: "host=x connect_timeout=2 pool_max_conns=20"}.config()
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, cfg.ConnConfig.ConnectTimeout)
	require.EqualValues(t, 19, cfg.MaxConns)
	_, err = Options{DSN: "host=x", MaxConns: MinMaxConns - 1}.config()
	require.ErrorContains(t, err, "max_conns")
}

func TestOfSeveralHostsTheOneThatWritesIsTaken(t *testing.T) {
	cfg, err := Options{DSN: "host=a,b dbname=k"}.config()
	require.NoError(t, err)
	require.NotNil(t, cfg.ConnConfig.ValidateConnect)
	cfg, err = Options{DSN: "host=a,b dbname=k target_session_attrs=primary"}.config()
	require.NoError(t, err)
	require.NotNil(t, cfg.ConnConfig.ValidateConnect)
}

func TestTheIdentityIsOfTheDatabaseHoweverItIsWritten(t *testing.T) {
	for _, dsn := range []string{"postgres://u:p@a:5432,b:5433/k?sslmode=prefer", "host=a,b port=5432,5433 dbname=k user=other sslmode=disable"} {
		got, err := Identity(dsn)
		require.NoError(t, err)
		require.Equal(t, "postgres:a:5432,b:5433/k", got)
	}
	got, err := Identity("postgres://a/k?search_path=gate")
	require.NoError(t, err)
	require.Equal(t, "postgres:a:5432/k search_path=gate", got)
}
