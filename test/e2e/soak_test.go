package e2e

import (
	"os"
	"strconv"
)

// soaking is by how much rounds are multiplied: KEYREEVE_SOAK, or 1.
func soaking() int {
	if n, err := strconv.Atoi(os.Getenv("KEYREEVE_SOAK")); err == nil && n > 1 {
		return n
	}
	return 1
}
