// Package proctest runs the program under test as a process of its own, as its users
// do.
package proctest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Patience bounds every wait for something that should have happened long before.
const Patience = 60 * time.Second

// Binary is the program under test: that named by KEYREEVE_BIN, or one built now into
// dir.
func Binary(dir string) (string, error) {
	if built := os.Getenv("KEYREEVE_BIN"); built != "" {
		return built, nil
	}
	path := filepath.Join(dir, "keyreeve")
	build := exec.Command("go", "build", "-o", path, "github.com/keyreeve/keyreeve/cmd/keyreeve")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program under test: %w\n%s", err, out)
	}
	return path, nil
}

// Process is a run of the program. It may be stopped, killed and signalled by several
// goroutines.
type Process struct {
	cmd *exec.Cmd
	// Stdout is what it prints.
	Stdout *bufio.Reader
	stderr Buffer
	ended  chan struct{}
	err    error // how it ended; read after ended
}

// Buffer holds what was written to it so far, for several goroutines.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write is io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String is all of it.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Launch starts the program with Caddy's directories under dir, and env besides the
// environment of the test.
func Launch(binary, dir string, env []string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "XDG_DATA_HOME="+filepath.Join(dir, "data"), "HOME="+dir)
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Dir = dir
	p.cmd.Stderr = &p.stderr
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = in
	p.Stdout = bufio.NewReader(out)
	err = p.cmd.Start()
	_ = in.Close() // the program has its own
	if err != nil {
		_ = out.Close()
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Said is what it wrote to its standard error so far: its log.
func (p *Process) Said() string { return p.stderr.String() }

// Ended is closed when it has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Signal sends a signal, unless it has ended.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Stop ends it as an operator does, and waits for it.
func (p *Process) Stop() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return p.err
	case <-time.After(Patience):
		return errors.Join(errors.New("did not end on SIGTERM"), p.Kill())
	}
}

// Kill ends it as a crash does, and waits for it.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// Code is how it exited, once it has ended; -1 by a signal.
func (p *Process) Code() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

var given sync.Map

// FreeAddress is a loopback address nobody listens on, below the ports that systems
// give to outgoing connections. No two calls give the same one: a port that was only
// looked at is free until its program listens.
func FreeAddress() string {
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		if _, taken := given.LoadOrStore(address, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
}
