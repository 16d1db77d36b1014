package e2e

import (
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

// docs/accounts.md shows the PAM service without its comments.
func TestThePAMServiceIsShownAsItShips(t *testing.T) {
	shown := documentedBlock(t, "file", "/etc/pam.d/dockerauth")
	if got, want := pamLines(shown), pamLines(readFile(t, "../packaging/pam/dockerauth")); got != want {
		t.Errorf("docs/accounts.md shows\n%s\nand this is shipped\n%s", got, want)
	}
}

// Apache reads the documented virtual host with the modules that the page names, and with the file
// that the package installs.
func TestTheDocumentedVirtualHostIsValid(t *testing.T) {
	need(t, "Apache (Debian: apache2)", "apache2", "openssl")
	dir := shortDir(t)
	mustRun(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=registry.example.com",
		"-keyout", filepath.Join(dir, "privkey.pem"), "-out", filepath.Join(dir, "fullchain.pem"))
	host := strings.NewReplacer("/etc/letsencrypt/live/registry.example.com", dir,
		"conf-available/dockerauth.conf", filepath.Join(dir, "dockerauth.conf"))
	config := "ServerRoot " + dir + "\nServerName localhost\nErrorLog error.log\nListen 443\n"
	modules := "mpm_event authz_core socache_shmcb proxy ssl headers proxy_http proxy_fcgi"
	for module := range strings.FieldsSeq(modules) {
		config += "LoadModule " + module + "_module /usr/lib/apache2/modules/mod_" + module + ".so\n"
	}
	writeFile(t, filepath.Join(dir, "dockerauth.conf"), readFile(t, "../packaging/apache/proxy-fcgi.conf"), 0o644)
	config += host.Replace(documentedBlock(t, "file", "/etc/apache2/sites-available/registry.conf"))
	file := writeFile(t, filepath.Join(dir, "apache.conf"), config, 0o644)
	if o := run(t, "", exec.Command("apache2", "-t", "-f", file)); o.status != 0 {
		t.Error(o)
	}
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
