package sqlstore

import (
	"context"
)

// Conn is one connection, used by one goroutine at a time. Statements are in the
// words of the Dialect; what they bind stands in them as ? or ?1. Errors are the
// driver's.
type Conn interface {
	// Exec runs a statement whose text is a constant, and counts the rows it changed.
	Exec(ctx context.Context, text string, args ...any) (int64, error)
	// ExecAll runs statements in order, in as few round trips as can be.
	ExecAll(ctx context.Context, statements []Statement) error
	// Query reads rows by a text that is a constant, so that what is prepared for it
	// may be kept.
	Query(ctx context.Context, text string, args ...any) (Rows, error)
	// QueryOnce is Query by a text that varies.
	QueryOnce(ctx context.Context, text string, args ...any) (Rows, error)
	// Discard gives the connection up: it might still be in a transaction.
	Discard()

	// Keeps is what this package keeps with the connection; a Scratch has it.
	Keeps() *Scratch
}

// Rows are what a query found, as sql.Rows.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}

// Statement is a constant text and what it binds.
type Statement struct {
	Text string
	Args []any
}

// Scratch is what this package keeps with a connection. Every Conn embeds one.
type Scratch struct {
	row *lookupRow
}

// Keeps is the scratch itself.
func (s *Scratch) Keeps() *Scratch { return s }

// Access is what a connection is wanted for.
type Access int

const (
	// Lookup is for one short statement.
	Lookup Access = iota
	// Read is for a snapshot.
	Read
	// Write is for the transaction whose turn it is to write.
	Write
	// Beside is for one that writes beside others, see Dialect.BeginFree.
	Beside
	// Counting is Beside for counts, which answers wait for: one at a time, and behind
	// nothing else.
	Counting
	// CountingInTurn is Write for counts that lock: behind nothing else of this process
	// either, where anybody who may write anything could have much of it wait there.
	CountingInTurn
)

// inTurn reports whether the transaction waits for its turn to write.
func (a Access) inTurn() bool { return a == Write || a == CountingInTurn }

// turned is the same use in turn.
func (a Access) turned() Access {
	if a == Counting {
		return CountingInTurn
	}
	return Write
}

// Database is what a kind of database does its own way.
type Database interface {
	Dialect() *Dialect
	// Acquire waits for a connection that nobody uses. Its errors are those of package
	// keystore.
	Acquire(ctx context.Context, access Access) (Conn, error)
	Release(c Conn)
	// Error is a driver's error in the words of package keystore. What it does not
	// know is left to mean that the store could not be asked.
	Error(ctx context.Context, err error) error
}
