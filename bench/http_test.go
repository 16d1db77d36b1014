package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// connections of wrk, where it is not their number that is measured.
const connections = 16

// compareRates adds a row for requests a second. r has the rest.
func compareRates(t testing.TB, rounds int, a, b func() float64, r row) {
	t.Helper()
	side := func(measure func() float64, to *[]float64) func(bool) {
		return func(warm bool) {
			if v := measure(); !warm {
				*to = append(*to, v)
			}
		}
	}
	interleave(rounds, side(a, &r.Values), side(b, &r.References))
	r.AUnit = "/s"
	add(t, r)
}

// throughput returns a measurement of requests a second, after one that is looked at.
func throughput(t testing.TB, p *process, r request, connections int) func() float64 {
	t.Helper()
	fetch(t, r)
	return func() float64 {
		defer p.truncateLog()
		return rate(t, r, connections, 1+connections/500)
	}
}

func measureHTTP(t *testing.T) {
	for _, kind := range []struct {
		name        string
		rsa         bool
		goal, bound float64
	}{{"P-256", false, 1.0, 0.35}, {"RSA", true, 0, 0}} {
		if testing.Short() && kind.bound == 0 {
			continue
		}
		i := install(t, options{rsa: kind.rsa})
		service, address := i.serveHTTP()
		reference, referenceAddress := i.serveReference()
		same, other := ask(address, publicScope), ask(address, publicScope)
		other.varied = true
		least := throughput(t, reference, ask(referenceAddress, publicScope), connections)
		compareRates(t, times(8, 3), throughput(t, service, same, connections), least,
			row{Group: "http", Work: "HTTP, anonymous, " + kind.name, A: "dockerauth", B: "least Go program",
				Goal: kind.goal, AtLeast: true, Bound: kind.bound})
		compareRates(t, times(6, 2), throughput(t, service, other, connections), least,
			row{Group: "http", Work: "HTTP, anonymous, " + kind.name + ", each for another repository", A: "dockerauth",
				B: "least Go program", AtLeast: true})
	}
	i := install(t, options{config: "state: state\n"})
	i.makeState()
	service, address := i.serveHTTP()
	login := request{url: ask(address, loginScope).url + "&offline_token=true", login: basic("alice")}
	renew := refresh(address, fetch(t, login).Refresh)
	other := ask(address, publicScope)
	other.varied = true
	renewals := throughput(t, service, renew, connections)
	compareRates(t, times(8, 3), renewals, throughput(t, service, ask(address, publicScope), connections),
		row{Group: "http", Work: "HTTP, refresh, P-256", A: "refresh", B: "anonymous", Goal: 0.8, AtLeast: true})
	compareRates(t, times(6, 3), renewals, throughput(t, service, other, connections),
		row{Group: "http", Work: "HTTP, refresh, P-256, beside signed answers", A: "refresh",
			B: "anonymous, each for another repository", AtLeast: true, Bound: 0.15})
}

func (i installation) makeState() {
	i.t.Helper()
	if err := os.Mkdir(i.path("state"), 0o700); err != nil {
		i.t.Fatal(err)
	}
}

// upstream is a service behind nginx, by a shipped example.
type upstream struct {
	example, placeholder, server string
	keepConn                     string // what the example needs to keep connections to the service
	service                      *process
}

func measureNginx(t *testing.T) {
	i := install(t, options{})
	fastcgi, socket := i.serveFastCGI()
	plain, address := i.serveHTTP()
	reference, referenceAddress := i.serveReference()
	upstreams := []upstream{
		{"fastcgi.conf", "unix:/run/dockerauth/dockerauth.sock", "unix:" + socket, "fastcgi_keep_conn on;", fastcgi},
		{"http.conf", "127.0.0.1:5002", address, "", plain},
		{"http.conf", "127.0.0.1:5002", referenceAddress, "", reference},
	}
	kept, fresh := i.nginx(upstreams, true), i.nginx(upstreams, false)
	for _, way := range []struct {
		name        string
		addresses   []string
		closed      bool
		goal, bound float64
	}{
		{"kept connections", kept, false, 0.95, 0.25},
		{"new connections to the service", fresh, false, 0.8, 0.2},
		{"new connections to nginx and to the service", fresh, true, 0.8, 0},
	} {
		if testing.Short() && way.bound == 0 {
			continue
		}
		sides, rates := make([]func(bool), len(upstreams)), make([][]float64, len(upstreams))
		for n := range upstreams {
			r := ask(way.addresses[n], publicScope)
			r.closed = way.closed
			measure := throughput(t, upstreams[n].service, r, connections)
			sides[n] = func(warm bool) {
				if v := measure(); !warm {
					rates[n] = append(rates[n], v)
				}
			}
		}
		interleave(times(6, 3), sides...)
		r := row{Group: "nginx", Work: "nginx, anonymous, P-256, " + way.name, A: "FastCGI", AUnit: "/s", AtLeast: true,
			Values: rates[0]}
		byHTTP, least := r, r
		byHTTP.B, byHTTP.References, byHTTP.Goal, byHTTP.Bound = "HTTP", rates[1], way.goal, way.bound
		least.B, least.References = "least Go program by HTTP", rates[2]
		add(t, byHTTP)
		add(t, least)
	}
}

// nginx starts one server for each upstream and returns their addresses.
func (i installation) nginx(upstreams []upstream, kept bool) (addresses []string) {
	i.t.Helper()
	var conf strings.Builder
	if os.Geteuid() == 0 {
		conf.WriteString("user root;\n") // the folder is for its owner alone
	}
	fmt.Fprintf(&conf, "daemon off;\nworker_processes auto;\nworker_rlimit_nofile 8192;\npid nginx.pid;\n"+
		"error_log stderr;\nevents { worker_connections 4096; }\n"+
		"http {\naccess_log off;\nkeepalive_requests 1000000;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&conf, "%s_temp_path %s;\n", kind, i.path("tmp-"+kind))
	}
	for n, u := range upstreams {
		example, err := os.ReadFile(filepath.Join("../packaging/nginx", u.example))
		if err != nil {
			i.t.Fatal(err)
		}
		if !strings.Contains(string(example), u.placeholder) {
			i.t.Fatalf("%s does not have %s", u.example, u.placeholder)
		}
		server := u.server
		if kept {
			server = fmt.Sprintf("upstream%d", n)
			fmt.Fprintf(&conf, "upstream %s { server %s; keepalive 64; keepalive_requests 1000000; }\n",
				server, u.server)
		}
		location := strings.ReplaceAll(string(example), u.placeholder, server)
		if kept {
			location = strings.Replace(location, "{\n", "{\n"+u.keepConn+"\n", 1)
		}
		addresses = append(addresses, freePort(i.t))
		fmt.Fprintf(&conf, "server {\nlisten %s;\n%s\n}\n", addresses[n], location)
	}
	file := i.write(fmt.Sprintf("nginx-%v.conf", kept), conf.String()+"}\n")
	start(i.t, exec.Command("nginx", "-p", i.dir, "-c", file, "-e", "stderr"), "tcp", addresses[0])
	return addresses
}
