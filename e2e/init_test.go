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

// These names need quoting in what init prints.
const (
	initIssuer   = `The "token" service: it's ours`
	initAudience = "Docker registry"
)

// installation is a folder in which init was run, and what it printed.
type installation struct {
	t       *testing.T
	s       *testEnv // accounts, and the web server's folder
	dir     string   // of key, certificate and config.yml
	printed string
	// Replaces printed paths outside dir by folders of the test; the rest stays as printed.
	moved  *strings.Replacer
	bundle string
	socket string
}

// newInstallation runs init in an empty folder. The PAM service is the environment's own, with its
// accounts.
func newInstallation(t *testing.T, keyType string) *installation {
	t.Helper()
	s := newTestEnv(t, envOptions{})
	n := &installation{t: t, s: s, dir: shortDir(t), bundle: filepath.Join(shortDir(t), "docker/registry/cert.pem"),
		socket: s.path("run/dockerauth.sock")}
	n.moved = strings.NewReplacer("/etc/docker/registry/cert.pem", n.bundle, "/run/dockerauth/dockerauth.sock",
		n.socket, "/var/lib/dockerauth", filepath.Join(shortDir(t), "state"))
	if err := os.Chmod(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(n.dir, "pam.d/dockerauth"), defaultPAM(s), 0o644)
	n.init("--key-type", keyType, "--issuer", initIssuer, "--audience", initAudience)
	return n
}

func (n *installation) init(args ...string) {
	n.t.Helper()
	args = append([]string{"init", "--dir", n.dir, "--pam-dir", filepath.Join(n.dir, "pam.d")}, args...)
	o := run(n.t, "", exec.Command(binary(n.t), args...))
	if o.status != 0 {
		n.t.Fatal(o)
	}
	n.printed = o.stdout
}

// pasted is the one printed paragraph that begins with a text.
func (n *installation) pasted(begin string) string {
	n.t.Helper()
	found := ""
	for _, paragraph := range strings.Split(n.printed, "\n\n") {
		if strings.HasPrefix(paragraph, begin) {
			if found != "" {
				n.t.Fatalf("two paragraphs begin with %q:\n%s", begin, n.printed)
			}
			found = paragraph
		}
	}
	if found == "" {
		n.t.Fatalf("no paragraph begins with %q:\n%s", begin, n.printed)
	}
	return n.moved.Replace(strings.TrimRight(found, "\n")) + "\n"
}

// shown is the file below a heading.
func (n *installation) shown(heading string) string {
	n.t.Helper()
	m := regexp.MustCompile(`(?ms)^` + heading + `.*?\n\n(.*?)\n\n(?:[A-Z]{4,}|Whether )`).FindStringSubmatch(n.printed)
	if m == nil {
		n.t.Fatalf("no file below %s:\n%s", heading, n.printed)
	}
	return n.moved.Replace(m[1]) + "\n"
}

// typed runs a paragraph in a shell.
func (n *installation) typed(begin string) {
	n.t.Helper()
	run(n.t, "", exec.Command("sh", "-eu", "-c", n.pasted(begin))).must(n.t)
}

// serve follows the printed steps for a service of its own. It runs as the web server's user, so
// the key gets that user's group.
func (n *installation) serve() {
	n.t.Helper()
	if n.s.web != nil {
		line := n.pasted("The key can be read by the user root and the group root only.")
		_, line, _ = strings.Cut(line, "\n")
		run(n.t, "", exec.Command("sh", "-eu", "-c", strings.Replace(line, "ITS-GROUP", n.s.web.name, 1))).must(n.t)
	}
	n.s.start("dockerauth fastcgi",
		n.s.asWeb(exec.Command("sh", "-c", "exec "+n.pasted(binary(n.t)+" fastcgi")))).ready(n.t, "unix", n.socket)
}

// installProgram puts the program beside the configuration, runs init again, and follows the
// printed steps.
func (n *installation) installProgram() {
	n.t.Helper()
	mustRun(n.t, "install", "-m", "700", binary(n.t), filepath.Join(n.dir, "dockerauth"))
	n.init()
	n.typed("ch") // chown or chmod
}

// initWebServers are the printed configurations.
var initWebServers = []struct {
	name  string
	needs []string
	start func(n *installation)
}{
	{"Apache before the service", apacheProxyNeeds, func(n *installation) {
		n.serve()
		n.s.apache("", n.shown("APACHE"))
	}},
	{"Apache starts the program", apacheNeeds, func(n *installation) {
		n.installProgram()
		n.s.apache("cgid", n.shown("APACHE"))
	}},
	{"nginx before the service", []string{"nginx"}, func(n *installation) {
		n.serve()
		n.s.nginxWith(n.shown("NGINX"))
	}},
}

func TestWhatInitPrintsWorksWhenPasted(t *testing.T) {
	t.Parallel()
	for _, keyType := range []string{"p256", "rsa", "ed25519"} {
		for _, web := range initWebServers {
			t.Run(keyType+", "+web.name, func(t *testing.T) {
				t.Parallel()
				need(t, web.name, web.needs...)
				n := newInstallation(t, keyType)
				web.start(n)
				realm := "http://" + n.s.address + "/docker/v2/token"
				n.init("--realm", realm) // all files stay; only the printed text differs
				n.typed("install -D")
				n.runRegistry(registry31, realm)
				if keyType == "ed25519" {
					n.expectNoStart(registry28)
					return
				}
				n.runRegistry(registry28, realm)
			})
		}
	}
}

func (n *installation) runRegistry(kind registryKind, realm string) {
	n.t.Run(string(kind), func(t *testing.T) {
		r := launchRegistryWith(t, kind, n.pasted("auth:"))
		r.p.ready(t, "tcp", r.host)
		status, challenge := r.ask(t, http.MethodGet, "/v2/", "")
		if status != http.StatusUnauthorized || !strings.Contains(challenge, `realm="`+realm+`"`) ||
			!strings.Contains(challenge, `service="`+initAudience+`"`) {
			t.Fatalf("without a token: status %d, %s", status, challenge)
		}
		query := url.Values{"service": {initAudience}, "scope": {"repository:alice/app:pull"}}
		token := fetchTokens(t, realm, query).Token
		if status, challenge := r.ask(t, http.MethodGet, "/v2/", token); status != http.StatusOK {
			t.Errorf("with a token: status %d, %s", status, challenge)
		}
		if status, challenge := r.ask(t, http.MethodGet, "/v2/alice/app/tags/list",
			token); status != http.StatusNotFound {
			t.Errorf("with a token for a repository that is not there: status %d, %s", status, challenge)
		}
		n.dockerLogin(t, r)
	})
}

// dockerLogin logs in at a registry with the printed section.
func (n *installation) dockerLogin(t *testing.T, r *registryServer) {
	need(t, "docker login (Debian: docker.io)", "docker")
	login := func(password string) output {
		cmd := exec.Command("docker", "login", "--username", alice, "--password-stdin", r.host)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "DOCKER_HOST=unix:///nonexistent"}
		return run(t, password, cmd)
	}
	if o := login("not " + alicePassword); o.status == 0 {
		t.Errorf("docker login with a wrong password: %v", o)
	}
	if o := login(alicePassword); o.status != 0 || !strings.Contains(o.stdout, "Login Succeeded") {
		t.Errorf("docker login: %v", o)
	}
}

// expectNoStart checks that a registry refuses the section, as its comment says.
func (n *installation) expectNoStart(kind registryKind) {
	n.t.Helper()
	if !strings.Contains(n.printed, "THE REGISTRY (3.x only: 2.8 does not start") {
		n.t.Errorf("nothing is said of 2.8:\n%s", n.printed)
	}
	r := launchRegistryWith(n.t, kind, n.pasted("auth:"))
	eventually(n.t, readyWithin, "the registry to give up", func() bool { return !r.p.running() })
	if r.p.err == nil {
		n.t.Error("it ended with status 0, want an error")
	}
}

// As root, init works in /etc: here in a mount namespace with its own /etc, as the package leaves
// it.
func TestInitAsRootWorksInEtc(t *testing.T) {
	t.Parallel()
	needRoot(t, "an /etc of the test's own")
	need(t, "an /etc of the test's own", "unshare", "mount")
	etc := shortDir(t)
	writeFile(t, filepath.Join(etc, "passwd"), "root:x:0:0::/:/bin/sh\n", 0o644)
	writeFile(t, filepath.Join(etc, "group"), "root:x:0:\ndockerauth:x:4711:\n", 0o644)
	writeFile(t, filepath.Join(etc, "nsswitch.conf"), "passwd: files\ngroup: files\n", 0o644)
	if err := os.Chmod(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	o := run(t, "", exec.Command("unshare", "--mount", "sh", "-euc",
		`mount --bind "$1" /etc; "$2" init --issuer auth.example.com --audience registry.example.com
		stat -c '%n %a %u:%g' /etc/dockerauth /etc/dockerauth/* /etc/pam.d /etc/pam.d/*`,
		"sh", etc, binary(t)))
	if o.status != 0 {
		t.Fatal(o)
	}
	_, files, _ := strings.Cut(o.stdout,
		"\nWhether all is well: dockerauth check --config /etc/dockerauth/config.yml --url "+
			"https://auth.example.com/docker/v2/token\n")
	const want = `/etc/dockerauth 755 0:0
/etc/dockerauth/cert.pem 644 0:0
/etc/dockerauth/config.yml 644 0:0
/etc/dockerauth/privkey.pem 640 0:4711
/etc/pam.d 755 0:0
/etc/pam.d/dockerauth 644 0:0
`
	if files != want {
		t.Errorf("got\n%swant\n%s", files, want)
	}
	if strings.Contains(o.stdout, "ITS-GROUP") || !strings.Contains(o.stdout, "group dockerauth\n") {
		t.Error(o.stdout)
	}
	if config := readFile(t, filepath.Join(etc, "dockerauth/config.yml")); strings.Contains(config, "confdir") {
		t.Error(config)
	}
	if got, shipped := readFile(t, filepath.Join(etc, "pam.d/dockerauth")),
		readFile(t, "../packaging/pam/dockerauth"); got != shipped {
		t.Errorf("PAM service:\n%s", got)
	}
}

// The owner of the folder, or of one above it, could replace the key or redirect root's writes.
func TestInitRefusesAFolderOfAnotherUser(t *testing.T) {
	t.Parallel()
	needRoot(t, "a folder of another user")
	const nobody = 65534
	for name, inside := range map[string]string{"itself": "", "above": "a/b"} {
		dir := shortDir(t)
		if err := os.Chown(dir, nobody, -1); err != nil {
			t.Fatal(err)
		}
		o := run(t, "", exec.Command(binary(t), "init", "--dir", filepath.Join(dir, inside), "--pam-dir",
			filepath.Join(dir, "pam.d"), "--issuer", "auth.example.com", "--audience", "registry.example.com"))
		if o.status != 1 || o.stdout != "" || !strings.Contains(o.stderr, "belongs to another user") {
			t.Errorf("%s: %v", name, o)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: left behind: %v %v", name, left, err)
		}
	}
}
