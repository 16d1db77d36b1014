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

// block is a fenced block of the README under a comment that says what the tests do with it: "run"
// it in a folder (name is a label), write it to a "file" (name is a path), or type it in a
// "machine" of its own.
type block struct{ kind, name, text string }

var blockPattern = regexp.MustCompile("(?ms)^<!-- (run|file|machine): (\\S+) -->\n```\\w*\n(.*?)^```$")

func readmeBlocks(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	for _, m := range blockPattern.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{m[1], m[2], m[3]})
	}
	if len(blocks) != 5 {
		t.Fatalf("the README has %d blocks for the tests, want 5: was one renamed?", len(blocks))
	}
	return blocks
}

// readmeCommands are the lines of a block that is typed.
func readmeCommands(t *testing.T, kind, name string) []string {
	t.Helper()
	for _, b := range readmeBlocks(t) {
		if b.kind == kind && b.name == name {
			return strings.Split(strings.TrimSpace(b.text), "\n")
		}
	}
	t.Fatalf("the README has no block %s: %s", kind, name)
	return nil
}

// What the README says to type and to write, done in a folder instead of /etc and /usr, makes a
// service whose tokens both registries take.
func TestReadmeSetUpWorksAsWritten(t *testing.T) {
	t.Parallel()
	needRoot(t, "the README's set-up (install -o)")
	s := newSite(t, siteOptions{})
	root := shortDir(t)
	moved := strings.NewReplacer(
		"/etc/", root+"/etc/",
		"/usr/lib/cgi-bin/", root+"/cgi-bin/",
		"/var/lib/", root+"/var/lib/",
		"install -o www-data -g shadow -m 2510 dockerauth", "install -o www-data -g shadow -m 2510 "+binary(t),
		"./dockerauth init", binary(t)+" init --dir "+root+"/etc/dockerauth --pam-dir "+root+"/etc/pam.d",
	)
	for _, dir := range []string{"etc/pam.d", "etc/docker/registry", "cgi-bin", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range readmeBlocks(t) {
		text := moved.Replace(b.text)
		switch b.kind {
		case "machine":
			continue // TestTheDebianPackageFromFirstToLast
		case "file":
			writeFile(t, moved.Replace(b.name), text, 0o644)
			continue
		}
		cmd := exec.Command("sh", "-eu", "-c", text)
		cmd.Dir = ".."
		run(t, "", cmd).must(t)
	}

	// The accounts are the site's, since the README's PAM service asks for real ones; that one is
	// played against pam_unix.
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

// yamlValue picks one scalar out of the README's registry section, as it stands there.
func yamlValue(t *testing.T, text []byte, key string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\s+` + key + `: (\S+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in\n%s", key, text)
	}
	return string(m[1])
}

// The README prints the PAM service without its comments.
func TestReadmeShowsThePAMServiceThatShips(t *testing.T) {
	shipped, err := os.ReadFile("../packaging/pam/dockerauth")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range readmeBlocks(t) {
		if b.name != "/etc/pam.d/dockerauth" {
			continue
		}
		if got, want := pamLines(b.text), pamLines(string(shipped)); got != want {
			t.Errorf("the README shows\n%s\nand this is shipped\n%s", got, want)
		}
		return
	}
	t.Error("the README shows no PAM service")
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

// Every key of config.yml.dist stands in the README's table, and nothing else does.
func TestReadmeNamesEveryKey(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## config.yml\n")
	table, _, _ = strings.Cut(table, "\n## ")
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|").FindAllStringSubmatch(table, -1) {
		named[m[1]] = true
	}
	dist, err := os.ReadFile("../config.yml.dist")
	if err != nil {
		t.Fatal(err)
	}
	section := ""
	for _, m := range regexp.MustCompile(`(?m)^#? ?( *)([a-z_]+) ?:(.*)$`).FindAllStringSubmatch(string(dist), -1) {
		key := m[2]
		switch {
		case m[1] != "" && section == "access":
			continue // the keys of a rule: the README shows them in an example
		case m[1] != "":
			key = section + "." + key
		case key == "access":
			section = key
		case strings.TrimSpace(m[3]) == "":
			section = key
			continue
		}
		if !named[key] {
			t.Errorf("config.yml.dist has %q, the README's table does not", key)
		}
		delete(named, key)
	}
	for key := range named {
		t.Errorf("the README's table has %q, config.yml.dist does not", key)
	}
}
