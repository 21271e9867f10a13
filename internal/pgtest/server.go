package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

// Superuser is who a server belongs to.
const Superuser = "postgres"

// patience bounds every wait for a server: a machine that runs other tests besides
// is slow.
const patience = 60 * time.Second

// Server is one PostgreSQL server. It listens on a socket in its own directory and
// on a port of the loopback address, both of which it keeps over restarts.
type Server struct {
	dir      string // of data, socket and log
	programs string
	account  account
	port     int
	settings []string
	guard    *guard

	mu      sync.Mutex // guards what follows
	cmd     *exec.Cmd
	exited  chan struct{} // closed once cmd has ended
	counted int           // databases made
}

// Volatile are the settings of a server whose data nobody needs after a crash.
func Volatile() []string {
	return []string{"fsync=off", "synchronous_commit=off", "full_page_writes=off"}
}

var (
	sharedOnce   sync.Once
	shared       *Server
	errUnstarted error
)

// Shared is the one volatile server of the process, started when it is first asked
// for and stopped behind the process. Tests that stop a server start their own.
func Shared(t testing.TB) *Server {
	t.Helper()
	sharedOnce.Do(func() { shared, errUnstarted = start(Volatile()) })
	if errUnstarted != nil {
		t.Fatal(errUnstarted)
	}
	return shared
}

// Start starts a server of t's own with settings as postgresql.conf has them
// ("fsync=off"), stopped when t ends. Without any it is as durable as by default.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := start(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.stop(immediate), s.guard.release()); err != nil {
			t.Errorf("stopping PostgreSQL: %v", err)
		}
	})
	return s
}

func start(settings []string) (*Server, error) {
	template, err := template()
	if err != nil {
		return nil, fmt.Errorf("preparing PostgreSQL: %w", err)
	}
	s := &Server{programs: template.programs, account: template.account, settings: settings}
	if s.dir, s.guard, err = newDirectory(s.account); err != nil {
		return nil, err
	}
	err = os.CopyFS(s.data(), os.DirFS(template.data()))
	if err == nil {
		err = os.Chmod(s.data(), 0o700)
	}
	if err == nil {
		err = s.account.own(s.dir)
	}
	if err == nil {
		err = s.startAnywhere()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting PostgreSQL: %w", err), s.guard.release())
	}
	return s, nil
}

// newDirectory is a directory of the account with a short name, as a socket's path
// has room for 107 bytes, and who removes it.
func newDirectory(a account) (string, *guard, error) {
	dir, err := os.MkdirTemp("", "kr-pg-")
	if err != nil {
		return "", nil, err
	}
	g, err := newGuard(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := a.own(dir); err != nil {
		return "", nil, errors.Join(err, g.release())
	}
	return dir, g, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// template is a server that never runs and that others are copied from: making one
// anew takes seconds. Once in a process.
var template = sync.OnceValues(func() (*Server, error) {
	s := &Server{}
	var err error
	if s.programs, err = programs(); err != nil {
		return nil, err
	}
	if s.account, err = serverAccount(); err != nil {
		return nil, err
	}
	if s.dir, s.guard, err = newDirectory(s.account); err != nil {
		return nil, err
	}
	passwords := filepath.Join(s.dir, "password")
	if err := os.WriteFile(passwords, []byte(password), 0o600); err != nil {
		return nil, err
	}
	if err := s.account.own(s.dir); err != nil {
		return nil, err
	}
	cmd := s.command("initdb", "--no-sync", "--username="+Superuser, "--pwfile="+passwords,
		"--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--pgdata="+s.data())
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s, nil
})

// password is that of every user over the port: other users of the machine reach it
// too. Over the socket, which they do not, none is asked for.
var password = rand.Text()

func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.programs, program), args...)
	cmd.SysProcAttr = s.account.process()
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	return cmd
}

// startAnywhere starts on a port that nobody has, nor the system gives away while the
// server is down. Between looking for one and listening another process may take it.
func (s *Server) startAnywhere() (err error) {
	for range 5 {
		_, port, splitErr := net.SplitHostPort(proctest.FreeAddress())
		if splitErr != nil {
			return splitErr
		}
		if s.port, err = strconv.Atoi(port); err != nil {
			return err
		}
		if err = s.run(); err == nil || !strings.Contains(err.Error(), "could not bind") {
			return err
		}
	}
	return err
}

// run starts the server and waits until it answers.
func (s *Server) run() error {
	deadline := time.Now().Add(patience)
	for {
		if err := s.launch(); err != nil {
			return err
		}
		err := s.ready(deadline)
		// Processes of one that was killed hold its memory a little longer.
		if err == nil || !strings.Contains(err.Error(), "still in use") || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *Server) launch() error {
	args := []string{"-D", s.data(), "-k", s.dir, "-p", strconv.Itoa(s.port)}
	for _, setting := range append([]string{"listen_addresses=127.0.0.1", "max_connections=200", "shared_buffers=32MB",
		"wal_level=minimal", "max_wal_senders=0", "jit=off", "timezone=UTC"}, s.settings...) {
		args = append(args, "-c", setting)
	}
	log, err := os.Create(s.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command("postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.cmd, s.exited = cmd, exited
	go func() {
		defer close(exited)
		_ = cmd.Wait() // how it ended is in the log
	}()
	return s.guard.watch(cmd.Process.Pid)
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// ready waits until the server answers or has ended.
func (s *Server) ready(deadline time.Time) error {
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		err := s.exec(ctx, "SELECT 1")
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended: %s", s.Log())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer within %s: %w\n%s", patience, err, s.Log())
		}
	}
}

// Log is what the server said since it was started last.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// exec runs one statement as the superuser.
func (s *Server) exec(ctx context.Context, statement string) error {
	c, err := pgx.Connect(ctx, s.DSN(Superuser, "postgres"))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	_, err = c.Exec(ctx, statement)
	return err
}

// Exec runs one statement as the superuser in no database of a test's.
func (s *Server) Exec(t testing.TB, statement string) {
	t.Helper()
	if err := s.exec(context.Background(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// DSN is how a user reaches a database over the socket.
func (s *Server) DSN(user, database string) string {
	q := url.Values{"host": {s.dir}, "port": {strconv.Itoa(s.port)}}
	return (&url.URL{Scheme: "postgres", User: url.User(user), Host: "", Path: "/" + database, RawQuery: q.Encode()}).String()
}

// Address is where the server listens for TCP.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Password is that of the superuser over TCP, and of users made with CreateUser.
func (s *Server) Password() string { return password }

// DSNBy is how a user reaches a database over TCP at an address: that of the server,
// or of a proxy in front of it.
func (s *Server) DSNBy(address, user, database string) string {
	return (&url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: address, Path: "/" + database}).String()
}
