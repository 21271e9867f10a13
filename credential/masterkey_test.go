package credential

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func textOf(m MasterKey) string {
	return masterKeyPrefix + base64.RawURLEncoding.EncodeToString(m.key.bytes[:])
}

func TestParseMasterKeyTakesOneLineAndNothingElse(t *testing.T) {
	t.Parallel()
	m := NewMasterKey()
	text := textOf(m)
	for _, good := range []string{text, text + "\n", text + "\r\n"} {
		got, err := ParseMasterKey(good)
		require.NoError(t, err)
		require.Equal(t, *m.key.bytes, *got.key.bytes)
	}
	for name, bad := range map[string]string{
		"empty":            "",
		"newline":          "\n",
		"prefix only":      "krm_",
		"no prefix":        text[4:],
		"two line ends":    text + "\n\n",
		"carriage return":  text + "\r",
		"leading space":    " " + text,
		"trailing space":   text + " ",
		"two keys":         text + "\n" + text,
		"padded":           text + "=",
		"short":            text[:len(text)-1],
		"line end inside":  text[:20] + "\n" + text[21:],
		"standard base64":  text[:20] + "+" + text[21:],
		"stray final bits": text[:len(text)-1] + "B",
		"NUL":              text[:20] + "\x00" + text[21:],
	} {
		_, err := ParseMasterKey(bad)
		require.ErrorContains(t, err, "krm_ followed by 43 characters of base64url", name)
		if len(bad) > 20 {
			require.NotContains(t, err.Error(), bad[8:20], name)
		}
	}
}

func TestCreateMasterKeyFileMakesAPrivateFileThatReadsBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config", "keyreeve", "master.key")
	made, err := CreateMasterKeyFile(path)
	require.NoError(t, err)
	read, err := ReadMasterKeyFile(path)
	require.NoError(t, err)
	require.Equal(t, *made.key.bytes, *read.key.bytes)

	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")
	if runtime.GOOS == "windows" {
		return
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	for dir := filepath.Dir(path); strings.Contains(dir, "config"); dir = filepath.Dir(dir) {
		info, err = os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), dir)
	}
}

func TestCreateMasterKeyFileNeverReplacesAFile(t *testing.T) {
	t.Parallel()
	for name, link := range map[string]func(string, string) error{"linked": os.Link, "without hard links": noLinks} {
		path := filepath.Join(t.TempDir(), "master.key")
		require.NoError(t, os.WriteFile(path, []byte("something"), 0o600))
		_, err := createMasterKeyFile(path, link)
		require.ErrorIs(t, err, fs.ErrExist, name)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "something", string(content), name)
	}
}

func TestOfManyCreatorsOneMakesTheKeyAndAllReadTheSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyreeve", "master.key")
	const creators = 16
	var wg sync.WaitGroup
	ids, made := make([]string, creators), make([]bool, creators)
	errs := make([]error, creators)
	for i := range creators {
		wg.Go(func() {
			m, err := CreateMasterKeyFile(path)
			made[i] = err == nil
			if errors.Is(err, fs.ErrExist) {
				m, err = ReadMasterKeyFile(path) // whole as soon as it exists
			}
			ids[i], errs[i] = m.ID(), err
		})
	}
	wg.Wait()
	makers := 0
	for i := range creators {
		require.NoError(t, errs[i])
		require.Equal(t, ids[0], ids[i])
		if made[i] {
			makers++
		}
	}
	require.Equal(t, 1, makers)
}

// noLinks behaves as os.Link on a file system that has no hard links.
func noLinks(from, to string) error {
	return &os.LinkError{Op: "link", Old: from, New: to, Err: errors.ErrUnsupported}
}

func TestCreateMasterKeyFileDoesWithoutHardLinks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	made, err := createMasterKeyFile(path, noLinks)
	require.NoError(t, err)
	read, err := ReadMasterKeyFile(path)
	require.NoError(t, err)
	require.Equal(t, made.ID(), read.ID())
}

func TestCreateMasterKeyFileNamesWhatStandsInTheWay(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := CreateMasterKeyFile(filepath.Join(file, "master.key"))
	require.ErrorContains(t, err, file)
}

func TestReadMasterKeyFileSaysWhatIsWrongAndNotWhatIsInside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "master.key")

	_, err := ReadMasterKeyFile(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, path)

	_, err = ReadMasterKeyFile(dir)
	require.ErrorContains(t, err, "not a regular file")

	text := textOf(NewMasterKey())
	for _, content := range []string{"", "hunter2\n", text + " # ours\n", text + "\n" + text + "\n", strings.Repeat("x", 1<<16)} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err = ReadMasterKeyFile(path)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "krm_ followed by 43 characters")
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), text[4:20])
	}
}

func TestReadMasterKeyFileRefusesAFileOpenToOthersWithTheCommandToRun(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	path := filepath.Join(t.TempDir(), "master.key")
	made, err := CreateMasterKeyFile(path)
	require.NoError(t, err)
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o644, 0o601} {
		require.NoError(t, os.Chmod(path, mode))
		_, err = ReadMasterKeyFile(path)
		require.ErrorContains(t, err, fmt.Sprintf("chmod 600 %q", path), mode)
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		require.NoError(t, os.Chmod(path, mode))
		read, err := ReadMasterKeyFile(path)
		require.NoError(t, err)
		require.Equal(t, made.ID(), read.ID())
	}
}

func TestMasterKeyIDIsStableAndDiffersByKey(t *testing.T) {
	t.Parallel()
	m, err := ParseMasterKey("krm_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
	require.NoError(t, err)
	require.Equal(t, "540b6e0514bf", m.ID()) // stored in databases: must never change
	require.NotEqual(t, m.ID(), NewMasterKey().ID())
	require.Empty(t, MasterKey{}.ID())
}

// printed is v in every way that logs and encoders print values.
func printed(t *testing.T, v any) []string {
	t.Helper()
	var out []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		out = append(out, fmt.Sprintf(verb, v))
	}
	encoded, err := json.Marshal(v)
	require.NoError(t, err)
	return append(out, string(encoded), fmt.Sprint(v), fmt.Errorf("wrapped: %v", v).Error())
}

func TestMasterKeysAndKeyringsNeverPrintTheirBytes(t *testing.T) {
	t.Parallel()
	m := NewMasterKey()
	ring, err := NewKeyring(m, NewMasterKey())
	require.NoError(t, err)
	derived, _ := ring.Derive(m.ID(), "x")
	verifier, state := ring.keys[0].derive(infoVerifier), ring.keys[0].verifier.inner
	type holder struct { // fmt cannot call Format on unexported fields
		m    MasterKey
		ring *Keyring
		copy Keyring
	}
	for _, v := range []any{m, &m, ring, *ring, []MasterKey{m}, map[string]any{"k": m, "r": ring}, holder{m, ring, *ring}, &holder{m, ring, *ring}} {
		for _, text := range append(printed(t, v), fmt.Sprintf("%p", v)) {
			for _, key := range [][]byte{m.key.bytes[:], derived[:], verifier[:], state[4:36]} {
				part := key[:8]
				for _, form := range []string{string(part), fmt.Sprintf("%x", part), fmt.Sprintf("%X", part), base64.RawURLEncoding.EncodeToString(key[:9]),
					strings.Trim(fmt.Sprint(part), "[]"), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}")} {
					require.NotContains(t, text, form)
				}
			}
		}
	}
	require.Equal(t, "master key "+m.ID(), fmt.Sprintf("%x", m))
	require.Contains(t, ring.String(), m.ID())
}

func TestAMasterKeyIsTakenAsSystemdHandsItOver(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	dir, elsewhere := t.TempDir(), t.TempDir()
	t.Setenv(credentialsEnv, dir)
	path, outside := filepath.Join(dir, "master.key"), filepath.Join(elsewhere, "master.key")
	made, err := CreateMasterKeyFile(path)
	require.NoError(t, err)
	_, err = CreateMasterKeyFile(outside)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink(dir, filepath.Join(elsewhere, "run")))
	for _, mode := range []fs.FileMode{0o440, 0o640, 0o400} {
		require.NoError(t, os.Chmod(path, mode))
		for _, name := range []string{path, filepath.Join(elsewhere, "run", "master.key")} {
			read, err := ReadMasterKeyFile(name)
			require.NoError(t, err, "%04o %s", mode, name)
			require.Equal(t, made.ID(), read.ID())
		}
	}
	require.NoError(t, os.Chmod(outside, 0o440))
	for _, name := range []string{outside, filepath.Join(dir, "link"), filepath.Join(dir, "..", filepath.Base(elsewhere), "master.key")} {
		_, err := ReadMasterKeyFile(name)
		require.ErrorContains(t, err, "open to others", "it is no credential: %s", name)
	}
	for _, mode := range []fs.FileMode{0o444, 0o460, 0o450, 0o404} {
		require.NoError(t, os.Chmod(path, mode))
		_, err = ReadMasterKeyFile(path)
		require.ErrorContains(t, err, "open to others", "%04o", mode)
	}
	require.NoError(t, os.Chmod(path, 0o440))
	for _, unset := range []string{"", ".", "/nowhere"} {
		t.Setenv(credentialsEnv, unset)
		_, err = ReadMasterKeyFile(path)
		require.ErrorContains(t, err, "open to others", unset)
	}
}
