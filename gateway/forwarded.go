package gateway

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxForwarded is how many entries of X-Forwarded-For are read. Chains of proxies are shorter.
const maxForwarded = 16

// clientAddr is the client of r as "ip:port".
//
// An untrusted peer is the client. A trusted peer has written the last entry of X-Forwarded-For:
// the address that called it. If that one is trusted too, the entry before it counts, and so on.
// What stands before the first untrusted address was written by that client and is ignored. An
// entry that is no address, such as "unknown" or "_hidden" (RFC 7239 §6), ends the search, and the
// one after it counts, or the peer.
//
// Forwarded, X-Real-IP and similar fields are ignored: a proxy that does not know them passes on
// what the client wrote.
func clientAddr(r *http.Request, o Options) string {
	lines := r.Header.Values("X-Forwarded-For")
	remote := ":0" // the peer of a unix socket has no address
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil {
		peer = netip.AddrPortFrom(canonicalAddr(peer.Addr()), peer.Port())
		remote = peer.String()
	}
	if len(lines) == 0 {
		return remote
	}
	if o.Trusted == nil || !o.Trusted(peer.Addr()) {
		o.warnUntrusted(remote)
		return remote
	}
	client := lastUntrusted(strings.Join(lines, ","), o.Trusted)
	if !client.IsValid() {
		o.warnEntry(remote)
		return remote
	}
	return netip.AddrPortFrom(client, 0).String()
}

// lastUntrusted searches list from its end. It returns the zero Addr if the last entry is no
// address.
func lastUntrusted(list string, trusted func(netip.Addr) bool) netip.Addr {
	var last netip.Addr
	for range maxForwarded {
		comma := strings.LastIndexByte(list, ',')
		addr, ok := parseForwarded(list[comma+1:])
		if !ok {
			return last
		}
		last = addr
		if comma < 0 || !trusted(addr) {
			return last
		}
		list = list[:comma]
	}
	return last
}

// parseForwarded parses one entry. Some proxies add the port (IIS, Azure), brackets around IPv6, or
// quotes around both, as the field Forwarded has them (RFC 7239 §6).
func parseForwarded(entry string) (netip.Addr, bool) {
	entry = strings.Trim(entry, " \t")
	if inner, ok := enclosed(entry, `"`, `"`); ok {
		entry = inner
	}
	if addr, err := netip.ParseAddrPort(entry); err == nil {
		return canonicalAddr(addr.Addr()), true
	}
	inner, hasBrackets := enclosed(entry, "[", "]")
	if hasBrackets {
		entry = inner
	}
	addr, err := netip.ParseAddr(entry)
	if err != nil || hasBrackets && addr.Is4() {
		return netip.Addr{}, false
	}
	return canonicalAddr(addr), true
}

// enclosed returns what is between two marks.
func enclosed(text, first, last string) (inner string, ok bool) {
	inner, hasFirst := strings.CutPrefix(text, first)
	inner, hasLast := strings.CutSuffix(inner, last)
	return inner, hasFirst && hasLast
}
