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
	signIn: func(d *workspace, password string) output {
		return d.podman(password, "login", "--tls-verify=false", "-u", alice, "--password-stdin", d.host)
	},
	refusal: regexp.MustCompile(`invalid username/password`),
	chunks:  true,
	push: func(d *workspace) {
		d.mustPodman("load", "-q", "-i", d.im.archive)
		d.mustPodman("tag", strings.TrimPrefix(d.im.config, "sha256:"), d.ref())
		d.mustPodman("push", "--tls-verify=false", d.ref())
	},
	pull: func(d *workspace) {
		d.mustPodman("rmi", "--all", "--force")
		d.mustPodman("pull", "-q", "--tls-verify=false", d.ref())
		d.same("image id", "sha256:"+strings.TrimSpace(d.mustPodman("image", "inspect", "--format", "{{.Id}}",
			d.ref())), d.im.config)
	},
}

func (d *workspace) podman(stdin string, args ...string) output {
	d.t.Helper()
	own := []string{
		"--root", d.path("podman"), "--runroot", d.path("podman-run"), "--tmpdir", d.path("podman-tmp"),
		"--network-config-dir", d.path("podman-net"),
		"--storage-driver", "vfs", "--events-backend", "none", "--cgroup-manager", "cgroupfs",
	}
	return d.typed(stdin, "podman", append(own, args...)...)
}

func (d *workspace) mustPodman(args ...string) string {
	d.t.Helper()
	return d.podman("", args...).must(d.t)
}

var skopeo = registryClient{
	name: "skopeo",
	need: func(t testing.TB) { need(t, "skopeo", "skopeo") },
	signIn: func(d *workspace, password string) output {
		return d.typed(password, "skopeo", "login", "--tls-verify=false", "-u", alice, "--password-stdin", d.host)
	},
	refusal: regexp.MustCompile(`invalid username/password`),
	chunks:  true,
	push: func(d *workspace) {
		d.must("skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:"+d.im.layout+":"+imageTag, "docker://"+d.ref())
	},
	pull: func(d *workspace) {
		back := d.fresh()
		d.must("skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+d.ref(), "oci:"+back+":"+imageTag)
		d.same("manifest", layoutDigest(d.t, back), d.im.digest)
	},
	after: skopeoDeletes,
}

// skopeoDeletes removes the image: containers/image requests the action "*", which the token must
// list as separate actions.
func skopeoDeletes(d *workspace, _ []tokenRequest) {
	d.t.Helper()
	d.must("skopeo", "delete", "--tls-verify=false", "docker://"+d.ref())
	asked := func(q tokenRequest) bool { return slices.Contains(q.scopes, "repository:"+d.repo+":*") }
	if seen := d.tap.take(); count(seen, asked) == 0 {
		d.t.Errorf("skopeo delete asked for %+v, want the action *", seen)
	}
	if o := d.typed("", "skopeo", "inspect", "--tls-verify=false", "docker://"+d.ref()); o.status == 0 {
		d.t.Error("the deleted image is still there")
	}
}
