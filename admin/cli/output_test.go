package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const hostileKey = `{"id":"key_1","name":"=cmd()","description":"-1\u001b[2J\u202e","client_id":"kr_1","enabled":true,
"state":"active","session_validity_seconds":null,"role_id":"role_a","customer_id":"c1","microtenant_id":null,
"labels":{"b":"2","a":"+1"},"allowed_cidrs":["192.0.2.0/24","2001:db8::/32"],
"lock":{"locked":false,"failed_attempts":0,"locked_until":null},"created_at":"2026-05-01T10:00:00.123Z","created_by":"@me"}`

func TestCSVRowsMatchTheirColumns(t *testing.T) {
	t.Parallel()
	server := &serve{status: 200, kind: "application/json", body: `{"items":[` + hostileKey + `],"next_cursor":null,"total":1}`}
	got := run(t, Env{}, nil, "key", "list", "-o", "csv", "--address", server.start(t))
	require.Zero(t, got.code, got.errOut)
	records, err := csv.NewReader(strings.NewReader(got.out)).ReadAll()
	require.NoError(t, err)
	require.Len(t, records, 2)
	row := map[string]string{}
	for i, column := range records[0] {
		row[column] = records[1][i]
	}
	require.Equal(t, "'=cmd()", row["name"])
	require.Equal(t, "'@me", row["created_by"])
	require.Equal(t, "a=+1 b=2", row["labels"])
	require.Equal(t, "192.0.2.0/24 2001:db8::/32", row["allowed_cidrs"])
	require.Equal(t, "2026-05-01T10:00:00.123Z", row["created_at"])
	require.Equal(t, "", row["session_validity_seconds"], "the server's default")
}

func TestTablesNeverSendControlCharactersToTheTerminal(t *testing.T) {
	t.Parallel()
	server := &serve{status: 200, kind: "application/json", body: hostileKey}
	got := run(t, Env{}, nil, "key", "get", "key_1", "--address", server.start(t))
	require.Zero(t, got.code, got.errOut)
	require.NotContains(t, got.out, "\x1b")
	require.NotContains(t, got.out, "\u202e")
	require.Contains(t, got.out, "=cmd()")
	require.Contains(t, got.out, "2026-05-01 10:00:00Z by @me")

	server.status, server.kind, server.body = 409, "application/problem+json", `{"detail":"no\u001b[2J way","code":"x"}`
	got = run(t, Env{}, nil, "key", "list", "--address", server.start(t))
	require.NotContains(t, got.errOut, "\x1b")
}

func TestYAMLHoldsTheSameAsJSON(t *testing.T) {
	t.Parallel()
	const body = `{"z":1,"a":[true,null,1.5,9007199254740993,-3],"s":["yes","null","12","2026-05-01","a: b\nc","\ud83d\ude00",""],"o":{},"l":[]}`
	var out bytes.Buffer
	require.NoError(t, writeYAML(&out, []byte(body)))
	require.Less(t, strings.Index(out.String(), "z:"), strings.Index(out.String(), "a:"), "members keep their order")
	require.Contains(t, out.String(), "9007199254740993", "numbers keep their digits")

	var fromYAML, fromJSON any
	require.NoError(t, yaml.Unmarshal(out.Bytes(), &fromYAML))
	require.NoError(t, json.Unmarshal([]byte(body), &fromJSON))
	again, err := json.Marshal(fromYAML)
	require.NoError(t, err)
	require.JSONEq(t, body, string(again))
	require.Error(t, writeYAML(&out, []byte(`{"cut`)))
}

func TestColoursAreForTerminalsOnly(t *testing.T) {
	t.Parallel()
	require.Contains(t, paint("locked"), "\x1b[31m")
	require.Equal(t, "strange", paint("strange"))
	require.False(t, (&console{env: Env{}.withDefaults()}).colours(&bytes.Buffer{}))
}

func TestExpiryForms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2027-01-01T00:00:00Z":      "2027-01-01T00:00:00Z",
		"2027-01-01T00:00:00+02:00": "2026-12-31T22:00:00Z",
		"2027-01-01":                "2027-01-01T00:00:00Z",
		"720h":                      "2026-05-31T12:00:00Z",
		"90d":                       "2026-07-30T12:00:00Z",
	} {
		got, err := parseExpiry(text, testNow)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "soon", "-1h", "0d", "-5d", "1.5d", "99999999999d"} {
		_, err := parseExpiry(text, testNow)
		require.Error(t, err, text)
		require.Equal(t, ExitUsage, exitCode(err), text)
	}
}

func TestValidityForms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"3600": 3600, "1h": 3600, "90s": 90, "-1": -1} {
		got, err := parseValidity(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, "bounds are the server's to check")
	}
	for _, text := range []string{"", "1.5", "500ms", "9223372036854775808"} {
		_, err := parseValidity(text)
		require.Error(t, err, text)
	}
}

func TestNetworkForms(t *testing.T) {
	t.Parallel()
	got, err := parseCIDRs([]string{"192.0.2.0/24", "192.0.2.7", "2001:db8::1"})
	require.NoError(t, err)
	require.Equal(t, []string{"192.0.2.0/24", "192.0.2.7/32", "2001:db8::1/128"}, got)
	_, err = parseCIDRs([]string{"fe80::1%eth0"})
	require.Error(t, err)
}

func TestLabelForms(t *testing.T) {
	t.Parallel()
	got, err := parseLabels([]string{"a=1", "b=x=y", "c-", "d="}, true)
	require.NoError(t, err)
	require.Equal(t, "1", *got["a"])
	require.Equal(t, "x=y", *got["b"])
	require.Contains(t, got, "c")
	require.Nil(t, got["c"], "null removes")
	require.Empty(t, *got["d"])
	_, err = parseLabels([]string{"c-"}, false)
	require.Error(t, err, "there is nothing to remove from a new key")
}
