package page

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/credential"
)

const (
	// idleLimit ends a session at the page that nobody uses.
	idleLimit = 30 * time.Minute
	// resealAfter is how old the cookie's mark of use gets before it is renewed.
	resealAfter = time.Minute
)

// The session's cookie, over TLS and without. The gate never forwards either.
const (
	secureCookie = "__Host-keyreeve_session"
	plainCookie  = "keyreeve_session"
)

// cookieInfo names the keys that cookies are sealed with, one per master key.
const cookieInfo = "keyreeve page cookie v1"

// sealer encrypts what browsers keep for the page (AES-256-GCM). What was sealed
// under one cookie's name does not open under another's.
type sealer struct{ keys []cipher.AEAD } // the current one first

func newSealer(ring *credential.Keyring) *sealer {
	s := new(sealer)
	for _, id := range ring.IDs() {
		key, _ := ring.Derive(id, cookieInfo) // it is one that is held
		block, err := aes.NewCipher(key[:])
		if err != nil {
			panic("page: AES refused a key of 32 bytes: " + err.Error())
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			panic("page: GCM refused AES: " + err.Error())
		}
		s.keys = append(s.keys, aead)
	}
	return s
}

func (s *sealer) seal(name string, v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("page: a cookie's value was not written as JSON: " + err.Error())
	}
	aead := s.keys[0]
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, text, []byte(name)))
}

var errSeal = errors.New("not sealed here")

func (s *sealer) open(name, text string, into any) error {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return errSeal
	}
	for _, aead := range s.keys {
		if len(raw) < aead.NonceSize() {
			return errSeal
		}
		plain, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], []byte(name))
		if err == nil {
			return json.Unmarshal(plain, into)
		}
	}
	return errSeal
}

// ticket is the session's cookie opened.
type ticket struct {
	Token string `json:"t"`
	// Seen is when somebody last did something, in Unix seconds.
	Seen int64 `json:"s"`
}

// Token is that of the session in the request's cookie, "" for none and for one that
// nobody used for the idle limit.
func (p *Page) Token(r *http.Request) string {
	t := p.ticket(r)
	if t == nil || p.idle(t) >= idleLimit {
		return ""
	}
	return t.Token
}

// idle is how long nobody did anything.
func (p *Page) idle(t *ticket) time.Duration { return p.cfg.Now().Sub(time.Unix(t.Seen, 0)) }

func (p *Page) cookieName(r *http.Request) string {
	if p.cfg.Secure(r) {
		return secureCookie
	}
	return plainCookie
}

// ticket reads the session's cookie; nil if there is none that is ours.
func (p *Page) ticket(r *http.Request) *ticket {
	name := p.cookieName(r)
	all := r.CookiesNamed(name)
	for _, c := range all[:min(len(all), 4)] { // another host of this name may have set one too
		t := new(ticket)
		if p.cookies.open(name, c.Value, t) == nil {
			return t
		}
	}
	return nil
}

// remember puts a session into the browser.
func (p *Page) remember(w http.ResponseWriter, r *http.Request, token string) {
	name := p.cookieName(r)
	p.setSession(w, r, p.cookies.seal(name, ticket{Token: token, Seen: p.cfg.Now().Unix()}), 0)
}

func (p *Page) forget(w http.ResponseWriter, r *http.Request) { p.setSession(w, r, "", -1) }

func (p *Page) setSession(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	name := p.cookieName(r)
	// One answer sets it once: the last word is the one that counts.
	set := w.Header()["Set-Cookie"]
	w.Header()["Set-Cookie"] = slices.DeleteFunc(set, func(line string) bool {
		return len(line) > len(name) && line[:len(name)+1] == name+"="
	})
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: p.cfg.Secure(r),
		HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// Why a session is over, as the sign-in page tells.
const (
	whyIdle = "idle"
	whyOver = "over"
	whyOut  = "out"
)

// resume finds out who is there. It answers the request itself, and returns
// false, when nobody is.
func (v *visit) resume() bool {
	p, t := v.page, v.page.ticket(v.r)
	if t == nil {
		v.askToSignIn("")
		return false
	}
	idle := p.idle(t)
	if idle >= idleLimit {
		_ = p.cfg.Door.SignOut(v.r, t.Token) // it ends by itself soon, if not by this
		p.forget(v.w, v.r)
		v.askToSignIn(whyIdle)
		return false
	}
	actor, problem := p.cfg.Door.Resume(v.r, t.Token)
	switch {
	case problem == nil:
	case problem.Status == http.StatusUnauthorized:
		p.forget(v.w, v.r)
		v.askToSignIn(whyOver)
		return false
	default:
		v.showProblem(problem)
		return false
	}
	v.actor, v.token = actor, t.Token
	if v.actor.RequestID == "" {
		v.actor.RequestID = v.requestID()
	}
	if !v.route.passive && idle >= resealAfter {
		p.remember(v.w, v.r, t.Token)
	}
	return true
}
