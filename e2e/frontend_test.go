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

// A theatre is one way in which dockerauth meets the world: a door of its own and a web server in front of it.
type frontend struct {
	name  string
	needs []string // programs and files without which it cannot be played
	open  func(t testing.TB, s *testEnv)

	// itself holds, by the name of a case, what the web server answers before dockerauth hears of it.
	ownAnswers map[string]want
}

// theatres are all of them. The same cases are played in each.
var frontends = []frontend{
	inProcess, bareCGI, httpFrontend,
	apacheCGI, apacheHtaccess, apacheFcgid, apacheProxyFcgi,
	nginxFcgiwrap, nginxSpawnFcgi, nginxFastCGI, nginxSystemd, nginxHTTP,
	lighttpdFastCGI,
}

// stage is what a theatre is opened with: a site whose files belong to the user that web servers and services run as.
type testEnv struct {
	*site
	t       testing.TB
	program string     // dockerauth beside its config.yml
	logFile string     // the service's log, one JSON object a line
	web     *webUser   // nil when the test is not root: everything runs as whoever runs the test
	procs   []*process // all that was started, for their output
	address string     // host:port that requests go to; set by open
	admin   string     // of the service's --admin, where it has one
	// URL prefixes of the endpoint: the last is one below which all is dockerauth's; set by open
	mounts     []string
	homes      []string        // URLs of the text page; set by open
	logs       []string        // files besides logFile that must hold no secret
	service    *process        // the long-lived dockerauth, where there is one
	edit       [][2]string     // more replacements in the shipped example, for tests that change it
	ownAnswers map[string]want // of the theatre
	groups     []uint32        // of services, besides the web user's own
	stderr     *os.File        // of services; nil = a file of their own
	proxied    bool            // the web server takes the client's address from a proxy's X-Forwarded-For
}

// webUser is whom Debian's web servers run as.
type webUser struct {
	name     string
	uid, gid int
}

// The accounts of a stage besides alice. Each is in the account database with the password of its own, and PAM has something to say about it.
const (
	bob     = "bob"
	carol   = "carol"   // may log in, but her account has expired
	dora    = "dora"    // the directory that knows her cannot be reached
	mallory = "mallory" // blacklisted in config.yml
)

var defaultAccounts = map[string]string{
	bob:     "bobs own secret: ünïcödé & 100%",
	carol:   "carols-password-is-right",
	dora:    "doras-password-is-right",
	mallory: "mallorys-password-is-right",
}

// stageOptions say how a stage differs from the usual one.
type envOptions struct {
	pam       func(s *testEnv) string // the PAM service file; nil = the accounts above
	timeout   string                  // pam.timeout
	noLogFile bool                    // the log goes to stderr
	config    string                  // more lines for config.yml
	groups    []uint32                // what a service that is started here has besides the web user's own group
	proxied   bool                    // the client's address is what a proxy on this machine says
}

// newStage makes a site with the accounts above.
func newTestEnv(t testing.TB, o envOptions) *testEnv {
	t.Helper()
	var extra strings.Builder
	if o.timeout != "" {
		fmt.Fprintf(&extra, "  timeout: %s\n", o.timeout) // config.yml's last section is "pam" here
	}
	fmt.Fprintf(&extra, "blacklisted_users: [root, %s]\n", mallory)
	extra.WriteString("trusted_proxies: [127.0.0.1]\n") // that is nginx; clients have other addresses
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

// stagePAM is a stack of stock modules: the database answers for everyone, carol has expired, dora cannot be looked up.
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

// own gives all files of the stage to the web user: a private key may be read by its owner alone.
func (s *testEnv) own() {
	s.t.Helper()
	if s.web == nil {
		return
	}
	err := filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == s.program { // it is linked to the one binary of all stages
			return nil
		}
		return os.Lchown(path, s.web.uid, s.web.gid)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// install puts the binary beside a config.yml, as a link where that is possible: it is the real path of the file that the program looks beside.
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

// start runs a program of the theatre and remembers it.
func (s *testEnv) start(name string, cmd *exec.Cmd) *process {
	s.t.Helper()
	p := start(s.t, name, cmd)
	s.procs = append(s.procs, p)
	return p
}

// serve starts a long-lived door of dockerauth as the web user.
func (s *testEnv) serve(args ...string) *process {
	s.t.Helper()
	cmd := s.asWeb(exec.Command(s.program, args...))
	if s.stderr != nil {
		cmd.Stderr = s.stderr
	}
	s.service = s.start("dockerauth "+args[0], cmd)
	return s.service
}

// listen picks the address that requests go to.
func (s *testEnv) listen() (port int) {
	s.t.Helper()
	port = freePort(s.t)
	s.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return port
}

// path is a path in the stage's folder.
func (s *testEnv) path(name string) string { return filepath.Join(s.dir, name) }

// write writes a file that the web user can read.
func (s *testEnv) write(name, content string) string {
	s.t.Helper()
	path := writeFile(s.t, s.path(name), content, 0o644)
	return path
}

// shipped returns an example from the packaging folder with its paths and addresses replaced: the replacements are all that differs from what
// people install. One that does not occur in the file fails the test.
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

// requestLines are those log lines that speak of a token request.
func (s *testEnv) requestLines() []map[string]any {
	var lines []map[string]any
	for _, l := range s.logLines() {
		if l["msg"] == "token request" {
			lines = append(lines, l)
		}
	}
	return lines
}

// everyLog is all that was written anywhere while the theatre was open.
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
