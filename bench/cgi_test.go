package bench

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// program is a process that is started, does its work and ends.
type program struct {
	path string
	args []string
	env  []string
	want string // the beginning of its output
}

// apacheEnv is what Apache 2.4 of Debian 12 gives a program, with mod_cgid and CGIPassAuth.
func apacheEnv(script, login string) []string {
	q := "account=alice&client_id=docker&" + query(loginScope)
	return []string{
		"GATEWAY_INTERFACE=CGI/1.1", "HTTP_AUTHORIZATION=" + login, "REMOTE_ADDR=127.0.0.1", "QUERY_STRING=" + q,
		"HTTP_USER_AGENT=docker/28.0 (linux)", "DOCUMENT_ROOT=/var/www/html", "REMOTE_PORT=34818",
		"HTTP_ACCEPT=*/*", "SERVER_SIGNATURE=", "CONTEXT_DOCUMENT_ROOT=" + script, "SCRIPT_FILENAME=" + script,
		"HTTP_HOST=auth.example.com", "REQUEST_URI=/docker/v2/token?" + q,
		"SERVER_SOFTWARE=Apache/2.4.71 (Debian)", "REQUEST_SCHEME=http",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SERVER_PROTOCOL=HTTP/1.1",
		"REQUEST_METHOD=GET", "SERVER_ADDR=127.0.0.1", "SERVER_ADMIN=[no address given]",
		"CONTEXT_PREFIX=/docker/v2/token", "SERVER_PORT=80", "SCRIPT_NAME=/docker/v2/token",
		"SERVER_NAME=auth.example.com",
	}
}

func (i installation) cgi(name string) program {
	path := i.path(name)
	return program{path: path, env: apacheEnv(path, basic(systemUser)), want: "Status: 200 OK\r\n"}
}

// cost is what one process took, with its children, from fork to wait.
type cost struct{ cpu, wall float64 } // milliseconds

func (p program) run(t testing.TB) cost {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = p.env
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	wall := time.Since(began)
	if out := stdout.String(); err != nil || !strings.HasPrefix(out, p.want) ||
		strings.HasPrefix(p.want, "Status") && !strings.Contains(out, `"access_token":"`) {
		t.Fatalf("run %s: %v\n%s%s", p.path, err, out, stderr.String())
	}
	s := cmd.ProcessState // wait4(2) adds the children that it has waited for
	return cost{milliseconds(s.UserTime() + s.SystemTime()), milliseconds(wall)}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// comparePrograms adds a row for processor time and one for elapsed time. r has what they share.
func comparePrograms(t testing.TB, rounds int, a, b program, r row) {
	t.Helper()
	cpu, wall := r, r
	side := func(p program, cpu, wall *[]float64) func(bool) {
		return func(warm bool) {
			if c := p.run(t); !warm {
				*cpu, *wall = append(*cpu, c.cpu), append(*wall, c.wall)
			}
		}
	}
	interleave(rounds, side(a, &cpu.Values, &wall.Values), side(b, &cpu.References, &wall.References))
	cpu.Work += ", CPU"
	wall.Work += ", elapsed"
	wall.Bound = 0 // on a busy machine it says little
	if r.GoalIsOfValue {
		cpu.Goal = 0
	}
	add(t, cpu)
	add(t, wall)
}

func measureCGI(t *testing.T) {
	loginRow := func(work string, goal, bound float64) row {
		return row{Group: "cgi", Work: "CGI login, " + work, A: "dockerauth", AUnit: "ms", B: "C program", Goal: goal,
			Bound: bound}
	}
	p256, withRSA := install(t, options{}), install(t, options{rsa: true})
	hashed := install(t, options{pam: yescryptPAM(t)})
	comparePrograms(t, times(300, 60), p256.cgi("dockerauth"), p256.cgi("reference-c"),
		loginRow("pam_permit, P-256", 1.0, 3))
	comparePrograms(t, times(300, 60), withRSA.cgi("dockerauth"), withRSA.cgi("reference-c"),
		loginRow("pam_permit, RSA", 1.1, 3))
	comparePrograms(t, times(100, 20), hashed.cgi("dockerauth"), hashed.cgi("reference-c"),
		loginRow("yescrypt by pam_pwdfile, P-256", 1.0, 2))

	if testing.Short() {
		return
	}
	empty := program{path: emptyGo}
	comparePrograms(t, 300, program{path: dockerauth, args: []string{"--version"}, want: "dockerauth "},
		empty, row{Group: "cgi", Work: "start, --version", A: "dockerauth", AUnit: "ms", B: "empty Go program",
			Goal: 1.9, GoalIsOfValue: true})
	comparePrograms(t, 300, empty, program{path: "/bin/true"},
		row{Group: "cgi", Work: "start, a Go program that does nothing", A: "empty Go program", AUnit: "ms", B: "true"})
}
