package gateway

import (
	"net/http"
	"strings"
	"sync"
)

// warnings are those that a front end says once: clients can cause them, and must not fill the log.
type warnings struct{ untrusted, entry, noAddress sync.Once }

func (o Options) warnUntrusted(peer string) {
	o.once.untrusted.Do(func() {
		o.Log.Warn("X-Forwarded-For came from a peer that is not trusted; "+
			"if it is a proxy, all its clients count as one address: list it in trusted_proxies",
			"peer", peerName(peer))
	})
}

func (o Options) warnEntry(peer string) {
	o.once.entry.Do(func() {
		o.Log.Warn("X-Forwarded-For of a trusted proxy does not end in an address; "+
			"its clients count as one address: let it append the address of its client",
			"peer", peerName(peer))
	})
}

func peerName(remote string) string {
	if remote == ":0" {
		return "unix socket"
	}
	return remote
}

// warnNoAddress warns of a login whose client has no address. Health checks need none.
func (o Options) warnNoAddress(r *http.Request, fix string) {
	if r.Header.Get("Authorization") == "" && r.Method != http.MethodPost {
		return
	}
	o.once.noAddress.Do(func() {
		o.Log.Warn("logins arrive without the address of their client; "+
			"a user who is locked after wrong passwords is locked for all of them", "fix", fix)
	})
}

// unixFix is for the clients of a Unix socket of the HTTP front end.
const unixFix = "let the proxy send X-Forwarded-For, and list unix in trusted_proxies"

const removeDirective = "remove the directive that changes REMOTE_ADDR"

// addressFixes say what makes a web server send REMOTE_ADDR, and the address of a client that it
// knows from a proxy only. None lets a client choose its address. The first one is for a server
// without a name: nginx names itself only where fastcgi_params is included.
var addressFixes = []struct{ software, missing, behindProxy string }{
	{"nginx", "fastcgi_param REMOTE_ADDR $remote_addr;", "set_real_ip_from unix:; real_ip_header X-Forwarded-For;"},
	{"Apache", removeDirective, removeDirective},
	{"lighttpd", removeDirective, removeDirective},
	{"Caddy", "env REMOTE_ADDR {remote_host}", "env REMOTE_ADDR {client_ip}"},
	{"HAProxy", "set-param REMOTE_ADDR %[src]", "accept-proxy on the bind line"},
}

// addressFix names the directive of the web server that sent vars.
func addressFix(vars map[string]string) string {
	fix := addressFixes[0]
	for _, f := range addressFixes {
		if strings.HasPrefix(vars["SERVER_SOFTWARE"], f.software) {
			fix = f
		}
	}
	if vars["REMOTE_ADDR"] != "" {
		return fix.software + ": " + fix.behindProxy
	}
	return fix.software + ": " + fix.missing
}
