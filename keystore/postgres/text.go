package postgres

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// PostgreSQL keeps text that is valid UTF-8 and has no NUL; the other stores keep any
// bytes. So what it would refuse is stored, and looked for, in other characters: the
// mark and a character for the byte. Text with the mark itself is written so too, and
// each text has one form. A client ID of such bytes is then unknown, as it should be,
// rather than an error of the store.

const (
	// mark is of Unicode's private use area, as what stands behind it.
	mark = '\uf8f0'
	// escaped begins the characters that stand for bytes.
	escaped = 0xf700
	marks   = string(mark)
)

// encode is text as it is stored.
func encode(text string) string {
	if utf8.ValidString(text) && !strings.ContainsRune(text, 0) && !strings.Contains(text, marks) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == 0 || r == mark || r == utf8.RuneError && size == 1 {
			for _, c := range []byte(text[i : i+size]) {
				b.WriteRune(mark)
				b.WriteRune(rune(escaped + int(c)))
			}
		} else {
			b.WriteString(text[i : i+size])
		}
		i += size
	}
	return b.String()
}

// decode is stored text as it was.
func decode(text string) string {
	if !strings.Contains(text, marks) {
		return text
	}
	b := make([]byte, 0, len(text))
	marked := false
	for _, r := range text {
		switch {
		case marked && escaped <= r && r < escaped+0x100:
			b, marked = append(b, byte(r-escaped)), false
		case r == mark:
			marked = true
		default:
			b, marked = utf8.AppendRune(b, r), false
		}
	}
	return string(b)
}

func decodeBytes(text []byte) []byte {
	if !bytes.Contains(text, []byte(marks)) {
		return text
	}
	return []byte(decode(string(text)))
}
