package credential

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	masterKeyPrefix = "krm_"
	masterKeyLen    = len(masterKeyPrefix) + 43
	// masterKeyIDBytes of a digest, in hex, name a master key.
	masterKeyIDBytes = 6
	masterKeyIDLabel = "keyreeve master key id v1\x00"

	expectedMasterKey = "expected exactly one line: krm_ followed by 43 characters of base64url"
)

// errMasterKeyForm never shows what was found: it may be a key with a typo.
var errMasterKeyForm = errors.New(expectedMasterKey)

// MasterKey is the root of all derived keys. It stays outside the database and
// its backups. However it is printed, it shows its id and never its bytes.
type MasterKey struct {
	key *hiddenKey
}

// hiddenKey keeps key bytes two pointers away from whatever holds them. Where a
// MasterKey lies in an unexported field, fmt cannot call Format, and a verb that
// does not suit a pointer makes it follow one, but not two.
type hiddenKey struct{ bytes *[32]byte }

// NewMasterKey makes a random master key.
func NewMasterKey() MasterKey {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the process instead
	return MasterKey{key: &hiddenKey{&key}}
}

// ID names the master key in stored records: 12 hex digits that tell nothing
// about it. It is "" for the zero MasterKey.
func (m MasterKey) ID() string {
	if m.key == nil {
		return ""
	}
	h := sha256.New()
	_, _ = io.WriteString(h, masterKeyIDLabel)
	_, _ = h.Write(m.key.bytes[:])
	return hex.EncodeToString(h.Sum(nil)[:masterKeyIDBytes])
}

// String names the key without showing it.
func (m MasterKey) String() string { return "master key " + m.ID() }

// GoString is String.
func (m MasterKey) GoString() string { return m.String() }

// Format writes String whatever the verb.
func (m MasterKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.String()) }

// MarshalText is String; JSON and YAML use it.
func (m MasterKey) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// ParseMasterKey reads the text of a master key, as in a file or an environment
// variable. One trailing line end is tolerated, nothing else.
func ParseMasterKey(text string) (MasterKey, error) {
	if t, ok := strings.CutSuffix(text, "\n"); ok {
		text = strings.TrimSuffix(t, "\r")
	}
	body, ok := strings.CutPrefix(text, masterKeyPrefix)
	if !ok || len(text) != masterKeyLen {
		return MasterKey{}, errMasterKeyForm
	}
	// The length was checked because this decoder skips line ends.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) != 32 {
		return MasterKey{}, errMasterKeyForm
	}
	return MasterKey{key: &hiddenKey{(*[32]byte)(raw)}}, nil
}

// credentialsEnv names the directory where systemd hands secrets over to a service.
const credentialsEnv = "CREDENTIALS_DIRECTORY"

// openToOthers reports whether anybody but its owner may have a file. Of systemd's
// credentials root is the owner from version 254 on, and an access list lets the service
// read them, which shows as the group's bits; the directory is the service's alone.
func openToOthers(path string, perm fs.FileMode) bool {
	if runtime.GOOS == "windows" { // has no such bits: Go makes them up
		return false
	}
	if perm&0o077 == 0o040 && inCredentials(path) {
		return false
	}
	return perm&0o077 != 0
}

// inCredentials reports whether a file, and not only a link to it, is in that directory.
func inCredentials(path string) bool {
	dir := os.Getenv(credentialsEnv)
	if !filepath.IsAbs(dir) {
		return false
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	if path, err = filepath.EvalSymlinks(path); err == nil {
		path, err = filepath.Abs(path)
	}
	return err == nil && filepath.Dir(path) == dir
}

// ReadMasterKeyFile reads a master key from a regular file that only its owner
// can read, or which systemd hands over as a credential. The error is
// fs.ErrNotExist if there is no such file.
func ReadMasterKeyFile(path string) (MasterKey, error) {
	info, err := os.Stat(path) // before opening, which would wait on a pipe
	if err != nil {
		return MasterKey{}, fmt.Errorf("master key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return MasterKey{}, fmt.Errorf("master key file %q is not a regular file; %w", path, errMasterKeyForm)
	}
	f, err := os.Open(path)
	if err != nil {
		return MasterKey{}, fmt.Errorf("master key file: %w", err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return MasterKey{}, fmt.Errorf("master key file: %w", err)
	}
	if perm := info.Mode().Perm(); openToOthers(path, perm) {
		return MasterKey{}, fmt.Errorf("master key file %q is open to others (mode %04o); run: chmod 600 %q", path, perm, path)
	}
	// Enough to see that there is more than a key and its line end.
	text, err := io.ReadAll(io.LimitReader(f, int64(masterKeyLen)+3))
	if err != nil {
		return MasterKey{}, fmt.Errorf("master key file: %w", err)
	}
	m, err := ParseMasterKey(string(text))
	if err != nil {
		return MasterKey{}, fmt.Errorf("master key file %q: %w", path, err)
	}
	return m, nil
}

// CreateMasterKeyFile makes a new master key and stores it, durably and readable
// by the owner only; missing directories are made (0700). If the file exists
// already, the error is fs.ErrExist and the file is left as it is: of two
// processes that start at once, one makes the key and both read the same.
func CreateMasterKeyFile(path string) (MasterKey, error) {
	return createMasterKeyFile(path, os.Link)
}

func createMasterKeyFile(path string, link func(from, to string) error) (MasterKey, error) {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return MasterKey{}, fmt.Errorf("directory of the master key file: %w", err)
	}
	m := NewMasterKey()
	err := publish(path, []byte(masterKeyPrefix+base64.RawURLEncoding.EncodeToString(m.key.bytes[:])+"\n"), link)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return MasterKey{}, fmt.Errorf("create master key file %q: %w", path, err)
	}
	// Also when another process made it: what is proven with that key must not
	// outlive it, and the other may not have got this far.
	if syncErr := syncDir(dir); syncErr != nil {
		return MasterKey{}, fmt.Errorf("create master key file %q: %w", path, syncErr)
	}
	if err != nil {
		return MasterKey{}, fmt.Errorf("create master key file %q: %w", path, fs.ErrExist)
	}
	return m, nil
}

// publish makes the file appear at path whole or not at all, and never replaces
// one: it is written under another name and linked. Where the file system has
// no hard links it is made in place, which another process may see half done.
func publish(path string, content []byte, link func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".master-key-*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := writeSynced(f, content); err != nil {
		return err
	}
	err = link(f.Name(), path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := writeSynced(f, content); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// writeSynced writes all of content to disk and closes f.
func writeSynced(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// makeDir makes dir and the directories above it that are missing, and makes
// their entries durable.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			return nil // another process made it meanwhile
		}
		return err
	}
	return syncDir(parent)
}

// syncDir makes the entries of a directory durable. Windows cannot sync one.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
