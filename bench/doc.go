// Package bench measures the gate in process, beside what it is compared with:
// no gate at all, Caddy's own basic_auth, and a bare reference handler. README.md
// says what each of them does; `make bench` runs them and prints the ratios.
package bench
