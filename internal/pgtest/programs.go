package pgtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// programsEnv names the directory of initdb and postgres, to test against another
// version than the one that is found.
const programsEnv = "KEYREEVE_TEST_POSTGRES_BIN"

var errNoPrograms = errors.New("no PostgreSQL server found (initdb and postgres, on the PATH or under /usr/lib/postgresql): run scripts/test-deps")

// programs is the directory of initdb and postgres: on the PATH, or where Debian
// keeps its versions, of which the newest.
func programs() (string, error) {
	if dir := os.Getenv(programsEnv); dir != "" {
		return dir, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil && complete(filepath.Dir(real)) {
			return filepath.Dir(real), nil
		}
		if complete(filepath.Dir(path)) {
			return filepath.Dir(path), nil
		}
	}
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return !complete(dir) })
	if len(dirs) == 0 {
		return "", errNoPrograms
	}
	return slices.MaxFunc(dirs, func(a, b string) int { return version(a) - version(b) }), nil
}

func complete(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

var versionInPath = regexp.MustCompile(`/(\d+)/bin$`)

// version is the major version that a directory of Debian's is named for.
func version(dir string) int {
	found := versionInPath.FindStringSubmatch(dir)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1])
	return n
}
