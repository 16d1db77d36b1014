package gateway

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// maxForwarded is how many entries of X-Forwarded-For are looked at: more
// proxies than anybody has in a row.
const maxForwarded = 16

// clientAddr says whose request r is, as "ip:port". A peer that is not trusted is the
// client itself. One that is trusted has written the last entry of X-Forwarded-For: the address of
// whoever called it. Where that one is trusted too, the entry before it counts, and so on; what stands left
// of the first untrusted address is that client's own invention. An entry that is no address ends the
// walk, and the last good one counts. Forwarded, X-Real-IP and the like are never looked at: a proxy that
// does not know them passes on what the client wrote.
func clientAddr(r *http.Request, trusted func(netip.Addr) bool, log *slog.Logger) string {
	lines := r.Header.Values("X-Forwarded-For")
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	remote := r.RemoteAddr
	if err != nil {
		remote = ":0" // a unix socket's peer has no address
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

// lastUntrusted walks list from its right end. The zero Addr: the last entry is no address.
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

// parseForwarded reads one entry. Some proxies (IIS, Azure) add the port.
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

// plain gives one address one spelling: 192.0.2.1 for ::ffff:192.0.2.1, and no zone,
// which means something on the proxy's machine only.
func normalizeAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// forwardedWarning: one line tells the operator. Anybody can send the header, and
// must not fill the log with it.
var forwardedWarning sync.Once

func warnForwarded(peer string, log *slog.Logger) {
	forwardedWarning.Do(func() {
		if peer == ":0" {
			peer = "unix socket"
		}
		log.Warn("X-Forwarded-For came from a peer that is not trusted; if it is a proxy, all its clients count as one address, "+
			"and share what that address is allowed: list it in trusted_proxies", "peer", peer)
	})
}
