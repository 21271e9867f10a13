package api

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

const (
	onceHeader = "Idempotency-Key"
	// maxFlights bounds how many named requests this node keeps apart at a time. Any
	// more are let through: the store knows what was done, this only spares it work.
	maxFlights = 4096
	// flightRetrySeconds is how soon a request like one under way may be sent again.
	flightRetrySeconds = 1
)

// makesNothing is the Metadata of a POST that changes nothing, so that doing it
// again needs no name.
var makesNothing = map[string]any{"makes_nothing": true}

// unnamed is the Metadata of a POST that changes something, once for all: again it is
// refused.
var unnamed = map[string]any{"unnamed": true}

// takesOnce reports whether requests of an operation may be named.
func takesOnce(op *huma.Operation) bool {
	return op.Method == http.MethodPost && op.Metadata["makes_nothing"] == nil && op.Metadata["unnamed"] == nil
}

// onceParam describes the header that names a request.
func onceParam() *huma.Param {
	least, most := 1, lifecycle.MaxOnceKey
	return &huma.Param{Name: onceHeader, In: "header",
		Description: "A name of your own for the request, remembered for 24 hours: sent again with the same name, path and body it changes nothing more and is answered as before, without the secret. Names of other clients do not meet yours.",
		Schema:      &huma.Schema{Type: huma.TypeString, MinLength: &least, MaxLength: &most, Pattern: "^[!-~]+$"}}
}

// once lets a request that has a name be done once. The name reaches the
// operation with a fingerprint of all that was asked for; the body is read here
// and given to the handler again.
func once[I, O any](handle func(*call, *I) (*O, error)) func(*call, *I) (*O, error) {
	return func(c *call, in *I) (*O, error) {
		name, land, err := c.api.flights.once(c.r, c.actor.ID)
		if err != nil {
			return nil, err
		}
		defer land()
		c.actor.Once = name
		return handle(c, in)
	}
}

// once is the request's name, nil if it has none, once no other request of that
// name is under way; land must be called when it is done.
func (f *flights) once(r *http.Request, actorID string) (name *lifecycle.Once, land func(), err error) {
	key, given, err := onceKey(r)
	if err != nil || !given {
		return nil, func() {}, err
	}
	fingerprint, whole := fingerprint(r)
	if !whole {
		return nil, func() {}, nil // the handler refuses the body
	}
	land, ok := f.start(flight{actorID, key})
	if !ok {
		return nil, func() {}, &lifecycle.Error{Kind: lifecycle.Conflict, Code: lifecycle.CodeIdempotencyInProgress,
			Detail: "a request with this Idempotency-Key is being done; try again in a moment"}
	}
	return &lifecycle.Once{Key: key, Fingerprint: fingerprint}, land, nil
}

// onceKey is the request's name.
func onceKey(r *http.Request) (key string, given bool, err error) {
	values := r.Header.Values(onceHeader)
	if len(values) == 0 {
		return "", false, nil
	}
	fits := len(values) == 1 && len(values[0]) >= 1 && len(values[0]) <= lifecycle.MaxOnceKey
	for i := 0; fits && i < len(values[0]); i++ {
		fits = '!' <= values[0][i] && values[0][i] <= '~'
	}
	if !fits {
		return "", true, lifecycle.FieldErrors{{Field: onceHeader, Code: lifecycle.FieldFormat,
			Detail: "must be given once, 1 to " + strconv.Itoa(lifecycle.MaxOnceKey) + " visible ASCII characters"}}.Err()
	}
	return values[0], true, nil
}

// fingerprint is of the method, the path and the body; whole is false for a body
// that cannot be read or is too large. The body can be read again afterwards.
func fingerprint(r *http.Request) (sum [sha256.Size]byte, whole bool) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	rest := io.Reader(r.Body)
	if err != nil {
		rest = broken{err}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), rest), r.Body}
	h := sha256.New()
	for _, part := range []string{r.Method, r.URL.Path, r.URL.RawQuery} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part)) // where each ends is part of it
	}
	h.Write(body)
	return [sha256.Size]byte(h.Sum(nil)), err == nil && len(body) <= maxBody
}

// broken is what is left of a body that could not be read to its end.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// flight is a named request under way: whose, and how it is called.
type flight struct{ actor, key string }

// flights are the named requests under way on this node.
type flights struct {
	mu  sync.Mutex
	all map[flight]bool
}

// start is false while a request of that name is under way; land ends it.
func (f *flights) start(one flight) (land func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all[one] {
		return nil, false
	}
	if len(f.all) >= maxFlights {
		return func() {}, true
	}
	if f.all == nil {
		f.all = map[flight]bool{}
	}
	f.all[one] = true
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.all, one)
	}, true
}
