package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed static
var staticFiles embed.FS

const assetsPrefix = root + "assets/"

// asset is a file of the page, as it is and compressed.
type asset struct {
	mediaType     string
	plain, packed []byte
}

// library is every asset by its name, and a hash of all of them: the modules
// import each other by relative paths, so that they share one.
var library = sync.OnceValues(func() (map[string]asset, string) {
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		panic("page: " + err.Error())
	}
	all, hash := map[string]asset{}, sha256.New()
	for _, e := range entries {
		data, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			panic("page: " + err.Error())
		}
		_, _ = hash.Write([]byte(e.Name()))
		_, _ = hash.Write(data)
		var packed bytes.Buffer
		zip, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		_, _ = zip.Write(data)
		_ = zip.Close()
		all[e.Name()] = asset{mediaTypeOf(e.Name()), data, packed.Bytes()}
	}
	return all, hex.EncodeToString(hash.Sum(nil)[:8])
})

// mediaTypeOf does not depend on what the machine has registered.
func mediaTypeOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return mime.TypeByExtension(path.Ext(name))
}

// assetURL is where an asset is, for ever.
func assetURL(name string) string {
	_, hash := library()
	return assetsPrefix + hash + "/" + name
}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	all, hash := library()
	version, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, assetsPrefix), "/")
	a, ok := all[name]
	if !ok {
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.mediaType)
	if version == hash { // another is that of a page from before an update, or after
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Vary", "Accept-Encoding")
	body := a.plain
	if takesGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = a.packed
	}
	_, _ = w.Write(body) // the client may be gone
}
