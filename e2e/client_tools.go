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
	signIn: func(d *workspace, password string) output {
		if o := d.typed(password, toolPath("crane"), "auth", "login", d.host, "-u", alice,
			"--password-stdin"); o.status != 0 {
			return o
		}
		return d.typed("", toolPath("crane"), "push", d.im.layout, d.ref())
	},
	refusal: regexp.MustCompile(`UNAUTHORIZED: `),
	push:    func(d *workspace) { d.must(toolPath("crane"), "push", d.im.layout, d.ref()) },
	pull: func(d *workspace) {
		back := d.fresh()
		d.must(toolPath("crane"), "pull", "--format", "oci", d.ref(), back)
		d.same("manifest", layoutDigest(d.t, back), d.im.digest)
	},
}

var oras = registryClient{
	name: "oras",
	need: needTool("oras"),
	signIn: func(d *workspace, password string) output {
		return d.typed(password, toolPath("oras"), "login", "--plain-http", "-u", alice, "--password-stdin", d.host)
	},
	refusal: regexp.MustCompile(`(?i)unauthorized`),
	push: func(d *workspace) {
		writeFile(d.t, d.path("marker.txt"), d.im.marker, 0o644)
		d.must(toolPath("oras"), "push", "--plain-http", d.ref(), "marker.txt")
	},
	pull: func(d *workspace) {
		back := d.fresh()
		d.must(toolPath("oras"), "pull", "--plain-http", "-o", back, d.ref())
		d.sameFile(filepath.Join(back, "marker.txt"), d.im.marker)
	},
}

var regctl = registryClient{
	name: "regctl",
	need: needTool("regctl"),
	signIn: func(d *workspace, password string) output {
		d.must(toolPath("regctl"), "registry", "set", "--tls", "disabled", "--skip-check", d.host)
		return d.typed(password, toolPath("regctl"), "registry", "login", "-u", alice, "--pass-stdin", d.host)
	},
	refusal: regexp.MustCompile(`(?i)unauthorized`),
	push: func(d *workspace) {
		d.must(toolPath("regctl"), "image", "copy", "ocidir://"+d.im.layout+":"+imageTag, d.ref())
	},
	pull: func(d *workspace) {
		back := d.fresh()
		d.must(toolPath("regctl"), "image", "copy", d.ref(), "ocidir://"+back+":"+imageTag)
		d.same("manifest", layoutDigest(d.t, back), d.im.digest)
	},
	// Its own file has priority over docker's.
	forget: func(d *workspace) { d.must(toolPath("regctl"), "registry", "logout", d.host) },
}

const chartVersion = "0.1.0"

var helm = registryClient{
	name: "helm",
	need: needTool("helm"),
	signIn: func(d *workspace, password string) output {
		return d.typed(password, toolPath("helm"), "registry", "login", "--plain-http", "-u", alice, "--password-stdin",
			d.host)
	},
	postsPassword: true,
	refusal:       regexp.MustCompile(`(?i)unauthorized`),
	push: func(d *workspace) {
		chart := d.path("marker")
		writeFile(d.t, filepath.Join(chart, "Chart.yaml"), "apiVersion: v2\nname: marker\nversion: "+chartVersion+"\n",
			0o644)
		writeFile(d.t, filepath.Join(chart, "marker.txt"), d.im.marker, 0o644)
		d.must(toolPath("helm"), "package", chart, "-d", d.dir)
		d.must(toolPath("helm"), "push", "--plain-http", d.chartFile(), "oci://"+d.host+"/"+d.repo)
	},
	pull: func(d *workspace) {
		back := d.fresh()
		d.must(toolPath("helm"), "pull", "--plain-http", "oci://"+d.host+"/"+d.repo+"/marker", "--version",
			chartVersion, "-d", back)
		pushed, err := os.ReadFile(d.chartFile())
		if err != nil {
			d.t.Fatal(err)
		}
		d.sameFile(filepath.Join(back, filepath.Base(d.chartFile())), string(pushed))
	},
}

func (d *workspace) chartFile() string { return d.path("marker-" + chartVersion + ".tgz") }

func (d *workspace) sameFile(path, want string) {
	d.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	if string(b) != want {
		d.t.Errorf("%s came back with other content: %d bytes, want %d", filepath.Base(path), len(b), len(want))
	}
}
