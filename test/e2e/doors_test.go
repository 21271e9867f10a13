package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fromEnvironment is a number that a longer or a repeated run sets.
func fromEnvironment(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, name)
	return n
}

// TestNoSequenceThroughAnyDoorBreaksTheRules does random things to keys as several
// administrators, by the API, the ZPA face, the CLI and apply, and holds every
// answer, and what the gate makes of every secret and token, against a model.
// KEYREEVE_SEED repeats a sequence; KEYREEVE_ROUNDS and KEYREEVE_STEPS ask for more.
func TestNoSequenceThroughAnyDoorBreaksTheRules(t *testing.T) {
	t.Parallel()
	seed := fromEnvironment(t, "KEYREEVE_SEED", rand.Uint64N(1_000_000))
	steps := fromEnvironment(t, "KEYREEVE_STEPS", 200)
	for round := range fromEnvironment(t, "KEYREEVE_ROUNDS", 1) {
		t.Run(fmt.Sprintf("seed %d", seed+round), func(t *testing.T) {
			t.Logf("KEYREEVE_SEED=%d repeats this", seed+round)
			w := newWorld(t, seed+round)
			w.play(int(steps))
			w.sweep()
			w.finish()
			t.Logf("%d done, %d refused: %d beyond one's rights, %d out of sight; %d replays, %d events, %d keys",
				w.accepted, w.refused, w.exceeded, w.foreigns, w.replays, len(w.events), len(w.keys))
			for name, n := range map[string]int{"done": w.accepted, "refused": w.refused, "beyond rights": w.exceeded, "out of sight": w.foreigns, "replays": w.replays} {
				require.Positive(t, n, name)
			}
		})
	}
}

// play does so many random operations. The first make what the others work on.
func (w *world) play(steps int) {
	operations := []func(){
		w.createKey, w.createKey, w.createKey, w.createKey, w.editKey, w.editKey, w.editKey, w.editKey, w.deleteKey, w.expireKey, w.batch, w.batch,
		w.rotate, w.rotate, w.rotate, w.retire, w.retire, w.guess, w.guess, w.unlock, w.signIn, w.signIn, w.signIn, w.endSession, w.endSession, w.endSessions,
		w.offAndOn, w.offAndOn, w.again, w.again, w.createRole, w.createRole, w.editRole, w.editRole, w.deleteRole, w.switchTenant, w.push, w.push, w.refuseHere, w.escape,
	}
	for _, begin := range []func(){w.createKey, w.createRole, w.createKey, w.push, w.createKey} {
		begin()
	}
	for i := range steps {
		operations[w.rand.IntN(len(operations))]()
		w.oneEventEach()
		if i%50 == 49 {
			w.sweep()
		}
	}
	for i := 0; w.replays == 0 && i < 100; i++ { // none by chance, or of no key that may still read
		w.createKey()
		w.again()
		w.oneEventEach()
	}
}

func (w *world) step(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

// runCLI runs the program with an environment of its own.
func runCLI(t *testing.T, env []string, stdin string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		require.NoError(t, err)
	}
	return result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}
