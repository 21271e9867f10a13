// Package pgtest runs real PostgreSQL servers for tests: each in a directory of its
// own, gone with the test or the process that asked for it, however that ends.
package pgtest
