package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// TestARunningCLIShowsNoSecretToOthersOnTheMachine looks at the command while it
// waits for an answer, as any user's `ps` does.
func TestARunningCLIShowsNoSecretToOthersOnTheMachine(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, silent.Close()) })
	const secret = "a-secret-of-the-environment"
	for _, args := range []string{"key list", "key create x --role role_operator", "secret rotate key_x", "apply -f -", "audit export", "doctor"} {
		cmd := exec.CommandContext(t.Context(), binary, append(strings.Fields(args), "--url", "http://"+silent.Addr().String())...)
		cmd.Env = []string{"KEYREEVE_CLIENT_ID=someone", "KEYREEVE_CLIENT_SECRET=" + secret, "HOME=" + t.TempDir()}
		cmd.Stdin = strings.NewReader("version: 1\nkeys: []\n")
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		require.NoError(t, cmd.Start())
		conn, err := silent.Accept() // it has asked, and waits
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		asked := make([]byte, 4096)
		n, err := conn.Read(asked)
		require.NoError(t, err)
		require.Contains(t, string(asked[:n]), "Authorization: Basic ", "signed in by a header")
		line, _, _ := strings.Cut(string(asked[:n]), "\r\n")
		require.NotContains(t, line, secret)

		proc := fmt.Sprintf("/proc/%d", cmd.Process.Pid)
		argv, err := os.ReadFile(proc + "/cmdline")
		require.NoError(t, err)
		require.Contains(t, string(argv), strings.Fields(args)[0])
		require.NotContains(t, string(argv), secret)
		threads, err := filepath.Glob(proc + "/task/*/children")
		require.NoError(t, err)
		require.NotEmpty(t, threads)
		for _, thread := range threads {
			children, err := os.ReadFile(thread)
			require.NoError(t, err)
			require.Empty(t, children, "a process that would inherit the environment")
		}
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, conn.Close())
		require.Error(t, cmd.Wait(), "it got no answer")
		require.NotContains(t, said.String(), secret)
	}
}

// terminal is a pair of a terminal's ends.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	var number, unlocked uint32
	for request, value := range map[uintptr]*uint32{syscall.TIOCSPTLCK: &unlocked, syscall.TIOCGPTN: &number} {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(value)))
		require.Zero(t, errno)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	return master, slave
}

// onTerminal is what a command writes to a terminal.
func (s *shellOf) onTerminal(env []string, args ...string) string {
	s.t.Helper()
	master, slave := terminal(s.t)
	cmd := exec.CommandContext(s.t.Context(), binary, args...)
	cmd.Env, cmd.Stdout = append(env, s.env...), slave
	written := make(chan string)
	go func() {
		data, _ := io.ReadAll(master) // ends in EIO when the other end is closed
		written <- string(data)
	}()
	err := cmd.Run()
	require.NoError(s.t, slave.Close())
	out := <-written
	require.NoError(s.t, master.Close())
	require.NoError(s.t, err, out)
	return out
}

func TestColoursAreForTerminalsWithoutNOCOLOR(t *testing.T) {
	t.Parallel()
	_, g, _ := furnished(t)
	s := g.shell(t, nil)
	const colour = "\x1b["
	require.Contains(t, s.onTerminal([]string{"TERM=xterm"}, "key", "list"), colour)
	require.NotContains(t, s.onTerminal([]string{"TERM=xterm", "NO_COLOR=1"}, "key", "list"), colour)
	require.NotContains(t, s.onTerminal([]string{"TERM=dumb"}, "key", "list"), colour)
	require.NotContains(t, s.onTerminal([]string{"TERM=xterm"}, "key", "list", "-o", "csv"), colour)
	s.env = append(s.env[:4:4], "TERM=xterm")
	require.NotContains(t, runCLI(t, s.env, "", "key", "list").stdout, colour, "into a pipe")
}
