package page

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// worthPacking is from how many bytes an answer is compressed.
const worthPacking = 2 << 10

// packers are used again: a new one costs more memory than an answer has.
var packers = sync.Pool{New: func() any {
	zip, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails for unknown levels alone
	return zip
}}

// send answers with a document, compressed where it is long and the client takes that.
// What shows a secret never is, and neither is what is shown before anybody is signed
// in: how short a text becomes tells something of it to whoever can add to it and see
// its length.
func (v *visit) send(status int, body []byte) {
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Add("Vary", "Accept-Encoding")
	if len(body) >= worthPacking && v.signedIn() && !v.secret && takesGzip(v.r) {
		var packed bytes.Buffer
		zip := packers.Get().(*gzip.Writer)
		zip.Reset(&packed)
		_, _ = zip.Write(body) // a buffer takes everything
		_ = zip.Close()
		packers.Put(zip)
		h.Set("Content-Encoding", "gzip")
		body = packed.Bytes()
	}
	v.w.WriteHeader(status)
	_, _ = v.w.Write(body) // the client may be gone
}

// takesGzip reports a client that says that it does.
func takesGzip(r *http.Request) bool {
	for _, one := range strings.Split(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, parameter, _ := strings.Cut(one, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		weight, given := strings.CutPrefix(strings.TrimSpace(parameter), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !given || err == nil && q > 0
	}
	return false
}
