package page

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// failure is the data of an error page.
type failure struct {
	Status       int
	Title        string
	Detail, Code string
	Fields       []lifecycle.FieldError
	RequestID    string
	Retry        bool
}

var failureTitles = map[int]string{
	http.StatusBadRequest:            "That request was not understood",
	http.StatusForbidden:             "Not allowed",
	http.StatusNotFound:              "Not found",
	http.StatusMethodNotAllowed:      "Not possible",
	http.StatusConflict:              "Not possible as things stand",
	http.StatusPreconditionFailed:    "Somebody else changed it",
	http.StatusRequestEntityTooLarge: "Too large",
	http.StatusUnsupportedMediaType:  "That request was not understood",
	http.StatusTooManyRequests:       "Too many tries",
	http.StatusServiceUnavailable:    "The key store cannot be reached",
	http.StatusInsufficientStorage:   "The store has no space left",
}

// refusalTitles are those of refusals that their status says too little of.
var refusalTitles = map[string]string{
	lifecycle.CodeStoreRestored: "The key store was restored",
}

// statuses is where a refusal becomes HTTP.
var statuses = map[lifecycle.ErrorKind]int{
	lifecycle.Invalid:       http.StatusBadRequest,
	lifecycle.Unauthorized:  http.StatusUnauthorized,
	lifecycle.Forbidden:     http.StatusForbidden,
	lifecycle.NotFound:      http.StatusNotFound,
	lifecycle.Conflict:      http.StatusConflict,
	lifecycle.Precondition:  http.StatusPreconditionFailed,
	lifecycle.Unprocessable: http.StatusUnprocessableEntity,
	lifecycle.Unavailable:   http.StatusServiceUnavailable,
}

// refusedAs reports a refusal of one of these kinds.
func refusedAs(err error, kinds ...lifecycle.ErrorKind) bool {
	var refused *lifecycle.Error
	return errors.As(err, &refused) && slices.Contains(kinds, refused.Kind)
}

// unseen reports a refusal of what is not there or not for the actor to see.
func unseen(err error) bool { return refusedAs(err, lifecycle.NotFound, lifecycle.Forbidden) }

// unlessHidden is err, but nil where it says that the actor may not know.
func unlessHidden(err error) error {
	if unseen(err) {
		return nil
	}
	return err
}

// codeOf is that of a refusal, "" for another error.
func codeOf(err error) string {
	var refused *lifecycle.Error
	if !errors.As(err, &refused) {
		return ""
	}
	return refused.Code
}

// fail answers with what a handler returned. What is no refusal is a store that
// could not be asked; its text stays inside.
func (v *visit) fail(err error) {
	var unread *formError
	if errors.As(err, &unread) {
		v.showError(unread.status, unread.code, unread.detail)
		return
	}
	var refused *lifecycle.Error
	if errors.As(err, &refused) {
		if refused.Kind == lifecycle.Unauthorized {
			v.page.forget(v.w, v.r)
			v.askToSignIn(whyOver)
			return
		}
		status := statuses[refused.Kind]
		if status != 0 {
			v.showFailure(failure{Status: status, Title: refusalTitles[refused.Code], Detail: sentence(refused.Detail), Code: refused.Code, Fields: refused.Fields})
			return
		}
	}
	if !errors.Is(err, context.Canceled) && v.page.cfg.Report != nil {
		v.page.cfg.Report(v.r, err)
	}
	if errors.Is(err, keystore.ErrFull) {
		v.showError(http.StatusInsufficientStorage, "store_full", "Nothing was written.")
		return
	}
	if errors.Is(err, keystore.ErrInDoubt) {
		v.showFailure(failure{Status: http.StatusServiceUnavailable, Code: "store_in_doubt", Title: "It may be done or not",
			Detail: "The key store was lost while it stored this. Look whether it is there before you do it again."})
		return
	}
	v.w.Header().Set("Retry-After", "1")
	v.showFailure(failure{Status: http.StatusServiceUnavailable, Code: "store_unavailable", Retry: true,
		Detail: "Nothing was written. Calls through the gates go on with what they know."})
}

func (v *visit) showError(status int, code, detail string) {
	v.showFailure(failure{Status: status, Code: code, Detail: detail})
}

// showProblem answers with why somebody was not let in.
func (v *visit) showProblem(p *api.AuthProblem) {
	if p.RetryAfter > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	v.showFailure(failure{Status: p.Status, Code: p.Code, Detail: p.Detail, Retry: p.Status == http.StatusServiceUnavailable})
}

// showFailure answers with an error page; where htmx asked for a part, with a
// notice, so that what stands in the page stays.
func (v *visit) showFailure(f failure) {
	f.Title, f.RequestID = cmp.Or(f.Title, failureTitles[f.Status], http.StatusText(f.Status)), v.requestID()
	if v.partial() {
		v.w.Header().Set("HX-Reswap", "none")
		text := f.Title + ". " + f.Detail
		_ = v.render(f.Status, "parts", "notice", document{Notice: &notice{Text: text, Bad: true}, Swap: true})
		return
	}
	s := view{Status: f.Status, Page: "failure", Title: f.Title, Data: f}
	if v.show(s) == nil {
		return
	}
	v.actor = lifecycle.Actor{} // the store is away: without who is there
	if err := v.show(s); err != nil {
		http.Error(v.w, f.Title+". "+f.Detail, f.Status)
	}
}

// stopPolling is a status of htmx's own: what asked again and again no longer does.
const stopPolling = 286

// askToSignIn sends whoever is not, or no longer, signed in to the sign-in page,
// and back afterwards.
func (v *visit) askToSignIn(why string) {
	to := signInURL(v.here(), why)
	if !v.route.passive {
		_ = v.redirect(to) // never fails
		return
	}
	// Nobody asked for anything: what stands in the page may be needed still.
	v.w.Header().Set("HX-Reswap", "none")
	_ = v.render(stopPolling, "parts", "ended", document{Here: to, Swap: true})
}

// sentence is a detail as people write one.
func sentence(s string) string {
	if s == "" {
		return s
	}
	if c := s[0]; c >= 'a' && c <= 'z' {
		s = string(c-'a'+'A') + s[1:]
	}
	if last := s[len(s)-1]; last != '.' && last != '?' && last != '!' {
		s += "."
	}
	return s
}

// sentenceOf tells what was done to a record: sentenceOf("source", "idp", "saved.").
func sentenceOf(what, name, did string) string {
	return strings.ToUpper(what[:1]) + what[1:] + " “" + name + "” " + did
}

// seconds is a duration in whole ones, at least one.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
