package gateway

import (
	"net/netip"
	"slices"
)

// nat64 is the prefix under which IPv4 clients appear behind a translator (RFC 6052 §2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// notGlobal are further IPv4 networks that no client on the internet has (RFC 6890 §2.2.2): shared
// addresses of providers and of overlays such as Tailscale, protocol assignments, benchmarks, and
// what is reserved.
var notGlobal = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
}

// canonicalAddr is the one form of an address that leaves this package, so that each client is
// counted, queued and compared as one. Both ::ffff:192.0.2.1 and 64:ff9b::192.0.2.1 are 192.0.2.1.
// A translator must not use that prefix for addresses that are not global (RFC 6052 §3.1), which a
// rule may trust, so those stay as they are. A zone means something on one machine only and is
// removed.
func canonicalAddr(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !nat64.Contains(addr) {
		return addr
	}
	bytes := addr.As16()
	inner := netip.AddrFrom4([4]byte(bytes[12:]))
	if !inner.IsGlobalUnicast() || inner.IsPrivate() ||
		slices.ContainsFunc(notGlobal, func(p netip.Prefix) bool { return p.Contains(inner) }) {
		return addr
	}
	return inner
}
