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
		signIn: func(w *workspace, password string) output {
			return w.docker(path, password, "login", "-u", w.user, "--password-stdin", w.host)
		},
		refusal: regexp.MustCompile(`(?i)unauthorized: |incorrect username or password`),
		push: func(w *workspace) {
			o := w.docker(path, "", "import", w.im.rootfs, w.ref())
			w.id = strings.TrimSpace(o.stdout)
			w.mustDocker(path, "push", w.ref())
		},
		pull: func(w *workspace) {
			w.mustDocker(path, "image", "rm", "--force", w.ref())
			w.mustDocker(path, "pull", w.ref())
			w.same("image id", strings.TrimSpace(w.mustDocker(path, "image", "inspect", "--format", "{{.Id}}",
				w.ref())), w.id)
			w.mustDocker(path, "image", "rm", "--force", w.ref())
		},
		after: dockerKeepsOnlyTheRefreshToken,
	}
}

// dockerKeepsOnlyTheRefreshToken checks the file that `docker login` writes, and that push and pull
// used its content.
func dockerKeepsOnlyTheRefreshToken(w *workspace, seen []tokenRequest) {
	w.t.Helper()
	b, err := os.ReadFile(w.credentials())
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(string(b), `"identitytoken"`) {
		w.t.Errorf("docker login stored no identity token: it keeps the password itself")
	}
	if n := count(seen, byPassword); n != 0 {
		w.t.Errorf("%d token requests of push and pull carried the password, want refresh tokens only", n)
	}
	if count(seen, grantedRefresh) == 0 {
		w.t.Errorf("no refresh grant in push and pull: %+v", seen)
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

func (w *workspace) docker(path, stdin string, args ...string) output {
	w.t.Helper()
	return w.typed(stdin, path, append([]string{"--host", "unix://" + w.daemons.dockerSocket}, args...)...)
}

func (w *workspace) mustDocker(path string, args ...string) string {
	w.t.Helper()
	return w.docker(path, "", args...).must(w.t)
}
