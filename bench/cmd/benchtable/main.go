// Command benchtable runs the in-process benchmarks in rounds, every one of them
// in each round so that what disturbs the machine disturbs all alike, and prints
// their medians with the ratios that matter.
//
//	go run ./bench/cmd/benchtable [-rounds 8] [-benchtime 200ms]
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	rounds := flag.Int("rounds", 8, "how often each benchmark is run; the median of an even number is the mean of two")
	benchtime := flag.String("benchtime", "200ms", "how long each run of a benchmark takes")
	raw := flag.String("raw", "", "also write what the benchmarks print to this file, for benchstat")
	flag.Parse()
	if err := run(*rounds, *benchtime, *raw); err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

func run(rounds int, benchtime, raw string) (err error) {
	if rounds < 1 {
		return fmt.Errorf("-rounds %d: expected at least 1", rounds)
	}
	dir, err := os.MkdirTemp("", "keyreeve-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := filepath.Join(dir, "bench.test")
	if _, err := output("", "go", "test", "-c", "-o", binary, "./bench"); err != nil {
		return err
	}
	// Handlers on one processor, so that collecting their garbage counts too; the
	// lookup on one and on two.
	plans := [][]string{
		{"-test.bench", "^Benchmark(Allowed|Denied)$", "-test.cpu", "1"},
		{"-test.bench", "^BenchmarkLookup$", "-test.cpu", "1,2"},
	}
	var printed bytes.Buffer
	for round := range rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, rounds)
		for _, plan := range plans {
			out, err := output("bench", binary, append([]string{"-test.run", "^$", "-test.benchtime", benchtime}, plan...)...)
			if err != nil {
				return err
			}
			printed.Write(out)
		}
	}
	if raw != "" {
		if err := os.WriteFile(raw, printed.Bytes(), 0o644); err != nil {
			return err
		}
	}
	results, err := parse(&printed)
	if err != nil {
		return err
	}
	return results.print(os.Stdout)
}

// output runs a program and returns its standard output.
func output(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.Bytes(), problems.Bytes())
	}
	return out.Bytes(), nil
}
