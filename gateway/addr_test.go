package gateway

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestEveryFrontendNamesAClientByOneForm(t *testing.T) {
	tests := []struct{ name, written, want string }{
		{"IPv4", "192.0.2.1", "192.0.2.1"},
		{"IPv6", "2001:db8::1", "2001:db8::1"},
		{"IPv6 in another notation", "2001:0DB8:0:0::0:1", "2001:db8::1"},
		{"IPv4-mapped", "::ffff:192.0.2.1", "192.0.2.1"},
		{"IPv4-mapped in hexadecimal", "::FFFF:c000:201", "192.0.2.1"},
		{"IPv4-compatible is not IPv4-mapped", "::192.0.2.1", "::c000:201"},
		{"behind NAT64", "64:ff9b::c000:201", "192.0.2.1"},
		{"a private address that claims to be behind NAT64", "64:ff9b::10.0.0.1", "64:ff9b::a00:1"},
		{"a loopback address that claims to be behind NAT64", "64:ff9b::127.0.0.1", "64:ff9b::7f00:1"},
		{"a link-local address that claims to be behind NAT64", "64:ff9b::169.254.0.1", "64:ff9b::a9fe:1"},
		{"a shared address that claims to be behind NAT64", "64:ff9b::100.64.0.1", "64:ff9b::6440:1"},
		{"a benchmark's address that claims to be behind NAT64", "64:ff9b::198.18.0.1", "64:ff9b::c612:1"},
		{"a reserved address that claims to be behind NAT64", "64:ff9b::240.0.0.1", "64:ff9b::f000:1"},
		{"no address that claims to be behind NAT64", "64:ff9b::", "64:ff9b::"},
		{"beside the prefix of NAT64", "64:ff9b:1::c000:201", "64:ff9b:1::c000:201"},
		{"a zone", "fe80::1%eth0", "fe80::1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr, _ := remoteAddr(map[string]string{"REMOTE_ADDR": tt.written})
			if addr != tt.want {
				t.Errorf("CGI and FastCGI: %s, want %s", addr, tt.want)
			}
			want := netip.AddrPortFrom(netip.MustParseAddr(tt.want), 99).String()
			peer := netip.AddrPortFrom(netip.MustParseAddr(tt.written), 99).String()
			o := Options{}.withDefaults()
			if got := clientAddr(&http.Request{RemoteAddr: peer}, o); got != want {
				t.Errorf("HTTP: %s, want %s", got, want)
			}
			o.Trusted = func(netip.Addr) bool { return true }
			want = netip.AddrPortFrom(netip.MustParseAddr(tt.want), 0).String()
			if got := clientAddr(forwardedRequest("192.0.2.9:99", tt.written), o); got != want {
				t.Errorf("behind a proxy: %s, want %s", got, want)
			}
		})
	}
}
