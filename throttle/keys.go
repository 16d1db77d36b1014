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
	pair, service string
	places        []placeKey // none = the address is unknown
	mark          mark
}

// placeKey is a place that the client is in, and how much is too much from there.
type placeKey struct {
	key   string
	limit limit
}

// mark stands for a password of a pair: 128 bits, since a password that is taken for another would be refused though it is right.
type mark [16]byte

func (t *Throttle) keysOf(user, password, remote string) keys {
	place := placeOf(remote)
	// A password is remembered under the name as it was sent: what was refused to "Alice" may be right for "alice".
	k := keys{pair: t.keyed("pair", spelling(user), place), service: t.keyed("service")}
	if place != "" {
		k.places = append(k.places, placeKey{t.keyed("address", place), addressLimit})
	}
	if network := networkOf(remote); network != "" {
		k.places = append(k.places, placeKey{t.keyed("network", network), networkLimit})
	}
	copy(k.mark[:], t.keyed("mark", t.Epoch, user, place, password))
	return k
}

// spelling is the same for whatever a directory might take for one name, so that no spelling has tries of its own: case, spaces, a domain before
// or behind the name. What LDAP overlooks beyond that (RFC 4518: wide letters, invisible ones, ligatures …) takes tables to undo, so all names with
// other than ASCII letters are one. Two people who share their tries by this share them at one address only.
func spelling(user string) string {
	name := user[strings.LastIndexByte(user, '\\')+1:]
	if bare, _, _ := strings.Cut(name, "@"); bare != "" {
		name = bare
	}
	for i := range len(name) {
		if name[i] >= 0x80 {
			return "\x80"
		}
	}
	return strings.ToLower(strings.Join(strings.Fields(name), " "))
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
	addr, ok := parse(remote)
	switch {
	case !ok:
		return remote // whatever the web server calls it
	case addr.Is4():
		return addr.String()
	}
	prefix, _ := addr.Prefix(64) // 64 bits are never too many for IPv6
	return prefix.String()
}

// networkOf is what one customer may have; "" for IPv4, where it is a single address.
func networkOf(remote string) string {
	addr, ok := parse(remote)
	if !ok || addr.Is4() {
		return ""
	}
	prefix, _ := addr.Prefix(48)
	return prefix.String()
}

func parse(remote string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		return addr, false
	}
	addr = addr.Unmap().WithZone("")
	if translated.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr, true
}

// translated is where NAT64 puts the clients that have IPv4 (RFC 6052 §2.1): all of them in one /64.
var translated = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x00, 0x64, 0xff, 0x9b}), 96)
