package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// Written is what every answer to a write says of it.
type Written struct {
	Revision    string `header:"Keyreeve-Revision" doc:"Place of the write in the change log; send it as Keyreeve-Min-Revision to a gate that must have it."`
	Propagation string `header:"Keyreeve-Propagation" doc:"How many nodes have the write, or can no longer serve without it, and how many may."`
	Replayed    string `header:"Idempotency-Replayed" doc:"true: a request of this Idempotency-Key was done before, and this is what it was answered."`

	// accepted makes the answer one with 202.
	accepted *Accepted
}

func writtenAs(c lifecycle.Commit) Written {
	w := Written{
		Revision:    fmt.Sprint(int64(c.Revision)),
		Propagation: keystore.PropagationText(c.Confirmed, len(c.Pending)),
	}
	if c.Replayed {
		w.Replayed = "true"
	}
	if c.Unconfirmed {
		w.accepted = &Accepted{Committed: true, Detail: acceptedDetail, Pending: c.Pending}
	}
	return w
}

// etag is the entity tag of a record at a revision (RFC 9110 section 8.8.3). It
// is strong, so that If-Match takes it, and covers what can be written: a count
// of failures or a last use that moves by itself does not change it.
func etag(r keystore.Revision) string { return fmt.Sprintf(`"r%d"`, int64(r)) }

func (c *call) ifMatch() lifecycle.Condition { return ifMatch(c.r) }

// ifMatch is the request's preconditions (RFC 9110 sections 13.1.1 and 13.1.2),
// nil if it has none. For If-Match, weak tags and what is no tag at all match
// nothing; for If-None-Match, a weak tag matches as a strong one does.
func ifMatch(r *http.Request) lifecycle.Condition {
	must, mustNot := entityTags(r, "If-Match"), entityTags(r, "If-None-Match")
	if must == nil && mustNot == nil {
		return nil
	}
	return func(r keystore.Revision) bool {
		there, tag := r != lifecycle.Absent, etag(r)
		is := func(given string) bool { return there && (given == tag || given == "*") }
		isAtAll := func(given string) bool { return is(strings.TrimPrefix(given, "W/")) }
		return (must == nil || slices.ContainsFunc(must, is)) && !slices.ContainsFunc(mustNot, isAtAll)
	}
}

// entityTags lists the tags of a header, nil if there is none of that name.
func entityTags(r *http.Request, name string) []string {
	given := r.Header.Values(name)
	if len(given) == 0 {
		return nil
	}
	tags := strings.Split(strings.Join(given, ","), ",")
	for i := range tags {
		tags[i] = strings.TrimSpace(tags[i])
	}
	return tags
}
