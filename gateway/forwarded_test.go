package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// trustTestNet trusts 10.0.0.0/8, 2001:db8::/32 and, if unix is set, peers without an address.
func trustTestNet(unix bool) func(netip.Addr) bool {
	four, six := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")
	return func(a netip.Addr) bool {
		return unix && a == netip.Addr{} || four.Contains(a) || six.Contains(a)
	}
}

func forwardedRequest(peer string, lines ...string) *http.Request {
	return &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": lines}}
}

func trusting(trusted func(netip.Addr) bool) Options { return Options{Trusted: trusted}.withDefaults() }

func TestTheClientBehindTrustedProxies(t *testing.T) {
	long := "192.0.2.1" + strings.Repeat(",10.9.9.9", maxForwarded)
	cases := []struct {
		name  string
		peer  string
		lines []string
		want  string
	}{
		{"without the header it is the peer", "10.0.0.1:99", nil, "10.0.0.1:99"},
		{"an untrusted peer is the client, and its header is ignored", "192.0.2.9:99", []string{"192.0.2.1"},
			"192.0.2.9:99"},
		{"a trusted peer names the client", "10.0.0.1:99", []string{"192.0.2.1"}, "192.0.2.1:0"},
		{"a trusted peer with IPv6 names the client", "[2001:db8::1]:99", []string{"2001:470::1"}, "[2001:470::1]:0"},
		{"a trusted peer with an IPv4-mapped address", "[::ffff:10.0.0.1]:99", []string{"192.0.2.1"}, "192.0.2.1:0"},
		{"a trusted peer with a zone", "[2001:db8::1%eth0]:99", []string{"192.0.2.1"}, "192.0.2.1:0"},
		{"entries before the client's are ignored", "10.0.0.1:99", []string{"198.51.100.7, 192.0.2.1"}, "192.0.2.1:0"},
		{"an entry before the client's that looks like a proxy is ignored", "10.0.0.1:99",
			[]string{"198.51.100.7, 10.0.0.2, 192.0.2.1"}, "192.0.2.1:0"},
		{"proxies in a row are skipped", "10.0.0.1:99", []string{"198.51.100.7,192.0.2.1, 10.0.0.3 ,\t2001:db8::3"},
			"192.0.2.1:0"},
		{"several lines are one list", "10.0.0.1:99", []string{"198.51.100.7", "192.0.2.1", "10.0.0.3"}, "192.0.2.1:0"},
		{"only proxies: the first of them", "10.0.0.1:99", []string{"10.0.0.4, 10.0.0.3"}, "10.0.0.4:0"},
		{"an entry with a port", "10.0.0.1:99", []string{"192.0.2.1:4711"}, "192.0.2.1:0"},
		{"an IPv6 entry with a port", "10.0.0.1:99", []string{"[2001:470::1]:4711"}, "[2001:470::1]:0"},
		{"an IPv6 entry in brackets", "10.0.0.1:99", []string{"[2001:470::1]"}, "[2001:470::1]:0"},
		{"an IPv6 entry in quotes", "10.0.0.1:99", []string{`"2001:470::1"`}, "[2001:470::1]:0"},
		{"an IPv6 entry in quotes and brackets", "10.0.0.1:99", []string{`"[2001:470::1]"`}, "[2001:470::1]:0"},
		{"an IPv6 entry in quotes and brackets with a port", "10.0.0.1:99", []string{`"[2001:470::1]:4711"`},
			"[2001:470::1]:0"},
		{"an IPv4 entry in quotes with a port", "10.0.0.1:99", []string{`"192.0.2.1:4711"`}, "192.0.2.1:0"},
		{"an IPv4-mapped entry in brackets", "10.0.0.1:99", []string{"[::ffff:192.0.2.1]:4711"}, "192.0.2.1:0"},
		{"a zone in brackets is dropped", "10.0.0.1:99", []string{"[fe80::1%eth0]"}, "[fe80::1]:0"},
		{"a proxy in brackets is skipped", "10.0.0.1:99", []string{"192.0.2.1, [2001:db8::3]"}, "192.0.2.1:0"},
		{"brackets around IPv4 end the search", "10.0.0.1:99", []string{"192.0.2.1, [10.0.0.3]"}, "10.0.0.1:99"},
		{"brackets without an end", "10.0.0.1:99", []string{"[2001:470::1"}, "10.0.0.1:99"},
		{"brackets twice", "10.0.0.1:99", []string{"[[2001:470::1]]"}, "10.0.0.1:99"},
		{"empty brackets", "10.0.0.1:99", []string{"[]"}, "10.0.0.1:99"},
		{"a quote without an end", "10.0.0.1:99", []string{`"192.0.2.1`}, "10.0.0.1:99"},
		{"quotes around nothing", "10.0.0.1:99", []string{`""`}, "10.0.0.1:99"},
		{"quotes around two", "10.0.0.1:99", []string{`"198.51.100.7, 192.0.2.1"`}, "10.0.0.1:99"},
		{"a port without digits", "10.0.0.1:99", []string{"[2001:470::1]:"}, "10.0.0.1:99"},
		{"a hidden node ends the search: the proxy after it", "10.0.0.1:99", []string{"192.0.2.1, _hidden, 10.0.0.3"},
			"10.0.0.3:0"},
		{"an element of Forwarded ends the search", "10.0.0.1:99", []string{"for=192.0.2.1"}, "10.0.0.1:99"},
		{"spaces within an entry", "10.0.0.1:99", []string{"192.0.2.1 10.0.0.3"}, "10.0.0.1:99"},
		{"an IPv4-mapped entry", "10.0.0.1:99", []string{"::ffff:192.0.2.1"}, "192.0.2.1:0"},
		{"a proxy with an IPv4-mapped address is skipped", "10.0.0.1:99", []string{"192.0.2.1, ::ffff:10.0.0.3"},
			"192.0.2.1:0"},
		{"a zone is dropped", "10.0.0.1:99", []string{"fe80::1%eth0"}, "[fe80::1]:0"},
		{"a word ends the search: the peer", "10.0.0.1:99", []string{"192.0.2.1, unknown"}, "10.0.0.1:99"},
		{"a word ends the search: the proxy after it", "10.0.0.1:99", []string{"192.0.2.1, unknown, 10.0.0.3"},
			"10.0.0.3:0"},
		{"an empty entry ends the search", "10.0.0.1:99", []string{"192.0.2.1,,10.0.0.3"}, "10.0.0.3:0"},
		{"an empty header", "10.0.0.1:99", []string{""}, "10.0.0.1:99"},
		{"a port that is out of range", "10.0.0.1:99", []string{"192.0.2.1:99999"}, "10.0.0.1:99"},
		{"a name", "10.0.0.1:99", []string{"localhost"}, "10.0.0.1:99"},
		{"more proxies than are read", "10.0.0.1:99", []string{long}, "10.9.9.9:0"},
		{"a peer without an address that is not trusted", "@", []string{"192.0.2.1"}, ":0"},
		{"a peer without an address and without the header", "@", nil, ":0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := clientAddr(forwardedRequest(c.peer, c.lines...), trusting(trustTestNet(false)))
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestAUnixSocketIsTrustedOnlyIfListed(t *testing.T) {
	r := forwardedRequest("@", "192.0.2.1")
	if got := clientAddr(r, trusting(trustTestNet(true))); got != "192.0.2.1:0" {
		t.Errorf("got %s", got)
	}
}

func TestNoPeerIsTrustedByDefault(t *testing.T) {
	r := forwardedRequest("127.0.0.1:99", "192.0.2.1")
	if got := clientAddr(r, trusting(nil)); got != "127.0.0.1:99" {
		t.Errorf("got %s", got)
	}
}

func TestOtherHeaderFieldsAreIgnored(t *testing.T) {
	for _, name := range []string{"Forwarded", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip",
		"X-Cluster-Client-Ip"} {
		r := &http.Request{RemoteAddr: "10.0.0.1:99", Header: http.Header{name: {"192.0.2.1"}}}
		if got := clientAddr(r, trusting(trustTestNet(false))); got != "10.0.0.1:99" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestHTTPHandlerSeesTheClientsAddress(t *testing.T) {
	l, err := Listen("tcp:127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	loopback := func(a netip.Addr) bool { return a.IsLoopback() }
	runWith(t, ServeHTTP, l, echo, Options{Trusted: loopback})
	c := dialTo(t, l)
	r := testRequest{method: "GET", target: "/x",
		header: map[string]string{"X-Forwarded-For": "198.51.100.7, 192.0.2.1"}}.sendHTTPOn(t, c)
	if got := r.echoed(t).Remote; got != "192.0.2.1:0" {
		t.Errorf("remote address %q", got)
	}
}

// FuzzForwardedFor: the client is the peer, or an entry with only trusted entries after it. It is a
// trusted one only if the search could not go on. Entries before an untrusted one change nothing.
func FuzzForwardedFor(f *testing.F) {
	seeds := forwardedSeeds()
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add(s, "10.0.0.1:99")
		f.Add(s, "[2001:db8::1%eth0]:99")
	}
	f.Add(seeds[0], "@")
	f.Add(seeds[0], "192.0.2.9:99")
	trusted := trustTestNet(true)
	f.Fuzz(func(t *testing.T, header, peer string) {
		lines := strings.Split(header, "\n")
		got := clientAddr(forwardedRequest(peer, lines...), trusting(trusted))
		checkClient(t, got, peer, lines)

		client, err := netip.ParseAddrPort(got)
		if err == nil && !trusted(client.Addr()) {
			forged := slices.Insert(lines, 0, "10.6.6.6, 198.51.100.66")
			if again := clientAddr(forwardedRequest(peer, forged...), trusting(trusted)); again != got {
				t.Errorf("%q became %q because of entries before it", got, again)
			}
		}
	})
}

// checkClient searches for got from the start of the list, unlike clientAddr.
func checkClient(t *testing.T, got, peer string, lines []string) {
	t.Helper()
	trusted := trustTestNet(true)
	addr, err := netip.ParseAddrPort(peer)
	if err == nil {
		addr = netip.AddrPortFrom(canonicalAddr(addr.Addr()), addr.Port())
		peer = addr.String()
	} else {
		peer = ":0"
	}
	entries := strings.Split(strings.Join(lines, ","), ",")
	_, lastIsGood := parseForwarded(entries[len(entries)-1])
	if !trusted(addr.Addr()) || !lastIsGood {
		if got != peer {
			t.Errorf("client is %q, want the peer %q", got, peer)
		}
		return
	}
	for i, entry := range entries {
		client, ok := parseForwarded(entry)
		if !ok || netip.AddrPortFrom(client, 0).String() != got || !allTrusted(entries[i+1:]) {
			continue
		}
		goesOn := trusted(client) && i > 0 && len(entries)-i < maxForwarded
		if goesOn {
			_, goesOn = parseForwarded(entries[i-1])
		}
		if !goesOn {
			return
		}
	}
	t.Errorf("client %q is not in %q", got, entries)
}

func allTrusted(entries []string) bool {
	trusted := trustTestNet(true)
	return !slices.ContainsFunc(entries, func(entry string) bool {
		addr, ok := parseForwarded(entry)
		return !ok || !trusted(addr)
	})
}

func forwardedSeeds() []string {
	return []string{
		"192.0.2.1",
		"198.51.100.7, 192.0.2.1, 10.0.0.3",
		"198.51.100.7\n192.0.2.1\n10.0.0.3",
		"10.0.0.4, 10.0.0.3",
		"192.0.2.1, unknown, 10.0.0.3",
		"192.0.2.1,,10.0.0.3",
		"[2001:470::1]:4711, ::ffff:10.0.0.3",
		"fe80::1%eth0",
		"192.0.2.1:4711",
		"192.0.2.1:99999",
		`"[2001:470::1]:4711", [2001:db8::3]`,
		"",
		"192.0.2.1" + strings.Repeat(",10.9.9.9", maxForwarded),
	}
}
