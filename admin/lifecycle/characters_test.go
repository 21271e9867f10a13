package lifecycle

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func TestANameShowsWhatIsStored(t *testing.T) {
	t.Parallel()
	marks := func(n int) string { return "a" + strings.Repeat("\u0316", n) }
	for _, c := range []struct{ what, name string }{
		{"a combining grapheme joiner", "pro\u034fd"}, {"a Hangul filler before", "pro\u115fd"}, {"a Hangul filler behind", "pro\u1160d"},
		{"a Hangul filler of its own", "\u3164"}, {"a narrow Hangul filler", "pro\uffa0d"}, {"a Khmer vowel that is none", "pro\u17b4d"},
		{"nothing but a Braille blank", "\u2800"}, {"a Braille blank at the end", "prod\u2800"}, {"an ideographic space at the end", "prod\u3000"},
		{"nothing but a combining mark", "\u0301"}, {"nothing but spaces and marks", "\u0301 \u0301"},
		{"a variation selector alone", "\ufe0f"}, {"one behind a letter", "prod\ufe0f"}, {"one behind a digit that is no keycap", "1\ufe0f"},
		{"two behind a symbol", "\u2764\ufe0f\ufe0f"}, {"one of ideographs behind a letter", "prod\U000e0100"}, {"one of Mongolian behind a letter", "prod\u180b"},
		{"a variation selector for nothing", "\u2229\ufe00"},
		{"a tag", "prod\U000e0041"}, {"a language tag", "\U000e0001prod"}, {"an unassigned ignorable", "prod\U000e0fff"},
		{"a noncharacter", "prod\ufffe"}, {"a noncharacter of another plane", "prod\U0001ffff"}, {"an Arabic noncharacter", "prod\ufdd0"},
		{"half a surrogate pair as JSON reads it", "pro\ufffdd"}, {"a bidirectional override", "pro\u202ed"}, {"a zero-width space", "pro\u200bd"},
		{"a soft hyphen", "pro\u00add"}, {"a byte order mark", "\ufeffprod"}, {"a control character", "pro\x7fd"},
		{"a non-joiner between Latin letters", "pro\u200cd"}, {"a joiner between Latin letters", "pro\u200dd"},
		{"a joiner at the end", "prod\u200d"}, {"a joiner at the beginning", "\u200dprod"}, {"a joiner behind an emoji at the end", "\U0001f468\u200d"},
		{"a joiner between an emoji and a letter", "\U0001f468\u200da"}, {"a non-joiner between emoji", "\U0001f468\u200c\U0001f469"},
		{"a non-joiner behind a letter that does not join", "\u062f\u200c\u062f"}, {"two joiners", "\U0001f468\u200d\u200d\U0001f469"},
		{"31 marks in a row", marks(31)}, {"a page of marks", "a" + strings.Repeat("\u0301", 5000)},
	} {
		var bad FieldErrors
		cleanName(&bad, c.name)
		require.NotEmpty(t, bad, "%s: %+q", c.what, c.name)
	}
	var bad FieldErrors
	cleanDescription(&bad, marks(31))
	require.Len(t, bad, 1)
	require.Contains(t, bad[0].Detail, "more than 30 combining marks", "what is refused is what was sent, not what NFC made of it")
	for _, name := range []string{"prod", "größe", "Ünïcödé № 5", "日本 サーバー", "葛\U000e0100飾", "한국", "ᠭᠠ\u180bᠭ", "می\u200cخواهم", "क्\u200dष", "ශ්\u200dරී",
		"❤\ufe0f", "1\ufe0f\u20e3", "©\ufe0f", "ℹ\ufe0f", "👨\u200d👩\u200d👧", "👩🏽\u200d💻", "❤\ufe0f\u200d🔥", "🏳\ufe0f\u200d🌈", "🙂\u200d↔\ufe0f", "🇩🇪",
		"⠓⠑\u2800⠇", "a b", "-", "१२", "\ue000", marks(30)} {
		var bad FieldErrors
		require.Equal(t, name, cleanName(&bad, name))
		require.Empty(t, bad, "%+q", name)
	}
}

func TestADescriptionMayBeEmptyAndOfSeveralLinesButHidesNothing(t *testing.T) {
	t.Parallel()
	for text, fine := range map[string]bool{"": true, " \n\tline\n": true, "a\u200bb": false, "a\ufffd": false, "\u3164": false, "a\u2028b": false} {
		var bad FieldErrors
		cleanDescription(&bad, text)
		require.Equal(t, fine, len(bad) == 0, "%+q", text)
	}
}

func TestEveryRecordsNameIsHeldToTheSameRule(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const name = "Oper\u200cator"
	for what, do := range map[string]func() error{
		"key": func() error {
			_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: name, RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
			return err
		},
		"role": func() error {
			_, _, err := h.CreateRole(h.ctx, local, NewRole{Name: name, CustomerID: Null[string]()})
			return err
		},
		"customer": func() error { _, _, err := h.CreateCustomer(h.ctx, local, NewCustomer{Name: name}); return err },
		"microtenant": func() error {
			_, _, err := h.CreateMicrotenant(h.ctx, local, NewMicrotenant{CustomerID: "acme", Name: name})
			return err
		},
		"view": func() error { _, _, err := h.CreateView(h.ctx, local, NewView{Name: name, List: "keys"}); return err },
	} {
		require.Error(t, do(), what)
		requireInvalid(t, do(), "name", FieldFormat)
	}
	k := theirs("a")
	k.Name = name
	_, err := h.push(h.source(), k)
	requireInvalid(t, err, "keys[0].name", FieldFormat)
}
