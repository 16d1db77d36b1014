package throttle

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// keys name the records of one attempt, and its password. All are keyed hashes: the store knows
// neither users nor addresses, and without the secret no guess can be tried on it.
type keys struct {
	users   []userKey    // the user in the address's network, if it has one, and at the address
	around  []networkKey // the address and its network; none = the address is unknown
	service string
	name    nameTag
	tag     passwordTag
	answer  string // where a success is kept for other processes
	seal    []byte // encrypts that answer
}

// userKey is a record of the user, and how many failures are too many in it.
type userKey struct {
	key   string
	limit limit
}

// networkKey is a record of an address or a network, and how many failures are too many from there.
type networkKey struct {
	key   string
	limit limit
}

// nameTag stands for a name as sent. Names that share a record may be those of different accounts.
type nameTag [8]byte

// passwordTag stands for a password of a user in a network. It has 128 bits: a password taken for
// another would be refused although it is right.
type passwordTag [16]byte

func (t *Throttle) keysOf(user, password, remote string) keys {
	address, network := addressOf(remote), networkOf(remote)
	name := canonicalUser(user)
	k := keys{service: t.keyed("service"), users: []userKey{{t.keyed("user", name, address), userAddrLimit}}}
	if address != "" {
		k.around = append(k.around, networkKey{t.keyed("address", address), addressLimit})
	}
	within := address
	if network != "" {
		within = network
		if name == nonASCII { // a network is too large for all of them to share their tries
			name = strings.ToLower(user)
		}
		k.users = slices.Insert(k.users, 0, userKey{t.keyed("user in network", name, network), userNetworkLimit})
		k.around = append(k.around, networkKey{t.keyed("network", network), networkLimit})
	}
	copy(k.name[:], t.keyed("name", user))
	// The name goes in as sent: what failed for "Alice" may be right for "alice".
	copy(k.tag[:], t.keyed("password", t.ConfigVersion, user, within, password))
	k.answer = t.keyed("answer", string(k.tag[:]))
	k.seal = t.mac("seal", user, remote, password)
	return k
}

// canonicalUser is the same for all spellings that a directory might take for one name, so that no
// spelling has tries of its own: case, spaces, a domain before or behind the name. LDAP ignores
// more (RFC 4518: wide letters, invisible ones, ligatures), and undoing that takes tables. So all
// names with non-ASCII letters are one here: they share their tries at one address.
func canonicalUser(user string) string {
	name := user[strings.LastIndexByte(user, '\\')+1:]
	if bare, _, _ := strings.Cut(name, "@"); bare != "" {
		name = bare
	}
	for i := range len(name) {
		if name[i] >= 0x80 {
			return nonASCII
		}
	}
	return strings.ToLower(strings.Join(strings.Fields(name), " "))
}

const nonASCII = "\x80"

// keyed is 16 bytes that stand for the words.
func (t *Throttle) keyed(words ...string) string { return string(t.mac(words...)[:16]) }

// mac is unambiguous whatever the words hold: each goes in behind its length.
func (t *Throttle) mac(words ...string) []byte {
	h := hmac.New(sha256.New, t.Secret)
	for _, w := range words {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(w)))
		h.Write(length[:])
		h.Write([]byte(w))
	}
	return h.Sum(nil)
}

// addressOf is what counts as one address: in IPv6 a /64, since every client has at least that
// many.
func addressOf(remote string) string {
	addr, ok := parse(remote)
	switch {
	case !ok:
		return remote // as the web server names it
	case addr.Is4():
		return addr.String()
	}
	prefix, _ := addr.Prefix(64) // 64 bits are never too many for IPv6
	return prefix.String()
}

// networkOf is the /48 that one customer may have; "" for IPv4, where that is a single address.
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
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr, true
}

// nat64 holds clients with IPv4 behind a translator (RFC 6052 §2.1), all of them in one /64.
var nat64 = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x00, 0x64, 0xff, 0x9b}), 96)
