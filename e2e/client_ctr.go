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
	signIn: func(w *workspace, password string) output {
		w.password = password
		w.importImage()
		return w.ctr(append([]string{"image", "push", "--plain-http"}, w.withCredentials(w.ref())...)...)
	},
	postsPassword: true,
	refusal:       regexp.MustCompile(`(?i)authorization failed|unauthorized`),
	push: func(w *workspace) {
		w.importImage()
		w.mustCtr(append([]string{"image", "push", "--plain-http"}, w.withCredentials(w.ref())...)...)
	},
	pull: func(w *workspace) {
		w.mustCtr("image", "rm", "--sync", w.ref())
		// The native snapshotter copies; overlay may not work on the file system of the test's
		// folder.
		w.mustCtr(append([]string{"image", "pull", "--plain-http", "--snapshotter", "native"},
			w.withCredentials(w.ref())...)...)
		listed := w.mustCtr("image", "ls", "name=="+w.ref())
		if !strings.Contains(listed, w.im.digest) {
			w.t.Errorf("the image came back as\n%s\nwant digest %s", listed, w.im.digest)
		}
	},
}

func (w *workspace) importImage() {
	w.t.Helper()
	w.mustCtr("image", "import", "--snapshotter", "native", "--base-name", w.host+"/"+w.repo, w.im.archive)
}

func (w *workspace) withCredentials(ref string) []string {
	if w.refreshToken != "" {
		return []string{"--refresh", w.refreshToken, ref}
	}
	return []string{"--user", w.user + ":" + w.password, ref}
}

func (w *workspace) ctr(args ...string) output {
	w.t.Helper()
	return w.typed("", "ctr", append([]string{"--address", w.daemons.containerdSocket, "--namespace", "e2e"},
		args...)...)
}

func (w *workspace) mustCtr(args ...string) string {
	w.t.Helper()
	return w.ctr(args...).must(w.t)
}
