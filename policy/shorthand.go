package policy

import "slices"

// shorthands are the parameter-like names that Caddy replaces in a Caddyfile
// before any module sees them (caddyconfig/httpcaddyfile/shorthands.go, Caddy
// 2.11), with what it makes of them. They are refused in policy files too, so
// that a route means the same wherever it is written.
var shorthands = map[string]string{
	"client_ip":                         "http.vars.client_ip",
	"dir":                               "http.request.uri.path.dir",
	"file":                              "http.request.uri.path.file",
	"host":                              "http.request.host",
	"hostport":                          "http.request.hostport",
	"method":                            "http.request.method",
	"orig_dir":                          "http.request.orig_uri.path.dir",
	"orig_file":                         "http.request.orig_uri.path.file",
	"orig_method":                       "http.request.orig_method",
	"orig_path":                         "http.request.orig_uri.path",
	"orig_query":                        "http.request.orig_uri.query",
	"orig_uri":                          "http.request.orig_uri",
	"path":                              "http.request.uri.path",
	"port":                              "http.request.port",
	"query":                             "http.request.uri.query",
	"remote":                            "http.request.remote",
	"remote_host":                       "http.request.remote.host",
	"remote_port":                       "http.request.remote.port",
	"scheme":                            "http.request.scheme",
	"tls_cipher":                        "http.request.tls.cipher_suite",
	"tls_client_certificate_der_base64": "http.request.tls.client.certificate_der_base64",
	"tls_client_certificate_pem":        "http.request.tls.client.certificate_pem",
	"tls_client_fingerprint":            "http.request.tls.client.fingerprint",
	"tls_client_issuer":                 "http.request.tls.client.issuer",
	"tls_client_serial":                 "http.request.tls.client.serial",
	"tls_client_subject":                "http.request.tls.client.subject",
	"tls_version":                       "http.request.tls.version",
	"upstream_hostport":                 "http.reverse_proxy.upstream.hostport",
	"uri":                               "http.request.uri",
	"uuid":                              "http.request.uuid",
}

// shorthandFamilies begin shorthands with a user-defined tail, `{header.X}`.
// Some of them swallow `{name...}`, so none is a good name.
var shorthandFamilies = []string{
	"cookie", "err", "file_match", "header", "labels", "re", "resp", "rp", "vars",
}

// caddyShorthand reports whether Caddy claims the name for itself.
func caddyShorthand(name string) bool {
	_, simple := shorthands[name]
	return simple || slices.Contains(shorthandFamilies, name)
}

// shorthandFor is the shorthand that Caddy replaced by placeholder, "" if none.
func shorthandFor(placeholder string) string {
	for short, long := range shorthands {
		if long == placeholder {
			return short
		}
	}
	return ""
}
