package config

import (
	"net/netip"
)

// unixPeer is how trusted_proxies names whoever connects to a Unix socket.
const unixPeer = "unix"

// Proxies are those whose X-Forwarded-For is believed. The zero Prefix stands for the peers of a
// Unix socket.
type Proxies []netip.Prefix

// Trust reports whether peer is one of them; the zero Addr is the peer of a Unix socket.
func (p Proxies) Trust(peer netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(peer) || !peer.IsValid() && !prefix.IsValid() {
			return true
		}
	}
	return false
}
