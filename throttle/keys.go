package throttle

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// keys identify the records of one attempt and its password. All are keyed hashes: the store
// reveals neither users nor addresses, and without the secret no guess can be tested on it.
type keys struct {
	users     []recordKey // the user in the network of the address, if any, and at the address
	wider     []recordKey // the address, if it is known, its network, if any, and the whole service
	name      nameTag
	tag       passwordTag
	answerKey string // key of a success, for other processes
	sealKey   []byte // encrypts that answer
}

// recordKey is the key of a record, with its limit.
type recordKey struct {
	key   string
	limit limit
}

// nameTag identifies a name as sent. Names that share a record may belong to different accounts.
type nameTag [8]byte

// passwordTag identifies a password of a user in a network. It has 128 bits, because a collision
// would refuse a right password.
type passwordTag [16]byte

func keysOf(secret []byte, configVersion, user, password, remote string) keys {
	h := hasher(secret)
	address, network := addressOf(remote), networkOf(remote)
	name := canonicalUser(user)
	k := keys{users: []recordKey{{h.hash("user", name, address), userAddrLimit}}}
	if address != "" {
		k.wider = append(k.wider, recordKey{h.hash("address", address), addressLimit})
	}
	within := address
	if network != "" {
		within = network
		if name == nonASCII { // a network is too large for all of them to share one limit
			name = foldName(user)
		}
		k.users = slices.Insert(k.users, 0, recordKey{h.hash("user in network", name, network), userNetworkLimit})
		k.wider = append(k.wider, recordKey{h.hash("network", network), networkLimit})
	}
	k.wider = append(k.wider, recordKey{h.hash("service"), noLimit})
	copy(k.name[:], h.hash("name", user))
	// With the name as sent: a password that failed for "Alice" may be right for "alice".
	copy(k.tag[:], h.hash("password", configVersion, user, within, password))
	k.answerKey = h.hash("answer", string(k.tag[:]))
	k.sealKey = h.mac("seal", user, remote, password)
	return k
}

// canonicalUser is equal for all spellings that a directory may accept for one name, so that they
// share one limit: case, spaces, a domain before or after the name. LDAP ignores more (RFC 4518:
// wide and invisible letters, ligatures), which would need tables. So all names with non-ASCII
// letters share one limit at an address.
func canonicalUser(user string) string {
	name := withoutDomain(user)
	for i := range len(name) {
		if name[i] >= 0x80 {
			return nonASCII
		}
	}
	return strings.ToLower(strings.Join(strings.Fields(name), " "))
}

const nonASCII = "\x80"

func withoutDomain(user string) string {
	name := user[strings.LastIndexByte(user, '\\')+1:]
	if bare, _, _ := strings.Cut(name, "@"); bare != "" {
		name = bare
	}
	return name
}

// foldName is equal for the spellings of a non-ASCII name that cost an attacker nothing: case, a
// domain, accents and invisible characters beside the letters, wide letters.
func foldName(user string) string {
	folded := strings.Map(func(r rune) rune {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point):
			return -1
		case r >= '！' && r <= '～': // the wide form of ASCII
			return r - '！' + '!'
		}
		return r
	}, withoutDomain(user))
	return strings.ToLower(strings.Join(strings.Fields(folded), " "))
}

// hasher makes keyed hashes with a secret.
type hasher []byte

// hash returns 16 bytes that stand for the words.
func (h hasher) hash(words ...string) string { return string(h.mac(words...)[:16]) }

// mac is unambiguous for any words, because the length of each precedes it.
func (h hasher) mac(words ...string) []byte {
	mac := hmac.New(sha256.New, h)
	for _, w := range words {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(w)))
		mac.Write(length[:])
		mac.Write([]byte(w))
	}
	return mac.Sum(nil)
}

// addressOf returns the address or, for IPv6, its /64, which every client has at least.
func addressOf(remote string) string {
	if prefix := ipv6Prefix(remote, 64); prefix != "" {
		return prefix
	}
	return remote
}

// networkOf returns the /48 of an IPv6 address, which one customer may have; "" for IPv4.
func networkOf(remote string) string { return ipv6Prefix(remote, 48) }

func ipv6Prefix(remote string, bits int) string {
	addr, err := netip.ParseAddr(remote)
	if err != nil || addr.Is4() {
		return ""
	}
	prefix, _ := addr.Prefix(bits) // never too many for IPv6
	return prefix.String()
}
