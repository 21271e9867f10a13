package lifecycle

import (
	"strconv"
	"strings"
)

// indexed is the JSON path of an element.
func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// truncate shortens what a caller sent before it is quoted back.
func truncate(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
