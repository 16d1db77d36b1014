package throttle

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strings"
)

// keys are the names of the records of one attempt, and the mark of its password. All of them are keyed hashes: the store knows neither
// who nor from where, and without the secret nothing in it can be tried out.
type keys struct {
	pair, address, service string // address "" = unknown
	mark                   mark
}

// mark stands for a password of a pair: 128 bits, since a password that is taken for another would be refused though it is right.
type mark [16]byte

func (t *Throttle) keysOf(user, password, remote string) keys {
	place := placeOf(remote)
	// Directories overlook case, so that each spelling of a name would have tries of its own. A password is remembered under the name as it
	// was sent: what was refused to "Alice" may be right for "alice".
	k := keys{pair: t.keyed("pair", strings.ToLower(user), place), service: t.keyed("service")}
	if place != "" {
		k.address = t.keyed("address", place)
	}
	copy(k.mark[:], t.keyed("mark", t.Epoch, user, place, password))
	return k
}

// keyed is unambiguous whatever the words hold: each goes in behind its length.
func (t *Throttle) keyed(words ...string) string {
	h := hmac.New(sha256.New, t.Secret)
	for _, w := range words {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(w)))
		h.Write(length[:])
		h.Write([]byte(w))
	}
	return string(h.Sum(nil)[:16])
}

// placeOf is what counts as one address: in IPv6 everybody has at least 2^64.
func placeOf(remote string) string {
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		return remote // whatever the web server calls it
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	prefix, _ := addr.Prefix(64) // 64 bits are never too many for IPv6
	return prefix.String()
}
