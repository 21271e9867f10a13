package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// echoed is a request as the upstream received it.
type echoed struct {
	Method string `json:"method"`
	// Path is escaped as it came over the wire.
	Path       string      `json:"path"`
	RawQuery   string      `json:"raw_query"`
	Headers    http.Header `json:"headers"`
	Trailers   http.Header `json:"trailers"`
	BodySHA256 string      `json:"body_sha256"`
}

// startEcho runs an upstream that answers with what it received.
func startEcho() (url string, stop func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(serveEcho), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // returns when closed
	return "http://" + listener.Addr().String(), server.Close, nil
}

func serveEcho(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	if _, err := io.Copy(hash, r.Body); err != nil {
		http.Error(w, "reading the body: "+err.Error(), http.StatusBadRequest)
		return
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	headers := r.Header.Clone()
	headers.Set("Host", r.Host)
	trailers := r.Trailer
	if trailers == nil {
		trailers = http.Header{}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(echoed{ // the caller may be gone
		Method: r.Method, Path: path, RawQuery: query,
		Headers: headers, Trailers: trailers, BodySHA256: hex.EncodeToString(hash.Sum(nil)),
	})
}
