package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// daemons are containerd and dockerd, with all their files in a folder of the test and without
// changes to the network.
type daemons struct {
	containerdSocket string
	dockerSocket     string
}

// startDaemons starts those that are installed; clients of a missing one are skipped.
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
		dm.startDockerd(t, dir, "--storage-driver=vfs")
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
	p := start(t, "containerd", exec.Command("containerd", "--log-level", "warn", "--config", config,
		"--address", dm.containerdSocket,
		"--root", filepath.Join(dir, "c-root"), "--state", filepath.Join(dir, "c-state")))
	p.ready(t, "unix", dm.containerdSocket)
}

// startDockerd starts it without a network; more are further arguments.
func (dm *daemons) startDockerd(t testing.TB, dir string, more ...string) {
	t.Helper()
	config := writeFile(t, filepath.Join(dir, "daemon.json"), "{}", 0o644)
	cmd := exec.Command("dockerd", "--log-level", "warn", "--config-file", config,
		"--host", "unix://"+dm.dockerSocket, "--containerd", dm.containerdSocket,
		"--data-root", filepath.Join(dir, "d-root"), "--exec-root", filepath.Join(dir, "d-exec"),
		"--pidfile", filepath.Join(dir, "d.pid"),
		"--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none")
	cmd.Args = append(cmd.Args, more...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir)
	p := start(t, "dockerd", cmd)
	p.ready(t, "unix", dm.dockerSocket)
}

// outsidePaths are paths that clients and daemons write outside their folders, each before its
// parent. dockerd makes a folder of plugin sockets and, up to 20.10, an unused key;
// containers/image, as root, a cache of blob locations.
var outsidePaths = []string{
	"/etc/docker/key.json",
	"/run/docker/plugins",
	"/run/docker",
	"/var/lib/containers/cache/blob-info-cache-v1.boltdb",
	"/var/lib/containers/cache",
	"/var/lib/containers",
}

// leaveAsFound removes those paths after the test that did not exist before it, except for folders
// that are not empty.
func leaveAsFound(t testing.TB, paths []string) {
	t.Helper()
	var absent []string
	for _, path := range paths {
		if !found(path) {
			absent = append(absent, path)
		}
	}
	t.Cleanup(func() {
		for _, path := range absent {
			err := os.Remove(path)
			if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
				t.Errorf("clean up: %v", err)
			}
		}
	})
}
