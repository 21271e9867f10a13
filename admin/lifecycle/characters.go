package lifecycle

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
)

const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
	// graphemeJoiner is what norm puts in after 30 combining marks in a row (the
	// stream-safe format of Unicode Standard Annex 15).
	graphemeJoiner = '\u034f'
	// brailleBlank looks like a space, and is none to Unicode.
	brailleBlank = '\u2800'
)

// invisible characters change what is stored and nothing that is seen: format
// characters, the bidirectional ones included, and all else that is ignored where
// it cannot be shown (Default_Ignorable_Code_Point). Joiners and variation
// selectors, which words of some scripts and emoji need, are let in by oddity.
var invisible = []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp,
	unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Noncharacter_Code_Point}

// joined holds the rules for joiners in words: RFC 5892 appendices A.1 and A.2,
// by which one stands only where it changes how letters look.
var joined = precis.NewFreeform()

// oddity finds the first character of text that would show something else than is
// stored. also lists control characters that may stay.
func oddity(text, also string) (odd rune, found bool) {
	var before rune
	for i, r := range text {
		if !fits(text, i, before, r) && !strings.ContainsRune(also, r) {
			return r, true
		}
		before = r
	}
	return 0, false
}

// fits reports whether r, at i of text and behind `before`, is shown there.
func fits(text string, i int, before, r rune) bool {
	after, _ := utf8.DecodeRuneInString(text[i+utf8.RuneLen(r):])
	switch {
	case r == utf8.RuneError: // stands for what was no character, such as half of a surrogate pair
		return false
	case r == zeroWidthJoiner && (pictograph(before) || unicode.Is(unicode.Variation_Selector, before)):
		return pictograph(after)
	case r == zeroWidthJoiner, r == zeroWidthNonJoiner:
		_, err := joined.String(wordAt(text, i))
		return err == nil
	case unicode.Is(unicode.Variation_Selector, r):
		return varies(before, r, after)
	}
	return !unicode.In(r, invisible...)
}

// wordAt is the run of letters, marks and joiners around i.
func wordAt(text string, i int) string {
	outside := func(r rune) bool {
		return !unicode.In(r, unicode.L, unicode.M) && r != zeroWidthJoiner && r != zeroWidthNonJoiner
	}
	start := 0
	if at := strings.LastIndexFunc(text[:i], outside); at >= 0 {
		_, size := utf8.DecodeRuneInString(text[at:])
		start = at + size
	}
	end := len(text)
	if at := strings.IndexFunc(text[i:], outside); at >= 0 {
		end = i + at
	}
	return text[start:end]
}

// pictograph is true for what an emoji is made of: symbols, arrows and all behind
// them, and the skin tones.
func pictograph(r rune) bool {
	const firstArrow = '\u2190'
	switch {
	case r == utf8.RuneError: // a symbol, and what decodes at the end of a text
		return false
	case r < firstArrow:
		return strings.ContainsRune("©®™", r)
	}
	return unicode.In(r, unicode.So, unicode.Sm, unicode.Sk)
}

// varies reports whether the variation selector r means something behind this
// character: text or emoji behind a symbol or in a keycap, and the forms of
// Mongolian letters and of ideographs.
func varies(before, r, after rune) bool {
	const keycap = '\u20e3'
	switch {
	case r == '\ufe0e' || r == '\ufe0f':
		return pictograph(before) || strings.ContainsRune("‼⁉〰ℹ", before) ||
			(after == keycap && strings.ContainsRune("0123456789#*", before))
	case unicode.Is(unicode.Mongolian, r):
		return unicode.IsLetter(before) && unicode.Is(unicode.Mongolian, before)
	case r >= 0xe0100:
		return unicode.Is(unicode.Han, before)
	}
	return false
}

// blank is true for what looks like white space.
func blank(r rune) bool { return unicode.IsSpace(r) || r == brailleBlank }

// shows is true for a character that is seen by itself; a combining mark is not.
func shows(r rune) bool {
	return !blank(r) && unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S, unicode.Co)
}

// normal is text in NFC; bounded is false for one with more combining marks in a
// row than NFC can keep together: norm would part them by a character of its own.
func normal(text string) (nfc string, bounded bool) {
	nfc = norm.NFC.String(text)
	return nfc, strings.ContainsRune(text, graphemeJoiner) || !strings.ContainsRune(nfc, graphemeJoiner)
}
