package policy

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
)

const docsFile = "../docs/policy.md"

// docsPage is what the policy reference claims.
type docsPage struct {
	policies, roles []string
	// tables by the heading above them, each a list of rows, titles first.
	tables map[string][][][]string
}

func readDocs(t *testing.T) docsPage {
	t.Helper()
	text, err := os.ReadFile(docsFile)
	require.NoError(t, err)
	page := docsPage{tables: map[string][][][]string{}}
	heading, language, fenced, inTable := "", "", "", false
	for _, line := range strings.Split(string(text), "\n") {
		isRow := language == "" && strings.HasPrefix(line, "|")
		switch {
		case language != "" && line == "```":
			switch language {
			case "yaml":
				page.policies = append(page.policies, fenced)
			case "json":
				page.roles = append(page.roles, fenced)
			}
			language, fenced = "", ""
		case language != "":
			fenced += line + "\n"
		case strings.HasPrefix(line, "```"):
			language = line[3:]
			require.NotEmpty(t, language, "a fence must name its language")
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimLeft(line, "# ")
		case strings.HasPrefix(line, "|---"):
		case isRow:
			if !inTable {
				page.tables[heading] = append(page.tables[heading], nil)
			}
			list := page.tables[heading]
			var cells []string
			for c := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
				cells = append(cells, strings.TrimSpace(c))
			}
			list[len(list)-1] = append(list[len(list)-1], cells)
		}
		inTable = isRow
	}
	return page
}

// table is the nth table under a heading, without its titles.
func (p docsPage) table(t *testing.T, heading string, n int) (titles []string, rows [][]string) {
	t.Helper()
	require.Greater(t, len(p.tables[heading]), n, heading)
	all := p.tables[heading][n]
	require.Greater(t, len(all), 1, heading)
	return all[0], all[1:]
}

func docsSet(t *testing.T, page docsPage) *Set {
	t.Helper()
	require.NotEmpty(t, page.policies)
	f, err := ParseFile(docsFile, []byte(page.policies[0]))
	require.NoError(t, err)
	s, err := Compile([]*File{f}, nil)
	require.NoError(t, err)
	return s
}

func TestEveryPolicyInTheDocsCompiles(t *testing.T) {
	t.Parallel()
	for _, text := range readDocs(t).policies {
		f, err := ParseFile(docsFile, []byte(text))
		require.NoError(t, err)
		_, err = Compile([]*File{f}, nil)
		require.NoError(t, err)
	}
}

func TestTheDocsNameExactlyTheFieldsOfAPolicyFile(t *testing.T) {
	t.Parallel()
	_, rows := readDocs(t).table(t, "The policy file", 0)
	var named []string
	for _, r := range rows {
		named = append(named, strings.Trim(r[0], "`"))
	}
	_, err := ParseFile("p.yaml", []byte("version: 1\nno_such_field: 1\n"))
	require.Error(t, err)
	_, expected, found := strings.Cut(err.Error(), "expected one of ")
	require.True(t, found, err.Error())
	require.ElementsMatch(t, strings.Split(expected, ", "), named)
}

func TestRequestsInTheDocsAskForWhatTheySay(t *testing.T) {
	t.Parallel()
	page := readDocs(t)
	s := docsSet(t, page)
	for heading, count := range map[string]int{"Matching": 1, "Odd spellings": 2} {
		require.Len(t, page.tables[heading], count)
		for n := range count {
			_, rows := page.table(t, heading, n)
			for _, r := range rows {
				method, path, want := r[0], strings.Trim(r[1], "`"), strings.Trim(r[2], "`")
				require.Equal(t, want, asksFor(s, method, path), "%s %s", method, path)
			}
		}
	}
}

// asksFor is what a gate finds out about a request before it knows who calls.
func asksFor(s *Set, method, path string) string {
	class, ok := credential.CheckPath(path)
	if !ok {
		return AmbiguousPath.Code()
	}
	m, reason := s.Match(method, path, class == credential.PathOdd)
	switch {
	case reason != Allowed:
		return reason.Code()
	case m.Route.Public:
		return Public.Code()
	}
	return Decision{Route: m.Route, Action: m.Action}.Scope()
}

func TestTheTenancyTablesInTheDocsHold(t *testing.T) {
	t.Parallel()
	page := readDocs(t)
	s := docsSet(t, page)
	answer := func(method, query string, who Subject) string {
		const path = "/customers/" + customer + "/orders"
		m, reason := s.Match(method, path, false)
		require.Equal(t, Allowed, reason)
		return s.Decide(m, path, query, who).Reason.Code()
	}
	keys := map[string]Subject{"in a microtenant": subject(own), "customer level": subject("")}
	queries := map[string]string{
		"none given": "", "its own": own, "`0`, the Default one": "0", "`null`, all": "null",
		"another of its customer": "m2", "a disabled one": "closed", "unknown, or another customer's": "elsewhere",
	}
	titles, rows := page.table(t, "Tenancy", 0)
	require.Len(t, rows, len(keys))
	require.Len(t, titles, len(queries)+1)
	for _, r := range rows {
		who, known := keys[r[0]]
		require.True(t, known, r[0])
		for i, want := range r[1:] {
			id, known := queries[titles[i+1]]
			require.True(t, known, titles[i+1])
			reads, writes := strings.Trim(want, "`"), strings.Trim(want, "`")
			switch want {
			case "–":
				continue
			case "reads":
				reads, writes = Allowed.Code(), TenantMismatch.Code()
			}
			query := "microtenantId=" + id
			require.Equal(t, reads, answer("GET", query, who), "%s, %s", r[0], titles[i+1])
			require.Equal(t, writes, answer("POST", query, who), "%s, %s", r[0], titles[i+1])
		}
	}
	_, rows = page.table(t, "Tenancy", 1)
	for _, r := range rows {
		require.Equal(t, strings.Trim(r[1], "`"), answer("GET", strings.Trim(r[0], "`"), subject(own)), r[0])
	}
}

func TestTheRolesInTheDocsHoldWhatTheySay(t *testing.T) {
	t.Parallel()
	page := readDocs(t)
	s := docsSet(t, page)
	require.Len(t, page.roles, len(page.tables["Roles"]), "each role has its table")
	for n, text := range page.roles {
		var role struct {
			Permissions Permissions `json:"permissions"`
		}
		require.NoError(t, json.Unmarshal([]byte(text), &role))
		_, rows := page.table(t, "Roles", n)
		for _, r := range rows {
			resource := strings.Trim(r[0], "`")
			held := strings.Join(role.Permissions.On(resource, s.GroupOf(resource)).Names(), ", ")
			if held == "" {
				held = "nothing"
			}
			require.Equal(t, r[1], held, resource)
		}
	}
}
