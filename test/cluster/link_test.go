package cluster

import "testing"

// link is a gate's way to the database.
type link struct{ target string }

func newLink(_ testing.TB, target string) *link { return &link{target: target} }

func (l *link) address() string { return l.target }
