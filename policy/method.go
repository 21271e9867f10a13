package policy

import (
	"fmt"
	"slices"
	"strings"
)

// AnyMethod stands for every method in a route as written.
const AnyMethod = "*"

// The methods whose action is known without being named. A match looks them up
// by position; other methods, by name.
const (
	methodGet = iota
	methodHead
	methodOptions
	methodPost
	methodPut
	methodPatch
	methodDelete
	methodCount
	methodOther = -1
)

var methods = [methodCount]struct {
	name   string
	action Mask
}{
	methodGet:     {"GET", Read},
	methodHead:    {"HEAD", Read},
	methodOptions: {"OPTIONS", Read},
	methodPost:    {"POST", Create},
	methodPut:     {"PUT", Update},
	methodPatch:   {"PATCH", Update},
	methodDelete:  {"DELETE", Delete},
}

// methodIndex is the position of a method in methods, or methodOther.
func methodIndex(method string) int {
	switch method {
	case "GET":
		return methodGet
	case "HEAD":
		return methodHead
	case "OPTIONS":
		return methodOptions
	case "POST":
		return methodPost
	case "PUT":
		return methodPut
	case "PATCH":
		return methodPatch
	case "DELETE":
		return methodDelete
	}
	return methodOther
}

// checkMethods requires `*` alone, or distinct methods in capitals (RFC 9110
// section 9.1: methods are case-sensitive tokens).
func checkMethods(list []string) error {
	if len(list) == 0 {
		return fmt.Errorf("no methods: name them, or write * for every method")
	}
	for i, m := range list {
		switch {
		case m == AnyMethod && len(list) > 1:
			return fmt.Errorf("* already means every method: write it alone")
		case m == AnyMethod:
		case !methodToken(m):
			return fmt.Errorf("%q is no method: expected a word such as GET or POST, or *", m)
		case m != strings.ToUpper(m):
			return fmt.Errorf("method %q must be in capitals: %s", m, strings.ToUpper(m))
		case slices.Contains(list[:i], m):
			return fmt.Errorf("method %s is listed twice", m)
		}
	}
	return nil
}

// methodToken reports an RFC 9110 section 5.6.2 token without `*`.
func methodToken(m string) bool {
	if m == "" || len(m) > 64 {
		return false
	}
	for i := range len(m) {
		c := m[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

// named reports whether the route lists method itself.
func (r *Route) named(method string) bool { return slices.Contains(r.Methods, method) }

// admits reports whether a request with method may match the route, and the
// action it then asks for.
func (r *Route) admits(method string) (Mask, bool) {
	index := methodIndex(method)
	switch {
	case r.Methods == nil:
		if index == methodOther && r.Action == 0 && !r.Public {
			return 0, false
		}
	case r.named(method):
	case index == methodHead && r.named("GET"):
	default:
		return 0, false
	}
	switch {
	case r.Public || r.Action != 0:
		return r.Action, true
	case index == methodOther:
		return 0, false
	}
	return methods[index].action, true
}

// sharesMethod reports whether some method may match both routes.
func (r *Route) sharesMethod(other *Route) bool {
	both := func(method string) bool {
		_, a := r.admits(method)
		_, b := other.admits(method)
		return a && b
	}
	for _, m := range methods {
		if both(m.name) {
			return true
		}
	}
	// A * route takes at least the methods above, so only lists remain.
	return slices.ContainsFunc(r.Methods, both) || slices.ContainsFunc(other.Methods, both)
}

// rivals reports whether neither of two routes over equal paths comes before
// the other: they name the same method, or both take any.
func (r *Route) rivals(other *Route) bool {
	if r.Methods == nil || other.Methods == nil {
		return r.Methods == nil && other.Methods == nil
	}
	return slices.ContainsFunc(r.Methods, other.named)
}
