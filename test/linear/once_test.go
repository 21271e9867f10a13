package linear

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// TestAHistoryThatNoOneTimeRequestAllowsIsFound proves that the checker tells what is
// broken.
func TestAHistoryThatNoOneTimeRequestAllowsIsFound(t *testing.T) {
	t.Parallel()
	made := func(id string, from, to int64) OnceCall { return OnceCall{0, Made, id, true, from, to} }
	replayed := func(id string, from, to int64) OnceCall { return OnceCall{0, Replayed, id, false, from, to} }
	of := func(got OnceGot, body int, from, to int64) OnceCall { return OnceCall{body, got, "", false, from, to} }
	for name, c := range map[string]struct {
		calls []OnceCall
		want  porcupine.CheckResult
	}{
		"made, and made before":                     {[]OnceCall{made("a", 0, 10), replayed("a", 20, 30)}, porcupine.Ok},
		"at once, one of them makes it":             {[]OnceCall{made("a", 0, 30), replayed("a", 5, 20), of(UnderWay, 0, 1, 4)}, porcupine.Ok},
		"lost, and there":                           {[]OnceCall{of(Unanswered, 0, 0, 10), replayed("a", 20, 30), replayed("a", 40, 50)}, porcupine.Ok},
		"lost, and not there":                       {[]OnceCall{of(Unanswered, 0, 0, 10), made("a", 20, 30)}, porcupine.Ok},
		"lost, and done late":                       {[]OnceCall{of(Unanswered, 0, 0, 10), of(UnderWay, 0, 20, 30), replayed("a", 40, 50)}, porcupine.Ok},
		"the body that came first":                  {[]OnceCall{made("a", 0, 30), of(OtherBody, 1, 10, 20)}, porcupine.Ok},
		"of two that are lost, the other body":      {[]OnceCall{of(Unanswered, 1, 0, 10), of(Unanswered, 0, 0, 10), replayed("a", 20, 30), of(OtherBody, 1, 40, 50)}, porcupine.Ok},
		"made twice":                                {[]OnceCall{made("a", 0, 10), made("b", 5, 15)}, porcupine.Illegal},
		"made twice, with one in doubt":             {[]OnceCall{of(Unanswered, 0, 0, 10), replayed("a", 20, 30), made("b", 40, 50)}, porcupine.Illegal},
		"made, and another told":                    {[]OnceCall{made("a", 0, 10), replayed("b", 20, 30)}, porcupine.Illegal},
		"two that differ":                           {[]OnceCall{of(Unanswered, 0, 0, 10), replayed("a", 20, 30), replayed("b", 40, 50)}, porcupine.Illegal},
		"made before it was asked for":              {[]OnceCall{replayed("a", 0, 10), made("a", 20, 30)}, porcupine.Illegal},
		"the secret again":                          {[]OnceCall{made("a", 0, 10), {0, Replayed, "a", true, 20, 30}}, porcupine.Illegal},
		"made without a secret":                     {[]OnceCall{{0, Made, "a", false, 0, 10}}, porcupine.Illegal},
		"refused for a body that nobody sent first": {[]OnceCall{made("a", 0, 10), of(OtherBody, 0, 20, 30)}, porcupine.Illegal},
		"refused for nothing":                       {[]OnceCall{of(OtherBody, 1, 0, 10)}, porcupine.Illegal},
		"another body answered as the same":         {[]OnceCall{made("a", 0, 10), {1, Replayed, "a", false, 20, 30}}, porcupine.Illegal},
		"under way, and there is nobody":            {[]OnceCall{made("a", 0, 10), of(UnderWay, 0, 20, 30)}, porcupine.Illegal},
		"forgotten":                                 {[]OnceCall{made("a", 0, 10), replayed("a", 20, 30), of(OtherBody, 1, 40, 50), made("b", 60, 70)}, porcupine.Illegal},
	} {
		require.Equal(t, c.want, OnceHasAnOrder(c.calls, time.Minute), name)
	}
}
