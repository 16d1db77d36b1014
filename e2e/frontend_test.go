package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// frontend is one way to run dockerauth: one of its front ends, with or without a web server.
type frontend struct {
	name  string
	needs []string // programs and files that it needs
	open  func(t testing.TB, s *testEnv)

	// ownAnswers are, by case name, what the web server answers without dockerauth.
	ownAnswers map[string]want
}

// frontends are all of them. The same cases run on each.
var frontends = []frontend{
	inProcess, bareCGI, httpFrontend,
	apacheCGI, apacheHtaccess, apacheFcgid, apacheProxyFcgi,
	nginxFcgiwrap, nginxSpawnFcgi, nginxFastCGI, nginxSystemd, nginxHTTP,
	lighttpdFastCGI, caddyFastCGI, haproxyFastCGI,
}

// testEnv is a site whose files belong to the user that web servers and services run as.
type testEnv struct {
	*site
	t       testing.TB
	program string     // dockerauth beside its config.yml
	logFile string     // the service's log, one JSON object a line
	web     *webUser   // nil when the test is not root: everything runs as the test's user
	procs   []*process // all processes, for their output
	address string     // host:port that requests go to; set by open
	admin   string     // of the service's --admin, where it has one
	// URL prefixes of the endpoint, the last of which is wholly dockerauth's; set by open
	mounts     []string
	homes      []string        // URLs of the text page; set by open
	logs       []string        // files besides logFile that must hold no secret
	service    *process        // the long-lived dockerauth, where there is one
	edit       [][2]string     // further replacements in the shipped example, for tests that change it
	ownAnswers map[string]want // of the front end
	groups     []uint32        // of services, in addition to the web user's own
	stderr     *os.File        // of services; nil = a file of their own
	processes  int             // that answer requests, where the web server has a bound; 0 = none
	proxied    bool            // the web server takes the client's address from a proxy's X-Forwarded-For
}

// webUser is the user of Debian's web servers.
type webUser struct {
	name     string
	uid, gid int
}

// The accounts of a test environment besides alice. Each is in the account database with its own
// password and has its own result from PAM.
const (
	bob     = "bob"
	carol   = "carol"   // may log in, but the account has expired
	dora    = "dora"    // the directory for this account cannot be reached
	mallory = "mallory" // blacklisted in config.yml
)

var defaultAccounts = map[string]string{
	bob:     "bobs own secret: ünïcödé & 100%",
	carol:   "carols-password-is-right",
	dora:    "doras-password-is-right",
	mallory: "mallorys-password-is-right",
}

// envOptions say how a test environment differs from the default.
type envOptions struct {
	pam       func(s *testEnv) string // the PAM service file; nil = defaultPAM
	timeout   string                  // pam.timeout
	noLogFile bool                    // the log goes to stderr
	config    string                  // more lines for config.yml
	groups    []uint32                // of a service that is started here, in addition to the web user's own
	proxied   bool                    // the client's address comes from a proxy on this machine
}

// newTestEnv makes a site with the accounts above.
func newTestEnv(t testing.TB, o envOptions) *testEnv {
	t.Helper()
	var extra strings.Builder
	if o.timeout != "" {
		fmt.Fprintf(&extra, "  timeout: %s\n", o.timeout) // config.yml's last section is "pam" here
	}
	fmt.Fprintf(&extra, "blacklisted_users: [root, %s]\n", mallory)
	extra.WriteString("trusted_proxies: [127.0.0.1]\n") // nginx; clients have other addresses
	if !o.noLogFile {
		extra.WriteString("log:\n  file: service.log\n  format: json\n")
	}
	extra.WriteString(o.config)
	s := &testEnv{site: newSite(t, siteOptions{accounts: defaultAccounts, extra: extra.String()}), t: t,
		groups: o.groups, proxied: o.proxied}
	if o.pam == nil {
		o.pam = defaultPAM
	}
	s.writePAM(t, o.pam(s))
	s.logFile = filepath.Join(s.dir, "service.log")
	s.program = filepath.Join(s.dir, "dockerauth")
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		s.web = lookupWebUser(t)
	}
	for _, sub := range []string{"run", "tmp", "ipc", "www"} {
		if err := os.Mkdir(filepath.Join(s.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(s.path("state"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.own()
	install(t, binary(t), s.program)
	return s
}

// defaultPAM is a stack of stock modules: the database answers for everyone, carol has expired,
// dora cannot be looked up.
func defaultPAM(s *testEnv) string {
	expired, unreachable := s.write("expired", carol+"\n"), s.write("unreachable", dora+"\n")
	return strings.NewReplacer("DB", s.path("accounts"), "EXPIRED", expired, "UNREACHABLE", unreachable).Replace(
		`auth    [success=1 default=ignore] pam_listfile.so item=user sense=deny onerr=fail quiet file=UNREACHABLE
auth    requisite pam_debug.so auth=authinfo_unavail
auth    required pam_userdb.so db=DB crypt=none
account [success=1 default=ignore] pam_listfile.so item=user sense=deny onerr=fail quiet file=EXPIRED
account requisite pam_debug.so acct=acct_expired
account required pam_userdb.so db=DB crypt=none
`)
}

func lookupWebUser(t testing.TB) *webUser {
	t.Helper()
	u, err := user.Lookup("www-data")
	if err != nil {
		missing(t, "web servers: there is no user www-data on this machine")
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &webUser{u.Username, uid, gid}
}

// own gives all files of the environment to the web user: a private key may be readable for its
// owner alone.
func (s *testEnv) own() {
	s.t.Helper()
	if s.web == nil {
		return
	}
	err := filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == s.program { // a link to the one binary of all environments
			return nil
		}
		return os.Lchown(path, s.web.uid, s.web.gid)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// install puts the binary beside a config.yml, as a hard link if possible: the program looks for
// config.yml beside its real path.
func install(t testing.TB, binary, path string) {
	t.Helper()
	if err := os.Link(binary, path); err == nil {
		return
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// asWeb makes a command run as the web user.
func (s *testEnv) asWeb(cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = s.dir
	if s.web != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.web.uid),
			Gid: uint32(s.web.gid), Groups: s.groups}}
	}
	return cmd
}

// start runs a program of the front end and remembers it.
func (s *testEnv) start(name string, cmd *exec.Cmd) *process {
	s.t.Helper()
	p := start(s.t, name, cmd)
	s.procs = append(s.procs, p)
	return p
}

// serve starts a long-lived front end of dockerauth as the web user.
func (s *testEnv) serve(args ...string) *process {
	s.t.Helper()
	cmd := s.asWeb(exec.Command(s.program, args...))
	if s.stderr != nil {
		cmd.Stderr = s.stderr
	}
	s.service = s.start("dockerauth "+args[0], cmd)
	return s.service
}

// serveFastCGI starts the FastCGI front end on a socket.
func (s *testEnv) serveFastCGI() (sock string) {
	s.t.Helper()
	sock = s.path("run/fcgi.sock")
	s.serve("fastcgi", "--listen", "unix:"+sock).ready(s.t, "unix", sock)
	return sock
}

// listen picks the address that requests go to.
func (s *testEnv) listen() (port int) {
	s.t.Helper()
	port = freePort(s.t)
	s.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return port
}

// path is a path in the environment's folder.
func (s *testEnv) path(name string) string { return filepath.Join(s.dir, name) }

// write writes a file that the web user can read.
func (s *testEnv) write(name, content string) string {
	s.t.Helper()
	path := writeFile(s.t, s.path(name), content, 0o644)
	return path
}

// shipped returns an example from the packaging folder with paths and addresses replaced; all else
// is as users install it. A replacement that does not occur in the file fails the test.
func (s *testEnv) shipped(name string, replace ...string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(b)
	for _, e := range s.edit {
		replace = append(replace, e[0], e[1])
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			s.t.Fatalf("replace in %s: it does not say %q", name, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

// logLines returns the complete lines of the service's log.
func (s *testEnv) logLines() []map[string]any {
	s.t.Helper()
	b, err := os.ReadFile(s.logFile)
	if err != nil {
		return nil // not written yet
	}
	var lines []map[string]any
	for line := range strings.Lines(string(b)) {
		if !strings.HasSuffix(line, "\n") {
			break // being written
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			s.t.Errorf("log line is not JSON: %v: %s", err, line)
			continue
		}
		lines = append(lines, fields)
	}
	return lines
}

// requestLines are the log lines about token requests.
func (s *testEnv) requestLines() []map[string]any {
	var lines []map[string]any
	for _, l := range s.logLines() {
		if l["msg"] == "token request" {
			lines = append(lines, l)
		}
	}
	return lines
}

// everyLog is all that any program of the environment has written.
func (s *testEnv) everyLog() map[string]string {
	all := make(map[string]string)
	for _, name := range append([]string{s.logFile}, s.logs...) {
		b, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			s.t.Error(err)
		}
		all[name] = string(b)
	}
	for i, p := range s.procs {
		all[fmt.Sprintf("output of %s (%d)", p.name, i)] = p.output()
	}
	return all
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("glob %s: %d files, %v", pattern, len(names), err)
	}
	return names
}

func (s *testEnv) exchange(request string) (*http.Response, []byte, error) {
	return exchange("", s.address, request)
}
