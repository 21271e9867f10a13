package pgtest

import (
	"fmt"
	"io"
	"os/exec"
)

// guardScript reads the pid of the server that runs, an empty line for none, and
// once its input ends, which it does however the tests end, stops that server and
// removes its directory.
const guardScript = `
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then
	kill -QUIT "$pid" 2>/dev/null
	tries=0
	while [ -e "$1/data/postmaster.pid" ] && kill -0 "$pid" 2>/dev/null && [ $tries -lt 200 ]; do
		sleep 0.05
		tries=$((tries + 1))
	done
fi
rm -rf "$1"
`

// guard outlives the process for as long as it takes to clean up behind it: no
// deferred function runs where a test panics, runs out of time or is killed.
type guard struct {
	input io.WriteCloser
	cmd   *exec.Cmd
}

func newGuard(dir string) (*guard, error) {
	cmd := exec.Command("sh", "-c", guardScript, "sh", dir)
	cmd.SysProcAttr = account{}.process()
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &guard{input: input, cmd: cmd}, nil
}

// watch names the process to stop, 0 for none.
func (g *guard) watch(pid int) error {
	line := "\n"
	if pid > 0 {
		line = fmt.Sprintln(pid)
	}
	_, err := io.WriteString(g.input, line)
	return err
}

// release cleans up now.
func (g *guard) release() error {
	if err := g.input.Close(); err != nil {
		return err
	}
	return g.cmd.Wait()
}
