package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is a fenced block of a page under a comment that says what the tests do with it: "run" it
// in a folder (name is a label), write it to a "file" (name is a path), or type it in a "machine"
// of its own.
type block struct{ kind, name, text string }

var blockPattern = regexp.MustCompile("(?ms)^<!-- (run|file|machine): (\\S+) -->\n```\\w*\n(.*?)^```$")

func blocksOf(t *testing.T, page string) (blocks []block) {
	t.Helper()
	for _, m := range blockPattern.FindAllStringSubmatch(readFile(t, page), -1) {
		blocks = append(blocks, block{m[1], m[2], m[3]})
	}
	return blocks
}

// setUpBlocks are those of the README and of the pages about setting up.
func setUpBlocks(t *testing.T) (blocks []block) {
	t.Helper()
	for _, page := range []string{"../README.md", "../docs/install.md", "../docs/registry.md", "../docs/accounts.md"} {
		blocks = append(blocks, blocksOf(t, page)...)
	}
	if len(blocks) != 7 {
		t.Fatalf("the pages have %d blocks for the tests, want 7: was one renamed?", len(blocks))
	}
	return blocks
}

// blockOf is the text of a block of another page.
func blockOf(t *testing.T, page, kind, name string) string {
	t.Helper()
	for _, b := range blocksOf(t, page) {
		if b.kind == kind && b.name == name {
			return b.text
		}
	}
	t.Fatalf("%s has no block %s: %s", page, kind, name)
	return ""
}

// documentedBlock is the text of one of them.
func documentedBlock(t *testing.T, kind, name string) string {
	t.Helper()
	for _, b := range setUpBlocks(t) {
		if b.kind == kind && b.name == name {
			return b.text
		}
	}
	t.Fatalf("no page has a block %s: %s", kind, name)
	return ""
}

// documentedCommands are the lines of a block that is typed.
func documentedCommands(t *testing.T, kind, name string) []string {
	t.Helper()
	return strings.Split(strings.TrimSpace(documentedBlock(t, kind, name)), "\n")
}

// What the pages say to type and to write, done in a folder instead of /etc and /usr, makes a
// service whose tokens both registries take.
func TestTheDocumentedSetUpWorksAsWritten(t *testing.T) {
	t.Parallel()
	needRoot(t, "the documented set-up (install -o)")
	s := newSite(t, siteOptions{})
	root := shortDir(t)
	moved := strings.NewReplacer(
		"/etc/", root+"/etc/",
		"/usr/lib/cgi-bin/", root+"/cgi-bin/",
		"/var/lib/", root+"/var/lib/",
		"install -o www-data -g shadow -m 2510 dockerauth", "install -o www-data -g shadow -m 2510 "+binary(t),
		"./dockerauth init", binary(t)+" init --dir "+root+"/etc/dockerauth --pam-dir "+root+"/etc/pam.d",
	)
	for _, dir := range []string{"etc/pam.d", "etc/docker/registry", "etc/apache2/sites-available", "cgi-bin",
		"var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range setUpBlocks(t) {
		text := moved.Replace(b.text)
		switch b.kind {
		case "machine":
			continue // TestTheDebianPackageOnDebian12
		case "file":
			writeFile(t, moved.Replace(b.name), text, 0o644)
			continue
		}
		cmd := exec.Command("sh", "-eu", "-c", text)
		cmd.Dir = ".."
		run(t, "", cmd).must(t)
	}

	// The accounts are the site's, since the documented PAM service asks for real ones; that one is
	// tested with pam_unix.
	configFile := filepath.Join(root, "etc/dockerauth/config.yml")
	config, err := os.ReadFile(configFile)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, configFile, strings.Replace(string(config), root+"/etc/pam.d", s.confdir, 1), 0o644)
	s.configFile = configFile
	_, realm := s.serveHTTP(t)

	registryFile, err := os.ReadFile(filepath.Join(root, "etc/docker/registry/config.yml"))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(root, "etc/dockerauth/cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(root, "etc/docker/registry/cert.pem"), string(bundle), 0o644)
	s.issuer, s.audience = yamlValue(t, registryFile, "issuer"), yamlValue(t, registryFile, "service")
	for _, kind := range []registryKind{registry28, registry31} {
		t.Run(string(kind), func(t *testing.T) {
			r := startRegistry(t, kind, s, realm, trust{bundle: yamlValue(t, registryFile, "rootcertbundle")})
			token := fetchTokens(t, realm, url.Values{"service": {s.audience}}).Token
			if status, challenge := r.ask(t, http.MethodGet, "/v2/", token); status != http.StatusOK {
				t.Errorf("status %d, %s", status, challenge)
			}
		})
	}
}

// yamlValue picks one scalar out of the documented registry section, as it stands there.
func yamlValue(t *testing.T, text []byte, key string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\s+` + key + `: (\S+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in\n%s", key, text)
	}
	return string(m[1])
}

// docs/accounts.md shows the PAM services without their comments.
func TestThePAMServicesAreShownAsTheyShip(t *testing.T) {
	page := readFile(t, "../docs/accounts.md")
	for _, file := range glob(t, "../packaging/pam/*") {
		kind := filepath.Base(file)
		comment := "<!-- pam: " + kind + " -->"
		if kind == "dockerauth" {
			comment = "<!-- file: /etc/pam.d/dockerauth -->"
		}
		_, block, _ := strings.Cut(page, comment+"\n```\n")
		shown, _, found := strings.Cut(block, "```")
		if got, want := pamLines(shown), pamLines(readFile(t, file)); got != want || !found {
			t.Errorf("docs/accounts.md shows for %s\n%s\nand this is shipped\n%s", kind, got, want)
		}
	}
}

// One Apache serves the registry and its logins over HTTPS, with the modules that docs/install.md
// names and the file that the package installs.
func TestTheDocumentedVirtualHostServesRegistryAndLogins(t *testing.T) {
	t.Parallel()
	need(t, "an HTTPS site (Debian: apache2, openssl, skopeo)", "apache2", "openssl", "skopeo")
	s := newTestEnv(t, envOptions{})
	sock := s.serveFastCGI()
	port := s.listen()
	host := fmt.Sprintf("localhost:%d", port)
	r := startRegistry(t, registry28, s.site, "https://"+host+"/docker/v2/token", trust{bundle: s.certFile})

	mustRun(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
		"-addext", "subjectAltName=DNS:localhost", "-keyout", s.path("privkey.pem"), "-out", s.path("fullchain.pem"))
	s.write("dockerauth.conf", s.shipped("packaging/apache/proxy-fcgi.conf", "/run/dockerauth/dockerauth.sock", sock))
	site := strings.NewReplacer("/etc/letsencrypt/live/registry.example.com", s.dir, "*:443", fmt.Sprint("*:", port),
		"ServerName registry.example.com", "ServerName localhost", "127.0.0.1:5000", r.host,
		"conf-available/dockerauth.conf", s.path("dockerauth.conf"))
	s.apacheAt(port, "socache_shmcb proxy ssl headers proxy_http proxy_fcgi",
		site.Replace(documentedBlock(t, "file", "/etc/apache2/sites-available/registry.conf")))

	certs := filepath.Join(shortDir(t), "certs")
	writeFile(t, filepath.Join(certs, "ca.crt"), readFile(t, s.path("fullchain.pem")), 0o644)
	w := newWorkspace(t, host, nil, nil)
	signIn := func(password string) output {
		return w.typed(password, "skopeo", "login", "--cert-dir", certs, "-u", alice, "--password-stdin", host)
	}
	if o := signIn("wrong"); o.status == 0 || !strings.Contains(o.stderr, "invalid username/password") {
		t.Errorf("a wrong password: %v", o)
	}
	signIn(alicePassword).must(t)
	w.must("skopeo", "copy", "-q", "--dest-cert-dir", certs, "oci:"+w.im.layout+":"+imageTag, "docker://"+w.ref())
	back := w.fresh()
	w.must("skopeo", "copy", "-q", "--src-cert-dir", certs, "docker://"+w.ref(), "oci:"+back+":"+imageTag)
	w.same("manifest", layoutDigest(t, back), w.im.digest)

	t.Run("containerd finds it by the documented hosts.toml", func(t *testing.T) {
		ctr.need(t)
		dm := &daemons{containerdSocket: filepath.Join(shortDir(t), "c.sock")}
		dm.startContainerd(t, filepath.Dir(dm.containerdSocket))
		const folder = "/etc/containerd/certs.d"
		hosts := filepath.Join(shortDir(t), "certs.d")
		text := strings.NewReplacer(
			folder+"/registry.example.com/ca.crt",
			filepath.Join(certs, "ca.crt"),
			"registry.example.com",
			host,
		).Replace(blockOf(t, "../docs/clients.md", "file", folder+"/registry.example.com/hosts.toml"))
		writeFile(t, filepath.Join(hosts, host, "hosts.toml"), text, 0o644)
		w := newWorkspace(t, host, nil, dm)
		w.mustCtr("image", "pull", "--hosts-dir", hosts, "--snapshotter", "native", "--user", alice+":"+alicePassword,
			w.ref())
		if listed := w.mustCtr("image", "ls", "name=="+w.ref()); !strings.Contains(listed, layoutDigest(t, back)) {
			t.Errorf("the image came back as\n%s", listed)
		}
	})
	t.Run("the documented file of a pull secret pulls", func(t *testing.T) {
		w := newWorkspace(t, host, nil, nil)
		writeFile(t, w.path("password.txt"), alicePassword+"\n", 0o600)
		command := strings.NewReplacer("registry.example.com", "--cert-dir "+certs+" "+host, "-u ci", "-u "+alice).
			Replace(
				blockOf(t, "../docs/clients.md", "run", "pull-secret"))
		w.must("sh", "-euc", "cd "+w.dir+"; "+command)
		again := w.fresh()
		w.must("skopeo", "copy", "-q", "--src-cert-dir", certs, "--authfile", w.path("pull.json"), "docker://"+w.ref(),
			"oci:"+again+":"+imageTag)
		w.same("manifest", layoutDigest(t, again), layoutDigest(t, back))
	})
}

func pamLines(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) != "" {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(lines, "\n")
}
