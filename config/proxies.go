package config

import "net/netip"

// unixPeer is the entry of trusted_proxies for the clients of a Unix socket.
const unixPeer = "unix"

// Proxies are the addresses whose X-Forwarded-For is trusted. The zero Prefix stands for the
// clients of a Unix socket.
type Proxies []netip.Prefix

// Trust reports whether peer is one of them. The zero Addr is a client of a Unix socket.
func (p Proxies) Trust(peer netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(peer) || !peer.IsValid() && !prefix.IsValid() {
			return true
		}
	}
	return false
}
