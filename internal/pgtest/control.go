package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Stop ends the server in order: connections are closed, what is under way rolled
// back.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.stop(fast); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server and all its processes as a crash does (SIGKILL).
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	cmd := s.cmd
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	// While the server is held it makes no process more, and waits for none: the pids
	// of its children stay theirs. Each would notice that the server is gone, but only
	// once it has answered what it is at.
	err := cmd.Process.Signal(hold)
	for _, pid := range children(cmd.Process.Pid) {
		if child, findErr := os.FindProcess(pid); findErr == nil {
			_ = child.Signal(kill) // may have ended
		}
	}
	if err = errors.Join(err, s.stop(kill)); err != nil {
		t.Fatal(err)
	}
}

// children are the processes that a process made.
func children(pid int) (pids []int) {
	out, err := exec.Command("ps", "-A", "-o", "ppid=,pid=").Output()
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(out)) {
		var parent, child int
		if _, err := fmt.Sscan(line, &parent, &child); err == nil && parent == pid {
			pids = append(pids, child)
		}
	}
	return pids
}

// Start starts the server again after Stop or Kill, and returns once it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		t.Fatal("PostgreSQL runs already")
	}
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

// stop signals the server, which is a child of this process that nobody has waited
// for yet, so that the pid is no other's; and waits until it ended.
func (s *Server) stop(by os.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(by); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		return fmt.Errorf("PostgreSQL (pid %d) did not end within %s: %s", s.cmd.Process.Pid, patience, s.Log())
	}
	s.cmd = nil
	return s.guard.watch(0)
}
