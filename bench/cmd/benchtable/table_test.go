package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const printed = `goos: linux
cpu: Some CPU
BenchmarkAllowed/plain       	  100	 500 ns/op	 400 cpu-ns/op	 280 B/op	 6 allocs/op
BenchmarkAllowed/basic_auth  	  100	1900 ns/op	1400 cpu-ns/op	1456 B/op	15 allocs/op
BenchmarkAllowed/reference   	  100	2000 ns/op	1200 cpu-ns/op	 600 B/op	13 allocs/op
BenchmarkAllowed/gate        	  100	2400 ns/op	1500 cpu-ns/op	 600 B/op	 9 allocs/op
BenchmarkLookup/10k          	  100	  90 ns/op	  60 cpu-ns/op	   0 B/op	 0 allocs/op
BenchmarkLookup/10k-2        	  100	  50 ns/op	  70 cpu-ns/op	   0 B/op	 0 allocs/op
BenchmarkAllowed/gate        	  100	9999 ns/op	1700 cpu-ns/op	 600 B/op	 9 allocs/op
PASS
`

func TestTheTableComparesMediansOfWhatHandlersCostOverThePlainOne(t *testing.T) {
	t.Parallel()
	r, err := parse(strings.NewReader(printed))
	require.NoError(t, err)
	require.InDelta(t, 1600, r.time("Allowed/gate"), 0.1, "CPU time, two rounds")
	var out strings.Builder
	require.NoError(t, r.print(&out))
	var gate []string
	for line := range strings.Lines(out.String()) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == "Allowed/gate" {
			gate = f
		}
	}
	require.Equal(t, []string{"Allowed/gate", "1600", "6%", "1200", "1.20", "1.50", "4.00", "3", "320"}, gate)
	require.Contains(t, out.String(), "60.0 ns on one processor, 35.0 ns on two (ratio 0.58), 0 allocs")
}

func TestOutputThatIsNoBenchmarksIsAnError(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "PASS\n", "BenchmarkX 100 ns/op\n", "BenchmarkX 100 many ns/op\n"} {
		_, err := parse(strings.NewReader(text))
		require.Error(t, err, text)
	}
}
