package keystore

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASessionsIDNamesWhereItCameFrom(t *testing.T) {
	t.Parallel()
	for _, generation := range []int64{0, 1, 35, 36, math.MaxInt64} {
		g, secret := SessionOrigin(SessionID("ses_abc", generation, "sec_xyz"))
		require.Equal(t, generation, g)
		require.Equal(t, "sec_xyz", secret)
	}
	for _, id := range []string{"", "ses_abc", "ses_abc.0", "ses_abc.-1.sec", "ses_abc..sec", "ses_abc.!.sec", "ses_abc.3w5e11264sgsg0.sec"} {
		g, secret := SessionOrigin(id)
		require.EqualValues(t, -1, g, "%q is of no key's generation", id)
		require.Empty(t, secret)
	}
}
