package postgres

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// A DSN holds a password more often than not, and one whose password was not encoded
// is read as something else: half of it is a host, a port or a database then, which
// errors, logs and names tell. So it is refused before it is read, and what the driver
// has to say of one that cannot be read is not repeated.

var errUnencoded = errors.New("dsn of the key store: in a connection URI, @ and / in a password or value are written %40 and %2F; " +
	"or leave the password to PGPASSWORD or a passfile")

// checkURI finds a connection URI that can be read in two ways.
func checkURI(dsn string) error {
	_, rest, uri := strings.Cut(dsn, "://")
	if !uri || strings.ContainsAny(dsn[:len(dsn)-len(rest)], "= '") {
		return nil
	}
	first, last := strings.Index(rest, "@"), strings.LastIndex(rest, "@")
	if slash := strings.Index(rest, "/"); first != last || (slash >= 0 && slash < first) {
		return errUnencoded
	}
	return nil
}

// dsnError is what is wrong with a DSN, without it.
func dsnError(err error) error {
	text := err.Error()
	var unread *pgconn.ParseConfigError
	if errors.As(err, &unread) {
		text = text[strings.LastIndex(text, "`: ")+len("`: "):]
	}
	if strings.HasPrefix(text, "failed to parse as") || strings.HasPrefix(text, "cannot parse") || strings.Contains(text, "invalid port") {
		text = "it cannot be read as a connection URI (postgres://user@host/database?sslmode=verify-full) " +
			"nor as keywords and values (host=db.example.com dbname=keyreeve); a value with blanks stands in single quotes"
	}
	return fmt.Errorf("dsn of the key store: %s", text)
}

// parameterName is what a setting of the server can be called.
var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// checkParameters finds settings that are none: a piece of something else, which the
// server would name in its refusal.
func checkParameters(parameters map[string]string) error {
	for name := range parameters {
		if !parameterName.MatchString(name) {
			return errors.New("dsn of the key store: one of its parameters has a name that no setting has; are blanks, & and = in its values written as they must be?")
		}
	}
	return nil
}
