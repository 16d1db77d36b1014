package config

import (
	"net/netip"

	"dockerauth/access"
)

// unixPeer is how trusted_proxies names whoever connects to a Unix socket.
const unixPeer = "unix"

const proxiesHint = `write addresses such as 127.0.0.1, prefixes such as 10.0.0.0/8, or unix for the peers of a Unix socket`

// Proxies are those whose X-Forwarded-For is believed. The zero Prefix stands for the peers of a Unix socket.
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

func (r *reader) proxies(key string, v node) Proxies {
	var proxies Proxies
	for _, text := range r.list(key, v) {
		if text == unixPeer {
			proxies = append(proxies, netip.Prefix{})
			continue
		}
		prefix, err := access.ParsePrefix(text)
		if err != nil {
			r.fail(v.line, key, err.Error(), proxiesHint)
			continue
		}
		if prefix.Bits() == 0 {
			r.fail(v.line, key, quote(text)+" is everybody: any client could choose its address", proxiesHint)
			continue
		}
		proxies = append(proxies, prefix)
	}
	return proxies
}
