package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// ctr is containerd's own command. It remembers nothing and takes the password only on its command
// line or from a terminal.
var ctr = registryClient{
	name: "ctr",
	need: func(t testing.TB) {
		needRoot(t, "containerd")
		need(t, "containerd", "containerd", "ctr")
	},
	signIn: func(d *workspace, password string) output {
		d.password = password
		d.importImage()
		return d.ctr(append([]string{"image", "push", "--plain-http"}, d.withCredentials(d.ref())...)...)
	},
	postsPassword: true,
	refusal:       regexp.MustCompile(`(?i)authorization failed|unauthorized`),
	push: func(d *workspace) {
		d.importImage()
		d.mustCtr(append([]string{"image", "push", "--plain-http"}, d.withCredentials(d.ref())...)...)
	},
	pull: func(d *workspace) {
		d.mustCtr("image", "rm", "--sync", d.ref())
		// The native snapshotter copies; overlay may not work on the file system of the test's
		// folder.
		d.mustCtr(append([]string{"image", "pull", "--plain-http", "--snapshotter", "native"},
			d.withCredentials(d.ref())...)...)
		listed := d.mustCtr("image", "ls", "name=="+d.ref())
		if !strings.Contains(listed, d.im.digest) {
			d.t.Errorf("the image came back as\n%s\nwant digest %s", listed, d.im.digest)
		}
	},
}

func (d *workspace) importImage() {
	d.t.Helper()
	d.mustCtr("image", "import", "--snapshotter", "native", "--base-name", d.host+"/"+d.repo, d.im.archive)
}

func (d *workspace) withCredentials(ref string) []string {
	if d.refreshToken != "" {
		return []string{"--refresh", d.refreshToken, ref}
	}
	return []string{"--user", alice + ":" + d.password, ref}
}

func (d *workspace) ctr(args ...string) output {
	d.t.Helper()
	return d.typed("", "ctr", append([]string{"--address", d.daemons.containerdSocket, "--namespace", "e2e"},
		args...)...)
}

func (d *workspace) mustCtr(args ...string) string {
	d.t.Helper()
	return d.ctr(args...).must(d.t)
}
