package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
)

// lostUser is a user for which the directory never answers.
const lostUser = "lost"

func nameTests() []faultTest {
	return []faultTest{{name: "the directory hangs", frontend: namespaceFrontend, run: runDirectory,
		options: faultOptions{users: []string{lostUser}, timeout: seconds(2), concurrency: slots, config: withTeam,
			prepare: directory}}}
}

// withTeam adds a rule for a group, so that every login asks for groups.
func withTeam(config string) string {
	return config + "access:\n  - allow: [push]\n    repositories: [team/app]\n    to: [\"@faultteam\"]\n"
}

// directory compiles testdata/nss_fault.c and writes the service's replacement for the machine's
// own files.
func directory(s *faultEnv) {
	needMountNamespace(s.t)
	need(s.t, "a directory of the test's own", "gcc", "ldconfig", "setpriv", "/etc/ld.so.cache", "/etc/nsswitch.conf")
	if err := os.Mkdir(s.path("nss"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	mustRun(s.t, "gcc", "-w", "-shared", "-fPIC", "-o", s.path("nss/libnss_fault.so.2"), "testdata/nss_fault.c")
	s.write("ld.so.conf", "include /etc/ld.so.conf\n"+s.path("nss")+"\n")
	mustRun(s.t, "ldconfig", "-X", "-C", s.path("ld.so.cache"), "-f", s.path("ld.so.conf"))
	s.write("nsswitch.conf", "passwd: files fault\ngroup: files fault\n")
}

// namespaceFrontend is the HTTP front end with its own directory, in a private mount namespace.
var namespaceFrontend = frontend{name: "HTTP front end, own directory", open: openInNamespace}

func openInNamespace(t testing.TB, s *testEnv) {
	s.listen()
	script := fmt.Sprintf(`set -e
mount --bind %[1]s/nsswitch.conf /etc/nsswitch.conf
mount --bind %[1]s/ld.so.cache /etc/ld.so.cache
[ ! -e /run/nscd/socket ] || mount --bind %[1]s/nsswitch.conf /run/nscd/socket
exec setpriv --reuid=%[2]d --regid=%[2]d --clear-groups "$@"`, s.dir, s.web.uid)
	cmd := exec.Command("sh", "-c", script, "sh", s.program, "http", "--listen", s.address)
	cmd.Dir = s.dir
	cmd.SysProcAttr = ownMounts()
	s.service = s.start("dockerauth http", cmd)
	s.service.ready(t, "tcp", s.address)
	s.mounts = []string{""}
}

// runDirectory makes the directory hang for one user and then for all, while a rule makes every
// login ask it for groups.
func runDirectory(s *faultEnv) {
	l := s.startLoad()
	l.more(someLogins())
	r := s.ask(lostUser, passwordOf(lostUser))
	lost := s.granted(loadUser(0))
	got, wrong := l.end()
	lost = append(lost, wrong...)
	lost = append(lost, s.refused503(r)...)
	s.row(row{fault: "the directory hangs for one", done: "asked for the groups of its user",
		got: fmt.Sprintf("%s; others %s", r.summary(), got), normal: s.normal()},
		append(lost, s.leftovers()...))

	l = s.startLoad(http.StatusServiceUnavailable)
	l.more(1)
	hang := s.write("nss/hang", "")
	before := l.count("503")
	eventually(s.t, answerWithin, "a 503", func() bool { return l.count("503") > before })
	r = s.ask(loadUser(1), passwordOf(loadUser(1)))
	if err := os.Remove(hang); err != nil {
		s.t.Fatal(err)
	}
	normal := s.normal()
	l.more(someLogins())
	got, lost = l.end()
	lost = append(lost, s.refused503(r)...)
	s.row(row{fault: "the directory hangs for all", done: "every login asks for groups",
		got: fmt.Sprintf("%s; others %s", r.summary(), got), normal: normal},
		append(lost, s.leftovers()...))
}

func (s *faultEnv) refused503(r reply) []string {
	if flaw := s.flaw(r, lostUser, true, http.StatusServiceUnavailable); flaw != "" {
		return []string{flaw}
	}
	if r.status != http.StatusServiceUnavailable {
		return []string{fmt.Sprintf("status %d instead of 503", r.status)}
	}
	return nil
}

// granted checks that the directory's group is used: otherwise this test shows nothing.
func (s *faultEnv) granted(user string) []string {
	claims, err := s.claims(s.ask(user, passwordOf(user)))
	if err != nil {
		return []string{err.Error()}
	}
	if got := claims.scopes(); got != appScope {
		return []string{fmt.Sprintf("%s is granted %q, want %q for the group", user, got, appScope)}
	}
	return nil
}
