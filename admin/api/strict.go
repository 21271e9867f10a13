package api

import (
	"errors"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// Go's parsers take more spellings of a value than its type has: a time with a
// decimal comma or at +24:00, TRUE and 1 for true, +1 and 01 for 1. A value that
// another parser would read otherwise, or not at all, is refused here.

var (
	// timePattern is RFC 3339 section 5.6, in capitals; that there is such a day,
	// time.Parse knows.
	timePattern  = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	wholePattern = regexp.MustCompile(`^(0|-?[1-9]\d*)$`)
)

var (
	errTime  = errors.New("not a time of RFC 3339")
	errWhole = errors.New("not a whole number")
)

// parseTime reads a time of RFC 3339; false if it is none.
func parseTime(text string) (time.Time, bool) {
	if !timePattern.MatchString(text) {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	return t, err == nil
}

// checkParam refuses a query parameter that does not have its type's one spelling.
func checkParam(bad *lifecycle.FieldErrors, p *huma.Param, given string) {
	if p.Schema == nil {
		return
	}
	switch p.Schema.Type {
	case huma.TypeInteger:
		if !wholePattern.MatchString(given) {
			bad.Add(p.Name, lifecycle.FieldType, "must be a whole number such as 20")
		}
	case huma.TypeBoolean:
		if given != "true" && given != "false" {
			bad.Add(p.Name, lifecycle.FieldType, "must be true or false")
		}
	case huma.TypeString:
		if _, ok := parseTime(given); p.Schema.Format == "date-time" && !ok {
			bad.Add(p.Name, lifecycle.FieldFormat, "must be a time such as 2030-01-02T15:04:05Z (RFC 3339)")
		}
	}
}
