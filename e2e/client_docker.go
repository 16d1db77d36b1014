package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// dockers returns one client for each docker command on PATH, in that order: a Debian package and a
// newer release may be installed side by side.
func dockers() []registryClient {
	var all []registryClient
	seen := map[string]bool{}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path, err := filepath.EvalSymlinks(filepath.Join(dir, "docker"))
		if err != nil || seen[path] {
			continue
		}
		seen[path] = true
		all = append(all, docker(path))
	}
	if len(all) == 0 {
		all = append(all, docker("docker"))
	}
	return all
}

func docker(path string) registryClient {
	return registryClient{
		name: "docker " + dockerVersion(path),
		need: func(t testing.TB) {
			needRoot(t, "dockerd")
			need(t, "docker", path, "dockerd", "containerd")
		},
		signIn: func(d *workspace, password string) output {
			return d.docker(path, password, "login", "-u", alice, "--password-stdin", d.host)
		},
		refusal: regexp.MustCompile(`(?i)unauthorized: |incorrect username or password`),
		push: func(d *workspace) {
			o := d.docker(path, "", "import", d.im.rootfs, d.ref())
			d.id = strings.TrimSpace(o.stdout)
			d.mustDocker(path, "push", d.ref())
		},
		pull: func(d *workspace) {
			d.mustDocker(path, "image", "rm", d.ref())
			d.mustDocker(path, "pull", d.ref())
			d.same("image id", strings.TrimSpace(d.mustDocker(path, "image", "inspect", "--format", "{{.Id}}",
				d.ref())), d.id)
			d.mustDocker(path, "image", "rm", d.ref())
		},
		after: dockerKeepsOnlyTheRefreshToken,
	}
}

// dockerKeepsOnlyTheRefreshToken checks the file that `docker login` writes, and that push and pull
// used its content.
func dockerKeepsOnlyTheRefreshToken(d *workspace, seen []tokenRequest) {
	d.t.Helper()
	b, err := os.ReadFile(d.credentials())
	if err != nil {
		d.t.Fatal(err)
	}
	if !strings.Contains(string(b), `"identitytoken"`) {
		d.t.Errorf("docker login stored no identity token: it keeps the password itself")
	}
	if n := count(seen, byPassword); n != 0 {
		d.t.Errorf("%d token requests of push and pull carried the password, want refresh tokens only", n)
	}
	if count(seen, grantedRefresh) == 0 {
		d.t.Errorf("no refresh grant in push and pull: %+v", seen)
	}
}

func dockerVersion(path string) string {
	b, err := exec.Command(path, "--version").Output()
	// Docker version 28.2.2, build e6534b4
	if f := strings.Fields(string(b)); err == nil && len(f) > 2 {
		return strings.TrimSuffix(f[2], ",")
	}
	return "?"
}

func (d *workspace) docker(path, stdin string, args ...string) output {
	d.t.Helper()
	return d.typed(stdin, path, append([]string{"--host", "unix://" + d.daemons.dockerSocket}, args...)...)
}

func (d *workspace) mustDocker(path string, args ...string) string {
	d.t.Helper()
	return d.docker(path, "", args...).must(d.t)
}
