package linear

import (
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

func show(secret, gate int, got SecretGot, from, to int64) SecretCall {
	return SecretCall{Kind: Show, Gate: gate, Secret: secret, Got: got, Began: from, Ended: to, Soon: math.MaxInt64}
}

func write(kind SecretKind, secret, gate int, from, to int64) SecretCall {
	return SecretCall{Kind: kind, Gate: gate, Secret: secret, Got: Done, Began: from, Ended: to, Soon: math.MaxInt64}
}

func pending(c SecretCall, until int64, gates ...int) SecretCall {
	c.Pending, c.Until = gates, until
	return c
}

func soon(c SecretCall, by int64) SecretCall {
	c.Soon = by
	return c
}

func open(c SecretCall) SecretCall {
	c.Got = Open
	return c
}

// TestAHistoryThatNoRevocationAllowsIsFound proves that the checker tells what is broken.
func TestAHistoryThatNoRevocationAllowsIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		calls []SecretCall
		want  porcupine.CheckResult
	}{
		"let in, retired, refused":                                     {[]SecretCall{show(0, 1, Let, 0, 10), write(Retire, 0, 0, 20, 30), show(0, 1, Refused, 40, 50)}, porcupine.Ok},
		"let in while it is being retired":                             {[]SecretCall{write(Retire, 0, 0, 20, 40), show(0, 1, Let, 30, 50), show(0, 0, Let, 25, 35), show(0, 0, Refused, 36, 39)}, porcupine.Ok},
		"refused at one, let in at another, while it is being retired": {[]SecretCall{write(Retire, 0, 0, 20, 60), show(0, 0, Refused, 25, 30), show(0, 1, Let, 35, 40)}, porcupine.Ok},
		"let in where the answer came from":                            {[]SecretCall{write(Retire, 0, 0, 20, 30), show(0, 0, Let, 40, 50)}, porcupine.Illegal},
		"let in elsewhere behind a 200":                                {[]SecretCall{write(Retire, 0, 0, 20, 30), show(0, 2, Let, 40, 50)}, porcupine.Illegal},
		"let in again where it was refused":                            {[]SecretCall{write(Retire, 0, 0, 20, 60), show(0, 1, Refused, 25, 30), show(0, 1, Let, 35, 40)}, porcupine.Illegal},
		"refused for nothing":                                          {[]SecretCall{show(0, 1, Refused, 0, 10)}, porcupine.Illegal},
		"refused before it was retired":                                {[]SecretCall{show(0, 1, Refused, 0, 10), write(Retire, 0, 0, 20, 30)}, porcupine.Illegal},
		"the other secret refused":                                     {[]SecretCall{write(Retire, 0, 0, 20, 30), show(1, 0, Refused, 40, 50)}, porcupine.Illegal},
		"the other secret let in":                                      {[]SecretCall{write(Retire, 0, 0, 20, 30), show(1, 0, Let, 40, 50)}, porcupine.Ok},
		"a named gate lets in until then":                              {[]SecretCall{pending(write(Retire, 0, 0, 20, 30), 100, 1), show(0, 1, Let, 90, 95), show(0, 1, Refused, 110, 120)}, porcupine.Ok},
		"a named gate lets in past it":                                 {[]SecretCall{pending(write(Retire, 0, 0, 20, 30), 100, 1), show(0, 1, Let, 110, 120)}, porcupine.Illegal},
		"a gate that was not named lets in":                            {[]SecretCall{pending(write(Retire, 0, 0, 20, 30), 100, 1), show(0, 2, Let, 40, 50)}, porcupine.Illegal},
		"a gate that names itself lets in":                             {[]SecretCall{pending(write(Retire, 0, 1, 20, 30), 100, 1), show(0, 1, Let, 40, 50)}, porcupine.Illegal},
		"an open one, done or not":                                     {[]SecretCall{open(write(Retire, 0, 0, 20, 30)), show(0, 0, Let, 40, 50), show(0, 1, Refused, 60, 70), show(1, 1, Let, 60, 70)}, porcupine.Ok},
		"an open one, done and undone":                                 {[]SecretCall{open(write(Retire, 0, 0, 20, 30)), show(0, 1, Refused, 40, 50), show(0, 1, Let, 60, 70)}, porcupine.Illegal},
		"a new one at once where it was made":                          {[]SecretCall{write(Add, 2, 0, 20, 30), show(2, 0, Let, 40, 50), show(2, 1, Refused, 40, 50)}, porcupine.Ok},
		"a new one refused where it was made":                          {[]SecretCall{write(Add, 2, 0, 20, 30), show(2, 0, Refused, 40, 50)}, porcupine.Illegal},
		"a new one let in before it was":                               {[]SecretCall{show(2, 0, Let, 0, 10), write(Add, 2, 0, 20, 30)}, porcupine.Illegal},
		"a new one unknown for too long":                               {[]SecretCall{soon(write(Add, 2, 0, 20, 30), 1000), show(2, 1, Refused, 900, 990), show(2, 1, Refused, 1010, 1020)}, porcupine.Illegal},
		"disabled, and enabled again":                                  {[]SecretCall{write(Disable, 0, 0, 20, 30), soon(write(Enable, 0, 1, 40, 50), 1000), show(0, 1, Let, 60, 70), show(0, 2, Refused, 60, 70), show(0, 2, Let, 80, 90)}, porcupine.Ok},
		"disabled, and one is let in":                                  {[]SecretCall{write(Disable, 0, 0, 20, 30), show(1, 2, Let, 40, 50)}, porcupine.Illegal},
		"deleted, and let in elsewhere":                                {[]SecretCall{write(Delete, 0, 0, 20, 30), show(0, 2, Let, 40, 50)}, porcupine.Illegal},
		"a restart forgets what was not confirmed":                     {[]SecretCall{write(Retire, 0, 0, 20, 90), show(0, 1, Refused, 25, 30), {Kind: Restart, Gate: 1, Began: 40, Ended: 50}, show(0, 1, Let, 60, 70)}, porcupine.Ok},
		"a restart forgets what was confirmed":                         {[]SecretCall{write(Retire, 0, 0, 20, 30), show(0, 1, Refused, 32, 35), {Kind: Restart, Gate: 1, Began: 40, Ended: 50}, show(0, 1, Let, 60, 70)}, porcupine.Illegal},
		"a restart forgets beyond the time told":                       {[]SecretCall{pending(write(Retire, 0, 0, 20, 30), 100, 1), {Kind: Restart, Gate: 1, Began: 110, Ended: 120}, show(0, 1, Let, 130, 140)}, porcupine.Illegal},
	} {
		require.Equal(t, c.want, SecretsHaveAnOrder(2, c.calls, time.Minute), name)
	}
}
