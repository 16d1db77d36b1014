package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// daemons are containerd and dockerd, with everything they keep in a folder of the test's own and nothing of the network touched.
type daemons struct {
	containerdSocket string
	dockerSocket     string
}

// startDaemons starts those this machine has; the clients that need a missing one skip by themselves.
func startDaemons(t testing.TB) *daemons {
	t.Helper()
	dm := &daemons{}
	if os.Geteuid() != 0 || !found("containerd") {
		return dm
	}
	dir := shortDir(t)
	dm.containerdSocket = filepath.Join(dir, "c.sock")
	dm.startContainerd(t, dir)
	if found("dockerd") {
		dm.dockerSocket = filepath.Join(dir, "d.sock")
		dm.startDockerd(t, dir)
	}
	return dm
}

func (dm *daemons) startContainerd(t testing.TB, dir string) {
	t.Helper()
	config := writeFile(t, filepath.Join(dir, "containerd.toml"), fmt.Sprintf(`version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[plugins."io.containerd.internal.v1.opt"]
path = %q
`, filepath.Join(dir, "opt")), 0o644)
	p := start(t, "containerd", exec.Command("containerd", "--log-level", "warn", "--config", config, "--address", dm.containerdSocket,
		"--root", filepath.Join(dir, "c-root"), "--state", filepath.Join(dir, "c-state")))
	p.ready(t, "unix", dm.containerdSocket)
}

func (dm *daemons) startDockerd(t testing.TB, dir string) {
	t.Helper()
	removeNewFile(t, "/etc/docker/key.json") // 20.10 keeps a key nobody uses any more there, whatever its other folders are
	config := writeFile(t, filepath.Join(dir, "daemon.json"), "{}", 0o644)
	cmd := exec.Command("dockerd", "--log-level", "warn", "--config-file", config, "--host", "unix://"+dm.dockerSocket, "--containerd", dm.containerdSocket,
		"--data-root", filepath.Join(dir, "d-root"), "--exec-root", filepath.Join(dir, "d-exec"), "--pidfile", filepath.Join(dir, "d.pid"),
		"--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none", "--storage-driver=vfs")
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir)
	p := start(t, "dockerd", cmd)
	p.ready(t, "unix", dm.dockerSocket)
}

// removeNewFile removes a file after the test if it is not there now.
func removeNewFile(t testing.TB, path string) {
	t.Helper()
	if found(path) {
		return
	}
	t.Cleanup(func() {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("clean up: %v", err)
		}
	})
}
