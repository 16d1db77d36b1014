package e2e

import (
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bootWithin is for a machine with two busy cores; an idle one takes two seconds.
const bootWithin = 2 * time.Minute

// debian is a clean Debian that has booted: its own systemd, processes, users and loopback
// interface, on this machine's kernel. It has no access to this machine's ports or a network.
type debian struct {
	t    testing.TB
	root string // its files, seen from outside
	init int    // the process id of its systemd

	auth string // the registry's section auth
}

// debianMachine is a clean Debian with systemd and curl.
type debianMachine struct {
	release   string   // bookworm, trixie
	installed []string // more packages
	ready     []string // packages that the machine can install without a network
	idle      []string // units that do not start at boot
}

// webServers have their packages ready: Debian 12's is the image of most tests.
var webServers = []string{"apache2", "nginx-light"}

// archives are the images made in this process, by their recipe.
var archives sync.Map

// archive makes the image, which is kept in .cache.
func (i debianMachine) archive() (file string, err error) {
	made, _ := archives.LoadOrStore(fmt.Sprint(i), sync.OnceValues(i.makeArchive))
	return made.(func() (string, error))()
}

func (i debianMachine) makeArchive() (archive string, err error) {
	include := append([]string{"systemd-sysv", "dbus", "curl", "logrotate"}, i.installed...)
	args := []string{"--variant=minbase", "--include=" + strings.Join(include, ","), "--skip=cleanup/apt",
		"--dpkgopt=force-unsafe-io"}
	if len(i.ready) > 0 {
		args = append(args, `--customize-hook=chroot "$1" apt-get install -y --download-only `+
			`-o APT::Install-Recommends=true `+strings.Join(i.ready, " "))
	}
	if len(i.idle) > 0 {
		args = append(args, `--customize-hook=systemctl --root="$1" disable `+strings.Join(i.idle, " "))
	}
	// Another recipe makes another archive.
	recipe := crc32.ChecksumIEEE([]byte(strings.Join(args, "\n")))
	archive, err = filepath.Abs(fmt.Sprintf(".cache/debian-%s-%08x.tar", i.release, recipe))
	if err != nil || found(archive) {
		return archive, err
	}
	if err := os.MkdirAll(filepath.Dir(archive), 0o755); err != nil {
		return "", err
	}
	// A temporary name, since other tests may be making the archive too; the last one stays.
	making := fmt.Sprintf("%s.%d.tar", archive, os.Getpid())
	defer os.Remove(making)
	if proxy, err := exec.Command("apt-config", "dump", "Acquire::http::Proxy").Output(); err == nil && len(proxy) > 0 {
		args = append(args, "--aptopt="+strings.TrimSpace(string(proxy)))
	}
	args = append(args, i.release, making)
	// The mirror that this machine uses; without one, mmdebstrap uses Debian's own.
	known, _ := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)", "Codename: bookworm",
		"Component: main").Output()
	if mirror, _, _ := strings.Cut(string(known), "\n"); mirror != "" {
		args = append(args, mirror)
	}
	if msg, err := exec.Command("mmdebstrap", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a clean Debian %s: %v\n%s", i.release, err, tail(string(msg), 30))
	}
	return archive, os.Rename(making, archive)
}

// bootDebian starts a machine, which ends with the test.
func bootDebian(t testing.TB, image debianMachine) *debian {
	t.Helper()
	needRoot(t, "a machine of its own")
	need(t, "a machine of its own (Debian: mmdebstrap, systemd-container)", "mmdebstrap", "systemd-nspawn", "nsenter",
		"tar")
	archive, err := image.archive()
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	m := &debian{t: t, root: filepath.Join(dir, "root")}
	mustRun(t, "mkdir", "-m", "0755", m.root)
	// With file capabilities, which programs of SSSD have.
	mustRun(t, "tar", "-C", m.root, "--xattrs", "--xattrs-include=*", "-xpf", archive)
	writeFile(t, m.path("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n", 0o644) // done by the installer otherwise
	name := filepath.Base(dir)
	nspawn := exec.Command("systemd-nspawn", "--quiet", "--machine", name, "--register=no", "--keep-unit",
		"--private-network", "--console=pipe", "--boot", "--directory", m.root)
	// systemd-nspawn leaves its folder behind if /run is no file system of its own.
	leaveAsFound(t, []string{"/run/systemd/nspawn/propagate/" + name, "/run/systemd/nspawn/propagate",
		"/run/systemd/nspawn/locks", "/run/systemd/nspawn"})
	p := start(t, "systemd-nspawn", inOwnGroup(t, name, nspawn))
	p.until(t, "start systemd", func() bool { m.init = child(p.cmd.Process.Pid); return m.init != 0 })
	t.Cleanup(func() {
		// Otherwise it would shut down in order, which takes longer.
		if p.running() {
			m.do("systemctl", "poweroff", "--force", "--force")
		}
	})
	deadline := time.Now().Add(bootWithin)
	for state := ""; state != "running"; state = strings.TrimSpace(m.do("systemctl", "is-system-running").stdout) {
		if state == "degraded" {
			t.Fatalf("units of the clean machine have failed: %v", m.do("systemctl", "--failed"))
		}
		if !p.running() || time.Now().After(deadline) {
			t.Fatalf("the machine does not boot: %s\n%s", state, tail(p.output(), 30))
		}
		time.Sleep(pollEvery) // other processes give no event to wait for
	}
	return m
}

// child is the systemd that systemd-nspawn has started, 0 before that.
func child(pid int) int {
	list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	for _, field := range strings.Fields(string(list)) {
		name, _ := os.ReadFile("/proc/" + field + "/comm")
		if strings.TrimSpace(string(name)) == "systemd" {
			n, _ := strconv.Atoi(field)
			return n
		}
	}
	return 0
}

// inOwnGroup makes cmd run in its own control groups, so that two machines do not share any, and
// removes them afterwards.
func inOwnGroup(t testing.TB, name string, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	var joins []string
	for _, tree := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		if !found(tree + "/cgroup.procs") {
			continue
		}
		group := filepath.Join(tree, name)
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { removeGroup(t, group) })
		joins = append(joins, "echo $$ >"+group+"/cgroup.procs")
	}
	script := strings.Join(append(joins, `exec "$@"`), " && ")
	return exec.Command("sh", append([]string{"-c", script, "sh"}, cmd.Args...)...)
}

func removeGroup(t testing.TB, group string) {
	t.Helper()
	eventually(t, stopWithin, "the control group "+group+" to be empty", func() bool {
		var inside []string
		_ = filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				inside = append(inside, path)
			}
			return nil
		})
		for i := len(inside) - 1; i >= 0; i-- { // nested groups first
			_ = syscall.Rmdir(inside[i])
		}
		return !found(group)
	})
}

// command runs in the machine as root.
func (m *debian) command(args ...string) *exec.Cmd {
	return m.enter("-a", args...)
}

// nearby runs a program of this machine in the other one's network.
func (m *debian) nearby(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(m.init), "-n"}, args...)...)
	cmd.Env = os.Environ()
	return cmd
}

func (m *debian) enter(what string, args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(m.init), what, "-r", "-w"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// do runs a command in the machine; a status other than 0 is a result.
func (m *debian) do(args ...string) output {
	m.t.Helper()
	return run(m.t, "", m.command(args...))
}

// must runs a command in the machine that has to succeed, and returns its output.
func (m *debian) must(args ...string) string {
	m.t.Helper()
	return m.do(args...).must(m.t)
}

// path is a file of the machine, seen from outside.
func (m *debian) path(name string) string { return filepath.Join(m.root, name) }

// files are all files of the machine except writtenBySystem.
func (m *debian) files() map[string]bool {
	m.t.Helper()
	all := make(map[string]bool)
	for line := range strings.Lines(m.must("find", "/", "-xdev", "-not", "-path", "/proc/*", "-not",
		"-path", "/var/log/journal/*")) {
		all[strings.TrimSuffix(line, "\n")] = true
	}
	return all
}
