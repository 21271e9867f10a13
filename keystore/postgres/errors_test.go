package postgres

import (
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// refusing is the DSN of a pooler that answers everybody with one error.
func refusing(t *testing.T, code, text string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := pgproto3.NewBackend(c, c)
			if _, err := b.ReceiveStartupMessage(); err == nil {
				b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: text})
				_ = b.Flush()
			}
			_ = c.Close()
		}
	}()
	return "postgres://u@" + l.Addr().String() + "/k?sslmode=disable"
}

// TestWhatAPoolerRefusesForGoodIsNotOutOfReach: all of it comes with one code.
func TestWhatAPoolerRefusesForGoodIsNotOutOfReach(t *testing.T) {
	for text, passes := range map[string]bool{
		"unsupported startup parameter: statement_timeout":                    false,
		"unsupported startup parameter in options: search_path":               false,
		"no such database: k":                                                 false,
		"no such user: u":                                                     false,
		"SSL required":                                                        false,
		"pgbouncer cannot connect to server":                                  true,
		"server login has been failing, try again later (server_login_retry)": true,
		"query_wait_timeout":                                                  true,
		"no more connections allowed (max_client_conn)":                       true,
	} {
		_, err := Open(t.Context(), Options{DSN: refusing(t, "08P01", text), Clock: storetest.NewClock()})
		require.ErrorContains(t, err, text)
		if passes {
			require.ErrorIs(t, err, keystore.ErrUnavailable, text)
		} else {
			require.NotErrorIs(t, err, keystore.ErrUnavailable, text)
		}
	}
}
