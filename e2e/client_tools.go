package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Clients that scripts/build-tools makes.

func needTool(name string) func(t testing.TB) {
	return func(t testing.TB) {
		t.Helper()
		need(t, name+" (run scripts/build-tools)", toolPath(name))
	}
}

var crane = registryClient{
	name: "crane",
	need: needTool("crane"),
	// "crane auth login" stores the password without a request, so the first use shows the result.
	signIn: func(w *workspace, password string) output {
		if o := w.typed(password, toolPath("crane"), "auth", "login", w.host, "-u", w.user,
			"--password-stdin"); o.status != 0 {
			return o
		}
		return w.typed("", toolPath("crane"), "push", w.im.layout, w.ref())
	},
	refusal: regexp.MustCompile(`UNAUTHORIZED: `),
	push:    func(w *workspace) { w.must(toolPath("crane"), "push", w.im.layout, w.ref()) },
	pull: func(w *workspace) {
		back := w.fresh()
		w.must(toolPath("crane"), "pull", "--format", "oci", w.ref(), back)
		w.same("manifest", layoutDigest(w.t, back), w.im.digest)
	},
}

var oras = registryClient{
	name: "oras",
	need: needTool("oras"),
	signIn: func(w *workspace, password string) output {
		return w.typed(password, toolPath("oras"), "login", "--plain-http", "-u", w.user, "--password-stdin", w.host)
	},
	refusal: regexp.MustCompile(`(?i)unauthorized`),
	push: func(w *workspace) {
		writeFile(w.t, w.path("marker.txt"), w.im.marker, 0o644)
		w.must(toolPath("oras"), "push", "--plain-http", w.ref(), "marker.txt")
	},
	pull: func(w *workspace) {
		back := w.fresh()
		w.must(toolPath("oras"), "pull", "--plain-http", "-o", back, w.ref())
		w.sameFile(filepath.Join(back, "marker.txt"), w.im.marker)
	},
}

var regctl = registryClient{
	name: "regctl",
	need: needTool("regctl"),
	signIn: func(w *workspace, password string) output {
		w.must(toolPath("regctl"), "registry", "set", "--tls", "disabled", "--skip-check", w.host)
		return w.typed(password, toolPath("regctl"), "registry", "login", "-u", w.user, "--pass-stdin", w.host)
	},
	refusal: regexp.MustCompile(`(?i)unauthorized`),
	push: func(w *workspace) {
		w.must(toolPath("regctl"), "image", "copy", "ocidir://"+w.im.layout+":"+imageTag, w.ref())
	},
	pull: func(w *workspace) {
		back := w.fresh()
		w.must(toolPath("regctl"), "image", "copy", w.ref(), "ocidir://"+back+":"+imageTag)
		w.same("manifest", layoutDigest(w.t, back), w.im.digest)
	},
	// Its own file has priority over docker's.
	forget: func(w *workspace) { w.must(toolPath("regctl"), "registry", "logout", w.host) },
}

const chartVersion = "0.1.0"

var helm = registryClient{
	name: "helm",
	need: needTool("helm"),
	signIn: func(w *workspace, password string) output {
		return w.typed(password, toolPath("helm"), "registry", "login", "--plain-http", "-u", w.user,
			"--password-stdin", w.host)
	},
	postsPassword: true,
	refusal:       regexp.MustCompile(`(?i)unauthorized`),
	push: func(w *workspace) {
		chart := w.path("marker")
		writeFile(w.t, filepath.Join(chart, "Chart.yaml"), "apiVersion: v2\nname: marker\nversion: "+chartVersion+"\n",
			0o644)
		writeFile(w.t, filepath.Join(chart, "marker.txt"), w.im.marker, 0o644)
		w.must(toolPath("helm"), "package", chart, "-d", w.dir)
		w.must(toolPath("helm"), "push", "--plain-http", w.chartFile(), "oci://"+w.host+"/"+w.repo)
	},
	pull: func(w *workspace) {
		back := w.fresh()
		w.must(toolPath("helm"), "pull", "--plain-http", "oci://"+w.host+"/"+w.repo+"/marker",
			"--version", chartVersion, "-d", back)
		pushed, err := os.ReadFile(w.chartFile())
		if err != nil {
			w.t.Fatal(err)
		}
		w.sameFile(filepath.Join(back, filepath.Base(w.chartFile())), string(pushed))
	},
}

func (w *workspace) chartFile() string { return w.path("marker-" + chartVersion + ".tgz") }

func (w *workspace) sameFile(path, want string) {
	w.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if string(b) != want {
		w.t.Errorf("%s came back with other content: %d bytes, want %d", filepath.Base(path), len(b), len(want))
	}
}
