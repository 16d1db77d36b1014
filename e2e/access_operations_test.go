package e2e

import (
	"encoding/base64"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// scenario is a service with access rules and the registry that it serves. Its cases run one after
// another, so that everything the tap and the registry see in between belongs to the case.
type scenario struct {
	accountSet
	s           *site
	service     *process
	directRealm string // the realm of the service itself, past the tap
	realm       string
	tap         *tap
	r           *registryServer
	dm          *daemons
}

func openScenario(t testing.TB, registry registryKind, everyone accountSet, o siteOptions, dm *daemons) *scenario {
	t.Helper()
	needRegistry(t, registry)
	o.certificate = true
	o.accounts = everyone.passwords()
	l := &scenario{accountSet: everyone, s: newSite(t, o), dm: dm}
	l.service, l.directRealm = l.s.serveHTTP(t)
	l.tap, l.realm = startTap(t, l.directRealm)
	l.r = startRegistry(t, registry, l.s, l.realm, trust{bundle: l.s.certFile})
	return l
}

// operation is one access to a registry.
type operation struct {
	as      string // short name, "" = logged out
	verb    string // push, pull, delete or list
	repo    string
	refused bool
}

// scope is what the client needs for the operation.
func (a operation) scope() string {
	switch a.verb {
	case "push":
		return "repository:" + a.repo + ":pull,push"
	case "list":
		return "registry:catalog:*"
	}
	return "repository:" + a.repo + ":" + a.verb
}

// tool is a registry client with one command per operation. Push and pull use the workspace's image
// and repository and may fail.
type tool struct {
	name     string
	need     func(t testing.TB)
	login    func(d *workspace, user, password string) output
	logout   func(d *workspace) output
	commands map[string]func(d *workspace) output
	// pulled is the digest of the manifest that the last pull brought.
	pulled func(d *workspace) string
}

var dockerTool = tool{
	name: "docker",
	need: func(t testing.TB) {
		needRoot(t, "dockerd")
		need(t, "docker", "docker", "dockerd", "containerd")
	},
	login: func(d *workspace, user, password string) output {
		return d.docker("docker", password, "login", "-u", user, "--password-stdin", d.host)
	},
	logout: func(d *workspace) output { return d.docker("docker", "", "logout", d.host) },
	commands: map[string]func(d *workspace) output{
		"push": func(d *workspace) output {
			d.mustDocker("docker", "import", d.im.rootfs, d.ref())
			defer d.mustDocker("docker", "image", "rm", d.ref())
			return d.docker("docker", "", "push", d.ref())
		},
		"pull": func(d *workspace) output { return d.docker("docker", "", "pull", d.ref()) },
	},
	pulled: func(d *workspace) string {
		defer d.mustDocker("docker", "image", "rm", d.ref())
		_, digest, _ := strings.Cut(d.mustDocker("docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}",
			d.ref()), "@")
		return strings.TrimSpace(digest)
	},
}

var skopeoTool = tool{
	name: "skopeo",
	need: skopeo.need,
	login: func(d *workspace, user, password string) output {
		return d.typed(password, "skopeo", "login", "--tls-verify=false", "-u", user, "--password-stdin", d.host)
	},
	logout: func(d *workspace) output { return d.typed("", "skopeo", "logout", d.host) },
	commands: map[string]func(d *workspace) output{
		"push": func(d *workspace) output {
			return d.typed("", "skopeo", "copy", "--dest-tls-verify=false", "oci:"+d.im.layout+":"+imageTag,
				"docker://"+d.ref())
		},
		"pull": func(d *workspace) output {
			if err := os.RemoveAll(d.path("pulled")); err != nil {
				d.t.Fatal(err)
			}
			return d.typed("", "skopeo", "copy", "--src-tls-verify=false", "docker://"+d.ref(), "dir:"+d.path("pulled"))
		},
		"delete": func(d *workspace) output {
			return d.typed("", "skopeo", "delete", "--tls-verify=false", "docker://"+d.ref())
		},
	},
	pulled: func(d *workspace) string { return digestOf([]byte(readFile(d.t, d.path("pulled", "manifest.json")))) },
}

var craneTool = tool{
	name: "crane",
	need: crane.need,
	login: func(d *workspace, user, password string) output {
		return d.typed(password, toolPath("crane"), "auth", "login", d.host, "-u", user, "--password-stdin")
	},
	logout: func(d *workspace) output { return d.typed("", toolPath("crane"), "auth", "logout", d.host) },
	commands: map[string]func(d *workspace) output{
		"push": func(d *workspace) output { return d.typed("", toolPath("crane"), "push", d.im.layout, d.ref()) },
		"pull": func(d *workspace) output {
			return d.typed("", toolPath("crane"), "pull", "--format", "oci", d.ref(), d.path("pulled"))
		},
		"list": func(d *workspace) output { return d.typed("", toolPath("crane"), "catalog", d.host) },
	},
	pulled: func(d *workspace) string { return layoutDigest(d.t, d.path("pulled")) },
}

// toolRun is one tool in one workspace, logged in as one account or logged out.
type toolRun struct {
	*scenario
	t         *testing.T
	tool      tool
	workspace *workspace
	as        string
}

func (l *scenario) startTool(t *testing.T, h tool) *toolRun {
	t.Helper()
	h.need(t)
	l.tap.take()
	return &toolRun{scenario: l, t: t, tool: h, workspace: newWorkspace(t, l.r.host, l.tap, l.dm)}
}

// logInAs logs in, or out for "".
func (w *toolRun) logInAs(short string) {
	w.t.Helper()
	if short == w.as {
		return
	}
	var o output
	if short == "" {
		o = w.tool.logout(w.workspace)
	} else {
		o = w.tool.login(w.workspace, w.name(w.t, short), unixPassword)
	}
	if o.status != 0 {
		w.t.Fatalf("%s: become %q: %v", w.tool.name, short, o)
	}
	w.as = short
	w.tap.take()
}

// denied matches what clients print when a token does not permit an access.
var denied = regexp.MustCompile(`(?i)\bdenied\b|unauthorized|authentication required`)

// do runs an operation, checks its result, and checks that `dockerauth explain` predicts it.
func (w *toolRun) do(a operation) output {
	w.t.Helper()
	w.logInAs(a.as)
	a.repo = w.named(w.t, a.repo)
	w.workspace.repo = a.repo
	before := w.r.stored(w.t)
	o := w.tool.commands[a.verb](w.workspace)
	switch {
	case a.refused:
		w.checkRefused(a, o, before)
	case o.status != 0:
		w.t.Errorf("%+v: %v\nwant status 0", a, o)
	default:
		w.checkDone(a)
	}
	// The registry refuses what the token does not grant: the service itself answers 200.
	if seen := w.tap.take(); len(seen) == 0 || count(seen, wasGranted) != len(seen) {
		w.t.Errorf("%+v: the token service was asked %+v, want requests that are answered with 200", a, seen)
	}
	w.checkExplained(a)
	return o
}

func (w *toolRun) checkRefused(a operation, o output, before string) {
	w.t.Helper()
	if said := o.stdout + o.stderr; o.status == 0 || !denied.MatchString(said) {
		w.t.Errorf("%+v: %v\nwant another status than 0 and %q", a, o, denied)
	}
	if after := w.r.stored(w.t); after != before {
		w.t.Errorf("%+v was refused, but the registry stored\n%s\nand had before\n%s", a, after, before)
	}
}

func (w *toolRun) checkDone(a operation) {
	w.t.Helper()
	held := w.r.tagged(a.repo)
	switch a.verb {
	case "push":
		if held == "" {
			w.t.Errorf("%+v went well, but the registry has no such image", a)
		}
	case "pull":
		if got := w.tool.pulled(w.workspace); got != held || got == "" {
			w.t.Errorf("%+v brought %q, want %q", a, got, held)
		}
	case "delete":
		if held != "" {
			w.t.Errorf("%+v went well, but the registry still has %q", a, held)
		}
	}
}

// checkExplained compares with `dockerauth explain`, which looks up groups itself.
func (w *toolRun) checkExplained(a operation) {
	w.t.Helper()
	user := w.name(w.t, a.as)
	if user == "" {
		user = "anyone"
	}
	o := run(w.t, "", exec.Command(binary(w.t), "explain", "--config", w.s.configFile, "--from", "127.0.0.1",
		"--service", w.s.audience, user, a.scope()))
	if want := map[bool]int{false: 0, true: 1}[a.refused]; o.status != want {
		w.t.Errorf("%+v: explain: %v\nwant status %d", a, o, want)
	}
}

// storage is the registry's data folder.
func (r *registryServer) storage() string {
	return filepath.Join(filepath.Dir(r.p.cmd.Args[len(r.p.cmd.Args)-1]), "storage", "docker", "registry", "v2")
}

// stored lists everything in the registry with the targets of its links, including unfinished
// uploads.
func (r *registryServer) stored(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	err := fs.WalkDir(os.DirFS(r.storage()), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if path == "." {
				return nil // nothing was ever pushed
			}
			return err
		}
		b.WriteString(path)
		if e.Name() == "link" {
			content, err := os.ReadFile(filepath.Join(r.storage(), path))
			if err != nil {
				return err
			}
			b.WriteString(" " + string(content))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// tagged is the registry's digest for the tag that all images here have, "" = none (distribution,
// registry/storage/paths.go).
func (r *registryServer) tagged(repo string) string {
	b, err := os.ReadFile(filepath.Join(r.storage(), "repositories", repo, "_manifests", "tags", imageTag, "current",
		"link"))
	if err != nil {
		return ""
	}
	return string(b)
}

// useCredentials writes credentials without a login, so they have not been tried.
func (d *workspace) useCredentials(user, password string) {
	d.t.Helper()
	d.writeCredentials(map[string]any{d.host: map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte(user +
		":" + password))}})
}
