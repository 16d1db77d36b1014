//go:build linux && cgo

package pamauth

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// serviceDir is a folder of service files and other files.
type serviceDir struct {
	t   testing.TB
	dir string
}

func newServiceDir(t testing.TB) serviceDir {
	t.Helper()
	return serviceDir{t, t.TempDir()}
}

// write makes a file. @ in the text is replaced by the folder.
func (s serviceDir) write(name, text string, mode os.FileMode) {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "@", s.dir)), mode); err != nil {
		s.t.Fatal(err)
	}
}

// stack makes a service file.
func (s serviceDir) stack(name string, lines ...string) Stack {
	s.t.Helper()
	s.write(name, strings.Join(lines, "\n")+"\n", 0o644)
	return Stack{Service: name, Confdir: s.dir}
}

func (s serviceDir) path(name string) string { return filepath.Join(s.dir, name) }

// requireModules skips the test if a module is not installed. In CI the test fails.
func requireModules(t *testing.T, modules ...string) {
	t.Helper()
	for _, m := range modules {
		var found []string
		for _, dir := range []string{"/lib/*/security/", "/lib/security/", "/lib64/security/", "/usr/lib/security/"} {
			got, _ := filepath.Glob(dir + m)
			found = append(found, got...)
		}
		if len(found) > 0 {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("PAM module %s is not installed", m)
		}
		t.Skipf("PAM module %s is not installed", m)
	}
}

// converse asks libpam without a look at the service file before: libpam may crash, or refuse it.
func converse(t testing.TB, stack Stack, l Login) error {
	t.Helper()
	a, err := child(stack, nil).ask(t.Context(), request{Stack: stack, Login: l, Tag: newProcessTag()})
	if err != nil {
		return err
	}
	return a.err()
}

func child(stack Stack, stderr *syncBuffer) Child {
	c := Child{Stack: stack}
	if stderr != nil {
		c.Stderr = stderr
	}
	return c
}

// syncBuffer is a buffer for several writers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *syncBuffer) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *syncBuffer) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

const password = password1

var rightLogin = Login{User: "alice", Password: password}

// passwd is the password file of pam_pwdfile: alice with the password above, bob with an empty one.
const passwd = "alice:$6$abcdefgh$" +
	"yIZAF3gQPvtKZO/9qOJKffAKKbtS3ef3qmwyugk4uWVjX8YZf/GV3A8SkFxEPY0T56CcilGrHKLffBsp6dLMG.\nbob:\n"

const (
	permitAuth    = "auth required pam_permit.so"
	permitAccount = "account required pam_permit.so"
	pwdfileAuth   = "auth required pam_pwdfile.so nodelay pwdfile=@/passwd"
)
