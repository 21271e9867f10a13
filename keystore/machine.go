package keystore

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"sync"
)

// machineID is this machine as far as the system tells it apart from others, "" if it
// does not: a hash, since the name itself is for nobody else (see machine-id(5)).
// Machines that were cloned whole, and containers of one image, may have the same.
var machineID = sync.OnceValue(func() string {
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid"} {
		if id, err := os.ReadFile(path); err == nil && len(strings.TrimSpace(string(id))) > 0 {
			sum := sha256.Sum256([]byte("keyreeve node snapshot\x00" + strings.TrimSpace(string(id))))
			return hex.EncodeToString(sum[:16])
		}
	}
	return ""
})
