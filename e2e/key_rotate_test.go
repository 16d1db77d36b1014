package e2e

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The commands in docs/operations.md exchange the key of two machines and their registry, while
// clients log in, refresh and pull all the time. None of them gets anything but what it asked for.
// The registry is restarted where the page says so. A client whose connection ends without an
// answer tries again, as a balancer does.
func TestTheKeyIsRotatedUnderLoad(t *testing.T) {
	for _, c := range []struct {
		name     string
		registry registryKind
		jwks     bool // in place of the bundle
		keyID    string
	}{
		{"2.8, bundle", registry28, false, ""},
		{"3.1, bundle", registry31, false, ""},
		{"3.1, jwks, libtrust ids", registry31, true, "libtrust"},
		{"3.1, jwks, thumbprints", registry31, true, "thumbprint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			needRegistry(t, c.registry)
			need(t, "nginx", "nginx")
			r := newRotation(t, c.registry, c.jwks, c.keyID)
			oldKey := r.signingKey(r.dirs[0])
			oldRefresh, oldToken := r.logIn(r.cluster.machines[0].address)
			r.startClients()
			r.more(30)

			r.page("key-rotate")
			r.copy()
			r.more(30)
			r.tellRegistry()
			r.more(30)

			r.page("key-switch")
			newKey := r.signingKey(r.dirs[0])
			if isEqual(oldKey, newKey) {
				t.Fatal("the key did not change")
			}
			r.awaitKey(0, newKey)
			r.more(30) // one machine signs with either key
			r.copy()
			r.awaitKey(1, newKey)
			for _, m := range r.cluster.machines {
				if status, body := r.refresh(m.address, oldRefresh); status != http.StatusOK {
					t.Errorf("a refresh token of the old key: %d %s", status, body)
				}
			}
			r.more(30)

			r.forget() // the refresh tokens of the old key
			o := r.run("key-retire")
			if o.status != 1 || !strings.Contains(o.stderr, "good until ") {
				t.Errorf("retired before its refresh tokens have ended: %v", o)
			}
			r.page("key-retire", "--force")
			r.copy()
			r.tellRegistry()
			r.more(30)
			r.end()

			for i, m := range r.cluster.machines {
				eventually(t, readyWithin, fmt.Sprintf("machine %d to know the old key no longer", i), func() bool {
					status, _ := r.refresh(m.address, oldRefresh)
					return status == http.StatusUnauthorized
				})
			}
			if status, challenge := r.registry.ask(t, "GET", "/v2/", oldToken); status != http.StatusUnauthorized {
				t.Errorf("the registry accepts a token of the old key: %d %s", status, challenge)
			}
			t.Logf("%d pulls, %d refreshes among them", r.done.Load(), r.refreshed.Load())
		})
	}
}

// Processes of one service notice a step one after another: under mod_fcgid there are several, and
// each CGI program reads the files. A refresh token of one is good at the others.
func TestTheKeyIsRotatedBehindAFrontEnd(t *testing.T) {
	for _, th := range []frontend{httpFrontend, nginxFastCGI, apacheCGI, apacheFcgid} {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			s := openFrontend(t, th, envOptions{})
			r := &rotation{t: t, dirs: []string{s.dir}, stop: make(chan struct{}),
				cluster: &cluster{t: t, client: newClient(s)}}
			rotate := func(step ...string) {
				t.Helper()
				args := append([]string{"key", "rotate", "--config", s.configFile}, step...)
				run(t, "", s.asWeb(exec.Command(s.program, args...))).must(t)
			}
			r.keys = []crypto.PublicKey{publicKey(t, s.keyFile)}
			r.startClients()
			r.more(20)
			rotate("--key-type", "p256")
			r.mu.Lock()
			r.keys = append(r.keys, publicKey(t, glob(t, s.dir+"/privkey-*.pem")[0]))
			r.mu.Unlock()
			r.more(20)
			oldRefresh, _ := r.logIn(s.address)
			rotate("--switch")
			signsNew := func() bool {
				_, token := r.logIn(s.address)
				_, err := verify(token, r.keys[1])
				return err == nil
			}
			eventually(t, readyWithin, "a process to sign with the new key", signsNew)
			r.more(20)
			// A process looks at its files once a second.
			eventually(t, readyWithin, "all processes to sign with the new key", func() bool {
				for range 20 {
					if !signsNew() {
						return false
					}
				}
				return true
			})
			if status, body := r.refresh(s.address, oldRefresh); status != http.StatusOK {
				t.Errorf("a refresh token of the old key: %d %s", status, body)
			}
			r.forget()
			rotate("--retire", "--force")
			r.more(20)
			r.end()
			eventually(t, readyWithin, "the old key to be forgotten", func() bool {
				status, _ := r.refresh(s.address, oldRefresh)
				return status == http.StatusUnauthorized
			})
			events := strings.Count(readFile(t, s.logFile), `"event":"key-rotated"`)
			if events != 3 {
				t.Errorf("the log has %d events of the three steps", events)
			}
		})
	}
}

// A step that is killed at any moment leaves a configuration that can be used, and can be repeated.
func TestAKilledRotationCanBeRepeated(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.yml")
	mustRun(t, binary(t), "init", "--dir", dir, "--pam-dir", filepath.Join(dir, "pam.d"), "--issuer", "auth.example",
		"--audience", audience)
	key := func(step ...string) *exec.Cmd {
		return exec.Command(binary(t), append([]string{"key", "rotate", "--config", config}, step...)...)
	}
	killed, longAgo := 0, time.Now().Add(-time.Hour)
	for _, step := range [][]string{nil, {"--switch"}, {"--retire", "--force"}} {
		before := map[string]string{}
		for _, file := range append(glob(t, dir+"/*.pem"), config) {
			before[file] = readFile(t, file)
		}
		must(t, os.Chtimes(config, longAgo, longAgo))
		took := time.Now()
		run(t, "", key(step...)).must(t)
		whole := time.Since(took)
		after := readFile(t, config)
		for range 40 {
			for _, file := range glob(t, dir+"/*.pem") { // also those that this step makes
				if _, isOld := before[file]; !isOld {
					must(t, os.Remove(file))
				}
			}
			for file, text := range before {
				must(t, os.WriteFile(file, []byte(text), 0o600)) // owner and mode stay
			}
			must(t, os.Chtimes(config, longAgo, longAgo)) // the switch waits after a change
			cmd := key(step...)
			must(t, cmd.Start())
			time.Sleep(rand.N(whole)) // the moment of the kill
			must(t, cmd.Process.Kill())
			if cmd.Wait() != nil {
				killed++
			}
			if o := run(t, "", exec.Command(binary(t), "jwks", "--config", config)); o.status != 0 {
				t.Fatalf("after a kill during %q: %v\n%s", step, o, readFile(t, config))
			}
			run(t, "", key(step...)).must(t)
			for file, text := range before {
				if strings.Contains(file, "privkey") && readFile(t, file) != text {
					t.Fatalf("%s was changed", file)
				}
			}
		}
		if step == nil {
			continue // a killed run may have taken a name
		}
		line := regexp.MustCompile(`since \S+`)
		if got := readFile(t, config); line.ReplaceAllString(got, "") != line.ReplaceAllString(after, "") {
			t.Errorf("after kills during %q\n%s\nwithout\n%s", step, got, after)
		}
	}
	if killed < 30 {
		t.Errorf("%d runs of 120 were killed", killed)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rotation is two machines with files as init makes them, a registry, and clients.
type rotation struct {
	t        *testing.T
	cluster  *cluster
	dirs     []string // /etc/dockerauth of each machine
	registry *registryServer
	trusted  string // /etc/docker/registry
	jwks     bool

	done, refreshed atomic.Int64
	stop            chan struct{}
	clients         sync.WaitGroup
	mu              sync.Mutex
	tokens          []string           // refresh tokens
	keys            []crypto.PublicKey // without a registry: one of them must have signed
	lost            problems
}

func newRotation(t *testing.T, kind registryKind, jwks bool, keyID string) *rotation {
	t.Helper()
	one := newTestEnv(t, envOptions{})
	r := &rotation{t: t, trusted: shortDir(t), jwks: jwks, stop: make(chan struct{}),
		cluster: &cluster{t: t, machines: []*testEnv{one, one.clone()}}}
	for range r.cluster.machines {
		dir := shortDir(t)
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		r.dirs = append(r.dirs, dir)
		install(t, binary(t), filepath.Join(dir, "dockerauth")) // it finds config.yml beside itself
	}
	r.initialize(one, keyID)
	r.copy()
	for i, m := range r.cluster.machines {
		m.listen()
		m.serve("http", "--config", filepath.Join(r.dirs[i], "config.yml"), "--listen", m.address).ready(t, "tcp",
			m.address)
	}
	port := freePort(t)
	r.cluster.nginx(port)
	front := *one
	front.mounts, front.address = []string{""}, fmt.Sprintf("127.0.0.1:%d", port)
	r.cluster.client = newClient(&front)

	key := trust{bundle: filepath.Join(r.trusted, "cert.pem")}
	if jwks {
		key = trust{jwks: filepath.Join(r.trusted, "jwks.json")}
		r.page("key-jwks")
	} else {
		mustRun(t, "cp", filepath.Join(r.dirs[0], "cert.pem"), key.bundle)
	}
	r.registry = startRegistry(t, kind, one.site, "http://"+front.address+"/docker/v2/token", key)
	r.push()
	return r
}

// initialize makes the files of the first machine. The accounts are those of the environment.
func (r *rotation) initialize(s *testEnv, keyID string) {
	r.t.Helper()
	config := writeFile(r.t, filepath.Join(r.dirs[0], "config.yml"), fmt.Sprintf(`# The key.
private_key: privkey.pem # signs
certificate: cert.pem
issuer: %q
audience: %q
trusted_proxies: [127.0.0.1]
state: ""
pam:
  confdir: %q
`, s.issuer, s.audience, s.confdir), 0o644)
	args := []string{"init", "--dir", r.dirs[0]}
	if s.web != nil {
		args = append(args, "--group", s.web.name)
	}
	mustRun(r.t, binary(r.t), args...)
	if r.jwks {
		text := strings.Replace(readFile(r.t, config), "certificate: cert.pem\n", "key_id: "+keyID+"\n", 1)
		writeFile(r.t, config, text, 0o644)
	}
}

// page runs a block of the page on the first machine.
func (r *rotation) page(name string, flags ...string) {
	r.t.Helper()
	if o := r.run(name, flags...); o.status != 0 {
		r.t.Fatalf("%s: %v", name, o)
	}
}

func (r *rotation) run(name string, flags ...string) output {
	r.t.Helper()
	text := blockOf(r.t, "../docs/operations.md", "run", name)
	text = strings.NewReplacer("/etc/dockerauth", r.dirs[0], "/etc/docker/registry", r.trusted).Replace(text)
	text = strings.TrimSuffix(text, "\n") + " " + strings.Join(flags, " ")
	cmd := exec.Command("sh", "-euc", text)
	cmd.Env = append(os.Environ(), "PATH="+r.dirs[0]+":"+os.Getenv("PATH"))
	return run(r.t, "", cmd)
}

// copy brings the files of the first machine to the other as docs/scaling.md says: whole, with
// owner and mode, config.yml last.
func (r *rotation) copy() {
	r.t.Helper()
	files := append(glob(r.t, r.dirs[0]+"/*.pem"), filepath.Join(r.dirs[0], "config.yml"))
	for _, file := range files {
		to := filepath.Join(r.dirs[1], filepath.Base(file))
		mustRun(r.t, "cp", "-a", file, to+".new")
		if err := os.Rename(to+".new", to); err != nil {
			r.t.Fatal(err)
		}
	}
}

// tellRegistry puts what the page says in the registry's place, and restarts it.
func (r *rotation) tellRegistry() {
	r.t.Helper()
	if r.jwks {
		r.page("key-jwks")
	} else {
		r.page("key-bundle")
	}
	old := r.registry.p
	_ = old.stop(r.t)
	cmd := exec.Command(old.cmd.Path, old.cmd.Args[1:]...)
	cmd.Env = old.cmd.Env
	r.registry.p = start(r.t, old.name, cmd)
	r.registry.p.ready(r.t, "tcp", r.registry.host)
}

// signingKey is the public half of the key that private_key of a machine names.
func (r *rotation) signingKey(dir string) crypto.PublicKey {
	r.t.Helper()
	found := regexp.MustCompile(`(?m)^private_key: "?([^" \n]+)`).FindStringSubmatch(readFile(r.t, dir+"/config.yml"))
	if found == nil {
		r.t.Fatal("config.yml names no key")
	}
	return publicKey(r.t, filepath.Join(dir, found[1]))
}

func publicKey(t testing.TB, path string) crypto.PublicKey {
	t.Helper()
	block, _ := pem.Decode([]byte(readFile(t, path)))
	if block == nil {
		t.Fatalf("%s has no PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(crypto.Signer).Public()
}

func isEqual(a, b crypto.PublicKey) bool {
	return a.(interface{ Equal(crypto.PublicKey) bool }).Equal(b)
}

// awaitKey waits until a machine signs with a key.
func (r *rotation) awaitKey(machine int, key crypto.PublicKey) {
	r.t.Helper()
	eventually(r.t, readyWithin, fmt.Sprintf("machine %d to sign with the new key", machine), func() bool {
		_, token := r.logIn(r.cluster.machines[machine].address)
		_, err := verify(token, key)
		return err == nil
	})
}

const (
	pulledScope = "&scope=repository:team/app:pull,push"
	pulledLayer = "layer"
)

var withPassword = asAlice(serviceIs + pulledScope + "&offline_token=true")

// logIn gets tokens with the password.
func (r *rotation) logIn(address string) (refresh, token string) {
	r.t.Helper()
	got, err := r.fetch(address, withPassword)
	if err != nil || got.RefreshToken == nil {
		r.t.Fatalf("log in: %v", err)
	}
	return *got.RefreshToken, got.Token
}

func (r *rotation) fetch(address string, request func(*client) string) (got tokenAnswer, err error) {
	c := *r.cluster.client // its secrets are not safe for concurrent use
	c.secrets = map[string]bool{}
	answer, body, err := exchange("", address, request(&c))
	if err != nil {
		return got, err
	}
	if answer.StatusCode != http.StatusOK {
		return got, fmt.Errorf("token request: status %d: %s", answer.StatusCode, body)
	}
	return got, json.Unmarshal(body, &got)
}

func refreshWith(token string) func(*client) string {
	return post("grant_type=refresh_token&refresh_token=" + token + "&" + serviceIs + pulledScope)
}

// refresh returns the status of a request with a refresh token.
func (r *rotation) refresh(address, token string) (status int, body []byte) {
	r.t.Helper()
	answer, body, err := exchange("", address, refreshWith(token)(r.cluster.client))
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, body
}

// push puts an image of one layer into the registry.
func (r *rotation) push() {
	r.t.Helper()
	_, token := r.logIn(r.cluster.client.address)
	send := func(method, url, kind string, body []byte, want int) *http.Response {
		q, err := http.NewRequest(method, url, bytes.NewReader(body))
		if err != nil {
			r.t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+token)
		q.Header.Set("Content-Type", kind)
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			r.t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != want {
			r.t.Fatalf("%s %s: status %d", method, url, a.StatusCode)
		}
		return a
	}
	base := "http://" + r.registry.host + "/v2/team/app/"
	describe := func(kind string, blob []byte) string {
		return fmt.Sprintf(`{"mediaType":%q,"size":%d,"digest":"sha256:%x"}`, kind, len(blob), sha256.Sum256(blob))
	}
	image := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	layer := []byte(pulledLayer)
	for _, blob := range [][]byte{image, layer} {
		at, err := url.Parse(send("POST", base+"blobs/uploads/", "", nil, http.StatusAccepted).Header.Get("Location"))
		if err != nil {
			r.t.Fatal(err)
		}
		query := at.Query()
		query.Set("digest", fmt.Sprintf("sha256:%x", sha256.Sum256(blob)))
		at.RawQuery = query.Encode()
		send("PUT", at.String(), "application/octet-stream", blob, http.StatusCreated)
	}
	const manifest = "application/vnd.oci.image.manifest.v1+json"
	text := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, manifest,
		describe("application/vnd.oci.image.config.v1+json", image),
		describe("application/vnd.oci.image.layer.v1.tar", layer))
	send("PUT", base+"manifests/v1", manifest, text, http.StatusCreated)
}

// startClients pulls without end. Every other client refreshes, if there is a refresh token.
func (r *rotation) startClients() {
	for i := range 6 {
		r.clients.Go(func() {
			for {
				select {
				case <-r.stop:
					return
				default:
				}
				if err := r.pull(i%2 == 0); err != nil {
					r.lost.add("%v", err)
				}
				r.done.Add(1)
			}
		})
	}
}

// pull fetches a token, and with it manifest and layer, where there is a registry.
func (r *rotation) pull(refreshing bool) error {
	request := withPassword
	if token := r.anyToken(); refreshing && token != "" {
		request = refreshWith(token)
		r.refreshed.Add(1)
	}
	got, err := r.fetch(r.cluster.client.address, request)
	if err != nil {
		return err
	}
	if got.RefreshToken != nil && !refreshing {
		r.mu.Lock()
		r.tokens = append(r.tokens, *got.RefreshToken)
		r.mu.Unlock()
	}
	if r.registry == nil {
		return r.verify(got.Token)
	}
	for _, path := range []string{"manifests/v1", fmt.Sprintf("blobs/sha256:%x", sha256.Sum256([]byte(pulledLayer)))} {
		if err := r.read("/v2/team/app/"+path, got.Token); err != nil {
			return err
		}
	}
	return nil
}

func (r *rotation) verify(token string) (err error) {
	r.mu.Lock()
	keys := r.keys
	r.mu.Unlock()
	for _, key := range keys {
		if _, err = verify(token, key); err == nil {
			return nil
		}
	}
	return err
}

// read asks again while the registry gives no answer.
func (r *rotation) read(path, token string) error {
	return poll(readyWithin, func() (bool, error) {
		q, err := http.NewRequest("GET", "http://"+r.registry.host+path, nil)
		if err != nil {
			return false, err
		}
		q.Header.Set("Authorization", "Bearer "+token)
		q.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			return false, nil
		}
		defer a.Body.Close()
		body, err := io.ReadAll(a.Body)
		if err != nil {
			return false, nil
		}
		if a.StatusCode != http.StatusOK {
			return false, fmt.Errorf("the registry answers GET %s with %d: %s", path, a.StatusCode, body)
		}
		return true, nil
	})
}

// anyToken is one of the refresh tokens, old or new.
func (r *rotation) anyToken() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.tokens) == 0 {
		return ""
	}
	return r.tokens[rand.IntN(len(r.tokens))]
}

// forget drops all refresh tokens, and waits until no client uses one of them.
func (r *rotation) forget() {
	r.t.Helper()
	r.mu.Lock()
	r.tokens = nil
	r.mu.Unlock()
	r.more(30)
}

// more waits until n more pulls are done.
func (r *rotation) more(n int64) {
	r.t.Helper()
	until := r.done.Load() + n
	eventually(r.t, 2*time.Minute, fmt.Sprint(n, " more pulls"), func() bool { return r.done.Load() >= until })
}

func (r *rotation) end() {
	r.t.Helper()
	close(r.stop)
	r.clients.Wait()
	r.lost.report(r.t, fmt.Sprintf("of %d pulls failed", r.done.Load()))
	if r.refreshed.Load() == 0 {
		r.t.Error("no client has refreshed")
	}
}
