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
	text := f.Get("version")
	if text == "" {
		return nil
	}
	version, err := strconv.ParseInt(text, 10, 64)
	return func(r keystore.Revision) bool { return err == nil && r == keystore.Revision(version) }
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
