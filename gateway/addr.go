package gateway

import "net/netip"

// nat64 is the prefix under which IPv4 clients appear behind a translator (RFC 6052 §2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// canonicalAddr is the one form of an address that leaves this package, so that each client is
// counted, queued and compared as one. Both ::ffff:192.0.2.1 and 64:ff9b::192.0.2.1 are 192.0.2.1.
// A translator must not use that prefix for private addresses (RFC 6052 §3.1), which a rule may
// trust, so those stay as they are. A zone means something on one machine only and is removed.
func canonicalAddr(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !nat64.Contains(addr) {
		return addr
	}
	bytes := addr.As16()
	inner := netip.AddrFrom4([4]byte(bytes[12:]))
	if !inner.IsGlobalUnicast() || inner.IsPrivate() {
		return addr
	}
	return inner
}
