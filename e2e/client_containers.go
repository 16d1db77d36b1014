package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// podman has its own storage in the workspace: a folder without overlay mounts, and no journal.
var podman = registryClient{
	name: "podman",
	need: func(t testing.TB) {
		needRoot(t, "podman") // otherwise it needs newuidmap and a range of user ids
		need(t, "podman", "podman")
	},
	signIn: func(w *workspace, password string) output {
		return w.podman(password, "login", "--tls-verify=false", "-u", w.user, "--password-stdin", w.host)
	},
	refusal: regexp.MustCompile(`invalid username/password`),
	chunks:  true,
	push: func(w *workspace) {
		w.mustPodman("load", "-q", "-i", w.im.archive)
		w.mustPodman("tag", strings.TrimPrefix(w.im.config, "sha256:"), w.ref())
		w.mustPodman("push", "--tls-verify=false", w.ref())
	},
	pull: func(w *workspace) {
		w.mustPodman("rmi", "--all", "--force")
		w.mustPodman("pull", "-q", "--tls-verify=false", w.ref())
		w.same("image id", "sha256:"+strings.TrimSpace(w.mustPodman("image", "inspect", "--format", "{{.Id}}",
			w.ref())), w.im.config)
	},
}

func (w *workspace) podman(stdin string, args ...string) output {
	w.t.Helper()
	own := []string{
		"--root", w.path("podman"), "--runroot", w.path("podman-run"), "--tmpdir", w.path("podman-tmp"),
		"--network-config-dir", w.path("podman-net"),
		"--storage-driver", "vfs", "--events-backend", "none", "--cgroup-manager", "cgroupfs",
	}
	return w.typed(stdin, "podman", append(own, args...)...)
}

func (w *workspace) mustPodman(args ...string) string {
	w.t.Helper()
	return w.podman("", args...).must(w.t)
}

var skopeo = registryClient{
	name: "skopeo",
	need: func(t testing.TB) { need(t, "skopeo", "skopeo") },
	signIn: func(w *workspace, password string) output {
		return w.typed(password, "skopeo", "login", "--tls-verify=false", "-u", w.user, "--password-stdin", w.host)
	},
	refusal: regexp.MustCompile(`invalid username/password`),
	chunks:  true,
	push: func(w *workspace) {
		w.must("skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:"+w.im.layout+":"+imageTag, "docker://"+w.ref())
	},
	pull: func(w *workspace) {
		back := w.fresh()
		w.must("skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+w.ref(), "oci:"+back+":"+imageTag)
		w.same("manifest", layoutDigest(w.t, back), w.im.digest)
	},
	after: skopeoDeletes,
}

// skopeoDeletes removes the image: containers/image requests the action "*", which the token must
// list as separate actions.
func skopeoDeletes(w *workspace, _ []tokenRequest) {
	w.t.Helper()
	w.must("skopeo", "delete", "--tls-verify=false", "docker://"+w.ref())
	asked := func(q tokenRequest) bool { return slices.Contains(q.scopes, "repository:"+w.repo+":*") }
	if seen := w.tap.take(); count(seen, asked) == 0 {
		w.t.Errorf("skopeo delete asked for %+v, want the action *", seen)
	}
	if o := w.typed("", "skopeo", "inspect", "--tls-verify=false", "docker://"+w.ref()); o.status == 0 {
		w.t.Error("the deleted image is still there")
	}
}
