package gateway

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// maxForwarded is how many entries of X-Forwarded-For are read. Chains of proxies are shorter.
const maxForwarded = 16

// clientAddr is the client of r as "ip:port".
//
// An untrusted peer is the client. A trusted peer has written the last entry of X-Forwarded-For:
// the address that called it. If that one is trusted too, the entry before it counts, and so on.
// What stands before the first untrusted address was written by that client and is ignored. An
// entry that is no address ends the search, and the one after it counts.
//
// Forwarded, X-Real-IP and similar fields are ignored: a proxy that does not know them passes on
// what the client wrote.
func clientAddr(r *http.Request, trusted func(netip.Addr) bool, log *slog.Logger) string {
	lines := r.Header.Values("X-Forwarded-For")
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	remote := r.RemoteAddr
	if err != nil {
		remote = ":0" // the peer of a unix socket has no address
	}
	if len(lines) == 0 {
		return remote
	}
	if trusted == nil || !trusted(normalizeAddr(peer.Addr())) {
		warnForwarded(remote, log)
		return remote
	}
	if client := lastUntrusted(strings.Join(lines, ","), trusted); client.IsValid() {
		return netip.AddrPortFrom(client, 0).String()
	}
	return remote
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

// parseForwarded parses one entry. Some proxies (IIS, Azure) add the port.
func parseForwarded(entry string) (netip.Addr, bool) {
	entry = strings.Trim(entry, " \t")
	if addr, err := netip.ParseAddr(entry); err == nil {
		return normalizeAddr(addr), true
	}
	if addr, err := netip.ParseAddrPort(entry); err == nil {
		return normalizeAddr(addr.Addr()), true
	}
	return netip.Addr{}, false
}

// normalizeAddr turns ::ffff:192.0.2.1 into 192.0.2.1 and removes the zone, which means something
// on the proxy's machine only.
func normalizeAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// forwardedWarning limits the warning to one: any client can send the field, and must not fill the
// log with it.
var forwardedWarning sync.Once

func warnForwarded(peer string, log *slog.Logger) {
	forwardedWarning.Do(func() {
		if peer == ":0" {
			peer = "unix socket"
		}
		log.Warn("X-Forwarded-For came from a peer that is not trusted; "+
			"if it is a proxy, all its clients count as one address: list it in trusted_proxies", "peer", peer)
	})
}
