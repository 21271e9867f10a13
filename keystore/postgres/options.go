package postgres

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
)

const (
	// DefaultMaxConns is how many connections a process has at most.
	DefaultMaxConns = 8
	// MinMaxConns is one each to listen, for the turn to write, for what is written
	// beside, for snapshots, and for lookups and counting.
	MinMaxConns = 5
	// connectTimeout bounds an attempt to connect to one address.
	connectTimeout = 5 * time.Second
	// defaultUserTimeout is how long what was sent may stay unanswered by the server's
	// machine (tcp_user_timeout): a half-open connection would be waited on for a
	// quarter of an hour.
	defaultUserTimeout = 15 * time.Second
)

// settings are what a connection has unless the DSN says otherwise.
var settings = map[string]string{
	"application_name": "keyreeve",
	// How long one statement may take, waiting for the turn included.
	"statement_timeout": "15s",
	// How long a transaction may do nothing before the server ends it: one whose
	// process is cut off would keep the turn.
	"idle_in_transaction_session_timeout": "10s",
}

// Options say where the store is.
type Options struct {
	// DSN is a connection URI or keywords and values, as for libpq, whose options and
	// environment variables it takes; PostgreSQL's own settings too.
	DSN string
	// MaxConns is the most connections, 0 is DefaultMaxConns or the DSN's pool_max_conns.
	MaxConns int
	// Clock is the time that locks and snapshots go by. Required.
	Clock keystore.Clock
	// Logger is for what an operator should know; nil is silence.
	Logger *zap.Logger
	// Visit opens for a command, beside the processes that decide on requests and may
	// be of an older version: what is there is not migrated but refused (ErrOlder).
	Visit bool
}

// config is how the pool connects.
func (o Options) config() (*pgxpool.Config, error) {
	if o.DSN == "" {
		return nil, errors.New("opening the key store: no dsn given")
	}
	if err := checkURI(o.DSN); err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(o.DSN)
	if err != nil {
		return nil, dsnError(err)
	}
	c := &cfg.ConnConfig.Config
	if err := libpqOptions(c); err != nil {
		return nil, fmt.Errorf("dsn of the key store: %w", err)
	}
	if err := checkParameters(c.RuntimeParams); err != nil {
		return nil, err
	}
	for name, value := range settings {
		if _, set := c.RuntimeParams[name]; !set {
			c.RuntimeParams[name] = value
		}
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.ValidateConnect == nil {
		// Of several hosts the one that writes; and one alone may have become a standby.
		c.ValidateConnect = noStandby
	}
	// Who hangs up leaves the connection to the next, and the turn to others: a query
	// of his would go on without him.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	c.OnNotice = noteWarning
	cfg.PingTimeout = connectTimeout
	if !strings.Contains(o.DSN, "pool_max_conn_lifetime") {
		cfg.MaxConnLifetime, cfg.MaxConnLifetimeJitter = maxConnLifetime-maxConnJitter, maxConnJitter
	}
	conns := o.MaxConns
	switch {
	case conns == 0 && strings.Contains(o.DSN, "pool_max_conns"):
		conns = int(cfg.MaxConns)
	case conns == 0:
		conns = DefaultMaxConns
	}
	if conns < MinMaxConns {
		return nil, fmt.Errorf("max_conns is %d, at least %d are needed", conns, MinMaxConns)
	}
	cfg.MaxConns = int32(conns - 1) // and one that listens
	return cfg, nil
}

// libpqOptions gives the options that libpq knows and the driver takes for settings
// of the server the meaning they have there. What cannot be kept is refused: it may
// be what a connection is trusted for.
func libpqOptions(c *pgconn.Config) error {
	take := func(name string) (string, bool) {
		value, set := c.RuntimeParams[name]
		delete(c.RuntimeParams, name)
		return value, set
	}
	for name, harmless := range map[string][]string{
		"gssencmode": {"disable", "prefer"}, "gssdelegation": {"0"}, "gsslib": {"gssapi"}, "sslcompression": {"0", "1"}, "sslcertmode": {"allow"},
		"load_balance_hosts": {"disable"}, "replication": {"false", "off", "no", "0"},
		"hostaddr": nil, "requirepeer": nil, "sslcrl": nil, "sslcrldir": nil, "sslkeylogfile": nil,
	} {
		if value, set := take(name); set && value != "" && !slices.Contains(harmless, value) {
			return fmt.Errorf("%s=%s is not supported", name, value)
		}
	}
	if name, set := take("fallback_application_name"); set && c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = name
	}
	if encoding, set := take("client_encoding"); set && !strings.EqualFold(encoding, "auto") &&
		!strings.EqualFold(strings.ReplaceAll(encoding, "-", ""), "utf8") {
		return fmt.Errorf("client_encoding=%s is not supported, expected UTF8", encoding)
	}
	if err := tlsVersions(c, take); err != nil {
		return err
	}
	return keepalives(c, take)
}

func tlsVersions(c *pgconn.Config, take func(string) (string, bool)) error {
	versions := map[string]uint16{"": 0, "TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}
	all := []*tls.Config{c.TLSConfig}
	for _, f := range c.Fallbacks {
		all = append(all, f.TLSConfig)
	}
	for name, set := range map[string]func(*tls.Config, uint16){
		"ssl_min_protocol_version": func(t *tls.Config, v uint16) { t.MinVersion = v },
		"ssl_max_protocol_version": func(t *tls.Config, v uint16) { t.MaxVersion = v },
	} {
		value, _ := take(name)
		version, known := versions[value]
		if !known {
			return fmt.Errorf("%s=%s is not known, expected TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3", name, value)
		}
		for _, t := range all {
			if t != nil && version > 0 {
				set(t, version)
			}
		}
	}
	return nil
}

func keepalives(c *pgconn.Config, take func(string) (string, bool)) error {
	k := net.KeepAliveConfig{Enable: true}
	unanswered := defaultUserTimeout
	for name, set := range map[string]func(int){
		"keepalives":          func(n int) { k.Enable = n != 0 },
		"keepalives_idle":     func(n int) { k.Idle = time.Duration(n) * time.Second },
		"keepalives_interval": func(n int) { k.Interval = time.Duration(n) * time.Second },
		"keepalives_count":    func(n int) { k.Count = n },
		"tcp_user_timeout":    func(n int) { unanswered = time.Duration(n) * time.Millisecond },
	} {
		value, given := take(name)
		if !given {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("%s=%s is no number", name, value)
		}
		set(n)
	}
	c.DialFunc = (&net.Dialer{KeepAliveConfig: k, Control: func(network, _ string, raw syscall.RawConn) error {
		if !strings.HasPrefix(network, "tcp") || unanswered == 0 {
			return nil
		}
		return setUserTimeout(raw, unanswered)
	}}).DialContext
	return nil
}

// Identity is what Store.Identity will be for this DSN.
func Identity(dsn string) (string, error) {
	cfg, err := Options{DSN: dsn}.config()
	if err != nil {
		return "", err
	}
	return identity(cfg), nil
}

// identity names a database by its hosts, its name and the schemas that are looked
// in. Who connects to it is left out.
func identity(cfg *pgxpool.Config) string {
	c := cfg.ConnConfig
	hosts := []string{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))}
	for _, f := range c.Fallbacks { // one host stands twice where TLS is preferred
		if host := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port))); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	name := "postgres:" + strings.Join(hosts, ",") + "/" + c.Database
	for _, where := range []string{"search_path", "options"} {
		if value := c.RuntimeParams[where]; value != "" {
			name += " " + where + "=" + value
		}
	}
	return name
}
