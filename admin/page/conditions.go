package page

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// unchanged is the condition that a record still has the version that the form was
// made from; nil where the form names none.
func (f *Form) unchanged() lifecycle.Condition {
	if f.Get("version") == "" {
		return nil
	}
	version := f.version()
	return func(r keystore.Revision) bool { return r == version }
}

// version is that of the record that the form was made from, 0 where it names none.
func (f *Form) version() keystore.Revision {
	n, err := strconv.ParseInt(f.Get("version"), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return keystore.Revision(n)
}

// newOnce names a form that makes something.
func newOnce() string {
	name := make([]byte, 16)
	_, _ = rand.Read(name) // never fails
	return hex.EncodeToString(name)
}

// once is the actor for a form that makes something: sent a second time, by a
// double click or a reload, it makes nothing more.
func (v *visit) once(f *Form) lifecycle.Actor {
	a := v.actor
	if name := f.Get("once"); name != "" && len(name) <= 64 {
		a.Once = &lifecycle.Once{Key: "page " + name, Fingerprint: sha256.Sum256([]byte(v.r.URL.Path + "?" + f.Values.Encode()))}
	}
	return a
}
