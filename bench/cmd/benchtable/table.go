package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// The columns of `go test -bench` output that are used.
const (
	wallTime = "ns/op"
	cpuTime  = "cpu-ns/op"
	allocs   = "allocs/op"
	bytesOp  = "B/op"
)

// results holds the measurements of each benchmark by unit, one for each round.
type results struct {
	names  []string // in the order in which they ran
	values map[string]map[string][]float64
	about  []string // goos, goarch, cpu
}

// parse reads lines such as `BenchmarkX/y-2  100  12 ns/op  3 B/op`.
func parse(r io.Reader) (*results, error) {
	res := &results{values: map[string]map[string][]float64{}}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if about, ok := strings.CutPrefix(line, "cpu: "); ok && len(res.about) == 0 {
			res.about = append(res.about, about)
		}
		rest, ok := strings.CutPrefix(line, "Benchmark")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) < 4 || len(fields)%2 != 0 {
			return nil, fmt.Errorf("benchmark line %q: expected a name, a count, then pairs of value and unit", line)
		}
		name := fields[0]
		if res.values[name] == nil {
			res.names = append(res.names, name)
			res.values[name] = map[string][]float64{}
		}
		for i := 2; i < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("benchmark line %q: %w", line, err)
			}
			res.values[name][fields[i+1]] = append(res.values[name][fields[i+1]], v)
		}
	}
	if len(res.names) == 0 {
		return nil, fmt.Errorf("no benchmark was run")
	}
	return res, lines.Err()
}

// median is 0 for a unit that the benchmark does not report.
func (r *results) median(name, unit string) float64 {
	v := slices.Sorted(slices.Values(r.values[name][unit]))
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// time is the median CPU time, or the time of day where that is all there is.
func (r *results) time(name string) float64 {
	if t := r.median(name, cpuTime); t > 0 {
		return t
	}
	return r.median(name, wallTime)
}

// spread is half the distance between the quartiles, in percent of the median.
func (r *results) spread(name string) float64 {
	v := r.values[name][cpuTime]
	if len(v) == 0 {
		v = r.values[name][wallTime]
	}
	v = slices.Sorted(slices.Values(v))
	low, high := v[len(v)/4], v[len(v)-1-len(v)/4]
	return 50 * (high - low) / r.time(name)
}

const (
	plain     = "Allowed/plain"
	basicAuth = "Allowed/basic_auth"
	reference = "Allowed/reference"
	lookup    = "Lookup/10k"
)

// print writes the table. What is compared are costs over plain, which consists
// of making the request new each time; ratios of whole figures would flatter.
func (r *results) print(w io.Writer) error {
	rounds := 0
	for _, v := range r.values[plain] {
		rounds = len(v)
	}
	fmt.Fprintf(w, "%s\nmedians of %d rounds; CPU time; ± half the quartile distance; over plain: less what the plain handler takes\n\n",
		strings.Join(r.about, " "), rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "handler\tns\t±\tover plain\t/ basic_auth\t/ reference\t/ plain, whole\tallocs\tB\t")
	base := r.time(plain)
	for _, name := range r.names {
		if strings.HasPrefix(name, lookup) {
			continue
		}
		over := r.time(name) - base
		fmt.Fprintf(t, "%s\t%.0f\t%.0f%%\t%.0f\t%s\t%s\t%.2f\t%.0f\t%.0f\t\n", name, r.time(name), r.spread(name), over,
			ratio(over, r.time(basicAuth)-base), ratio(over, r.time(reference)-base), r.time(name)/base,
			r.median(name, allocs)-r.median(plain, allocs), r.median(name, bytesOp)-r.median(plain, bytesOp))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.values[lookup] == nil || r.values[lookup+"-2"] == nil {
		return nil
	}
	// Two processors together take half the CPU time of a lookup, if nothing else
	// keeps them from working.
	one, two := r.time(lookup), r.time(lookup+"-2")
	if r.median(lookup, cpuTime) > 0 {
		two /= 2
	}
	_, err := fmt.Fprintf(w, "\nkey lookup, 10,000 keys: %.1f ns on one processor, %.1f ns on two (ratio %.2f), %.0f allocs\n",
		one, two, two/one, r.median(lookup, allocs))
	return err
}

func ratio(a, b float64) string {
	if a <= 0 || b <= 0 {
		return "-"
	}
	return strconv.FormatFloat(a/b, 'f', 2, 64)
}
