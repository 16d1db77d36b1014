package gateway

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestListenRejectsBadAddresses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inUse, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inUse.Close()
	cases := []struct{ name, spec, want string }{
		{"nothing", "", "unknown kind"},
		{"no kind", "127.0.0.1:9000", "unknown kind"},
		{"unknown kind", "udp:127.0.0.1:9000", "unknown kind"},
		{"no host", "tcp::9000", "no host"},
		{"no port", "tcp:127.0.0.1", "not HOST:PORT"},
		{"an empty port", "tcp:127.0.0.1:", "not HOST:PORT"},
		{"no path", "unix:", "not a path"},
		{"an abstract socket", "unix:@dockerauth", "not a path"},
		{"a path that is too long", "unix:/" + strings.Repeat("a", maxSocketPath), "longer than 107"},
		{"a file with that name", "unix:" + file, "something else"},
		{"a folder with that name", "unix:" + dir, "something else"},
		{"a folder that is missing", "unix:" + filepath.Join(dir, "no", "s"), "no such file"},
		{"a port that is out of range", "tcp:127.0.0.1:99999", "PORT a number from 1 to 65535"},
		{"an address of another machine", "tcp:192.0.2.1:9000", "must be an address of this machine"},
		{"a port that is taken", "tcp:" + inUse.Addr().String(), "choose another port"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l, err := Listen(c.spec)
			if err == nil {
				l.Close()
				t.Fatal("listens")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q does not say %q", err, c.want)
			}
			if !strings.Contains(err.Error(), "\n  ") {
				t.Errorf("%q does not say what to do", err)
			}
		})
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestListenMakesASocketForOwnerAndGroup(t *testing.T) {
	path := socket(t)
	l, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("mode %o", got)
	}
	l.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("socket is left behind")
	}
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	path := socket(t)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestListenKeepsASocketInUse(t *testing.T) {
	path := socket(t)
	live, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if _, err := Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "another process is listening") {
		t.Errorf("second listener: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("first listener: %v", err)
	} else {
		c.Close()
	}
}

func TestListenKeepsASocketOfAnotherType(t *testing.T) {
	path := socket(t)
	log, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if l, err := Listen("unix:" + path); err == nil {
		l.Close()
		t.Error("replaced a datagram socket")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestDetectTellsTheFrontendsApart(t *testing.T) {
	dir := socket(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listening, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	c, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	connected, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer w.Close()

	cases := []struct {
		name string
		fd0  *os.File
		env  map[string]string
		want Frontend
	}{
		{"a listening socket is FastCGI", listening, nil, FrontendFastCGI},
		{"a listening socket is FastCGI even in a CGI environment", listening,
			map[string]string{"GATEWAY_INTERFACE": "CGI/1.1"}, FrontendFastCGI},
		{"a connected socket is CGI, as under mod_cgid", connected, map[string]string{"GATEWAY_INTERFACE": "CGI/1.1"},
			FrontendCGI},
		{"a pipe is CGI, with a method alone", pipe, map[string]string{"REQUEST_METHOD": "GET"}, FrontendCGI},
		{"a connected socket without variables is a command line", connected, nil, FrontendNone},
		{"a pipe without variables is a command line", pipe, nil, FrontendNone},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Detect(c.fd0.Fd(), func(name string) string { return c.env[name] }); got != c.want {
				t.Errorf("front end %d, want %d", got, c.want)
			}
		})
	}
	t.Run("a closed descriptor is a command line", func(t *testing.T) {
		if got := Detect(^uintptr(0)>>1, func(string) string { return "" }); got != FrontendNone {
			t.Errorf("front end %d", got)
		}
	})
}

func TestFastCGIOnStandardInput(t *testing.T) {
	path := socket(t)
	outer, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	f, err := outer.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := StdinListener(f)
	if err != nil {
		t.Fatal(err)
	}
	run(t, ServeFastCGI, l, echo)
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nc)
	defer c.Close()
	c.get(1, false, "/x")
	if s := c.reply(1).echoed(t); s.Path != "/x" {
		t.Errorf("path %q", s.Path)
	}
	<-c.gone
}

func TestStandardInputThatIsNotASocketIsAnError(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := StdinListener(f); err == nil {
		t.Error("listens on /dev/null")
	}
}

func TestSystemdSocketsOfOtherProcessesAreIgnored(t *testing.T) {
	cases := []struct {
		name, pid, fds string
		fails          bool
	}{
		{"no variables", "", "", false},
		{"another process", "1", "1", false},
		{"a pid that is not a number", "self", "1", false},
		{"no number", "42", "", true},
		{"a negative number", "42", "-1", true},
		{"too many", "42", "65", true},
		{"none", "42", "0", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			env := map[string]string{"LISTEN_PID": c.pid, "LISTEN_FDS": c.fds}
			l, err := SystemdListeners(func(name string) string { return env[name] }, 42)
			if l != nil || (err != nil) != c.fails {
				t.Errorf("got %v, %v", l, err)
			}
		})
	}
}

// systemdChild is what the test binary does as a service with LISTEN_FDS: it prints its sockets and
// how many of them a child would inherit.
func systemdChild() int {
	env := map[string]string{"LISTEN_PID": strconv.Itoa(os.Getpid()), "LISTEN_FDS": os.Getenv("FDS")}
	listeners, err := SystemdListeners(func(name string) string { return env[name] }, os.Getpid())
	if err != nil {
		fmt.Println("error:", err)
	}
	for _, l := range listeners {
		fmt.Println("listens:", l.Addr())
	}
	out, err := exec.Command("/bin/sh", "-c", "ls -l /proc/self/fd | grep -c socket:").Output()
	if err != nil && len(out) == 0 {
		fmt.Println("error:", err)
	}
	fmt.Printf("inherited: %s\n", strings.TrimSpace(string(out)))
	return 0
}

func TestSystemdSocketsAreUsedAndNotInherited(t *testing.T) {
	var files []*os.File
	var want string
	for range 2 {
		path := socket(t)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
		want += "listens: " + path + "\n"
	}
	want += "inherited: 0\n"
	if got := runSystemdChild(t, "2", files); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	got := runSystemdChild(t, "2", []*os.File{null, files[0]})
	if !strings.Contains(got, "socket 3 from systemd") || !strings.Contains(got, "inherited: 0\n") {
		t.Errorf("a descriptor that is no socket: %q", got)
	}
}

func runSystemdChild(t *testing.T, fds string, files []*os.File) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=systemd", "FDS="+fds, noRaceDelay)
	cmd.ExtraFiles = files
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
