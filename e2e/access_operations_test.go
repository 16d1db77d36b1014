package e2e

import (
	"encoding/base64"
	"io/fs"
	"os"
	"os/exec"
	osuser "os/user"
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
	sc := &scenario{accountSet: everyone, s: newSite(t, o), dm: dm}
	sc.service, sc.directRealm = sc.s.serveHTTP(t)
	sc.tap, sc.realm = startTap(t, sc.directRealm)
	sc.r = startRegistry(t, registry, sc.s, sc.realm, trust{bundle: sc.s.certFile})
	return sc
}

// operation is one access to a registry.
type operation struct {
	as      string // short name, "" = logged out
	verb    string // push, pull, delete or list
	repo    string
	refused bool
}

// scope is what the client needs for the operation.
func (op operation) scope() string {
	switch op.verb {
	case "push":
		return "repository:" + op.repo + ":pull,push"
	case "list":
		return "registry:catalog:*"
	}
	return "repository:" + op.repo + ":" + op.verb
}

// tool is a registry client with one command per operation. Push and pull use the workspace's image
// and repository and may fail.
type tool struct {
	name     string
	need     func(t testing.TB)
	login    func(w *workspace, user, password string) output
	logout   func(w *workspace) output
	commands map[string]func(w *workspace) output
	// pulled is the digest of the manifest that the last pull brought.
	pulled func(w *workspace) string
}

var dockerTool = tool{
	name: "docker",
	need: func(t testing.TB) {
		needRoot(t, "dockerd")
		need(t, "docker", "docker", "dockerd", "containerd")
	},
	login: func(w *workspace, user, password string) output {
		return w.docker("docker", password, "login", "-u", user, "--password-stdin", w.host)
	},
	logout: func(w *workspace) output { return w.docker("docker", "", "logout", w.host) },
	commands: map[string]func(w *workspace) output{
		"push": func(w *workspace) output {
			w.mustDocker("docker", "import", w.im.rootfs, w.ref())
			defer w.mustDocker("docker", "image", "rm", w.ref())
			return w.docker("docker", "", "push", w.ref())
		},
		"pull": func(w *workspace) output { return w.docker("docker", "", "pull", w.ref()) },
	},
	pulled: func(w *workspace) string {
		defer w.mustDocker("docker", "image", "rm", w.ref())
		_, digest, _ := strings.Cut(w.mustDocker("docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}",
			w.ref()), "@")
		return strings.TrimSpace(digest)
	},
}

var skopeoTool = tool{
	name: "skopeo",
	need: skopeo.need,
	login: func(w *workspace, user, password string) output {
		return w.typed(password, "skopeo", "login", "--tls-verify=false", "-u", user, "--password-stdin", w.host)
	},
	logout: func(w *workspace) output { return w.typed("", "skopeo", "logout", w.host) },
	commands: map[string]func(w *workspace) output{
		"push": func(w *workspace) output {
			return w.typed("", "skopeo", "copy", "--dest-tls-verify=false", "oci:"+w.im.layout+":"+imageTag,
				"docker://"+w.ref())
		},
		"pull": func(w *workspace) output {
			if err := os.RemoveAll(w.path("pulled")); err != nil {
				w.t.Fatal(err)
			}
			return w.typed("", "skopeo", "copy", "--src-tls-verify=false", "docker://"+w.ref(), "dir:"+w.path("pulled"))
		},
		"delete": func(w *workspace) output {
			return w.typed("", "skopeo", "delete", "--tls-verify=false", "docker://"+w.ref())
		},
	},
	pulled: func(w *workspace) string { return digestOf([]byte(readFile(w.t, w.path("pulled", "manifest.json")))) },
}

var craneTool = tool{
	name: "crane",
	need: crane.need,
	login: func(w *workspace, user, password string) output {
		return w.typed(password, toolPath("crane"), "auth", "login", w.host, "-u", user, "--password-stdin")
	},
	logout: func(w *workspace) output { return w.typed("", toolPath("crane"), "auth", "logout", w.host) },
	commands: map[string]func(w *workspace) output{
		"push": func(w *workspace) output { return w.typed("", toolPath("crane"), "push", w.im.layout, w.ref()) },
		"pull": func(w *workspace) output {
			return w.typed("", toolPath("crane"), "pull", "--format", "oci", w.ref(), w.path("pulled"))
		},
		"list": func(w *workspace) output { return w.typed("", toolPath("crane"), "catalog", w.host) },
	},
	pulled: func(w *workspace) string { return layoutDigest(w.t, w.path("pulled")) },
}

// toolRun is one tool in one workspace, logged in as one account or logged out.
type toolRun struct {
	*scenario
	t         *testing.T
	tool      tool
	workspace *workspace
	as        string
}

func (sc *scenario) startTool(t *testing.T, h tool) *toolRun {
	t.Helper()
	h.need(t)
	sc.tap.take()
	return &toolRun{scenario: sc, t: t, tool: h, workspace: newWorkspace(t, sc.r.host, sc.tap, sc.dm)}
}

// logInAs logs in, or out for "".
func (tr *toolRun) logInAs(short string) {
	tr.t.Helper()
	if short == tr.as {
		return
	}
	var o output
	if short == "" {
		o = tr.tool.logout(tr.workspace)
	} else {
		o = tr.tool.login(tr.workspace, tr.name(tr.t, short), unixPassword)
	}
	if o.status != 0 {
		tr.t.Fatalf("%s: become %q: %v", tr.tool.name, short, o)
	}
	tr.as = short
	tr.tap.take()
}

// denied matches what clients print when a token does not permit an access.
var denied = regexp.MustCompile(`(?i)\bdenied\b|unauthorized|authentication required`)

// do runs an operation, checks its result, and checks that `dockerauth explain` predicts it.
func (tr *toolRun) do(op operation) output {
	tr.t.Helper()
	tr.logInAs(op.as)
	op.repo = tr.named(tr.t, op.repo)
	tr.workspace.repo = op.repo
	before := tr.r.stored(tr.t)
	o := tr.tool.commands[op.verb](tr.workspace)
	switch {
	case op.refused:
		tr.checkRefused(op, o, before)
	case o.status != 0:
		tr.t.Errorf("%+v: %v\nwant status 0", op, o)
	default:
		tr.checkDone(op)
	}
	// The registry refuses what the token does not grant: the service itself answers 200.
	if seen := tr.tap.take(); len(seen) == 0 || count(seen, wasGranted) != len(seen) {
		tr.t.Errorf("%+v: the token service was asked %+v, want requests that are answered with 200", op, seen)
	}
	tr.checkExplained(op)
	return o
}

func (tr *toolRun) checkRefused(op operation, o output, before string) {
	tr.t.Helper()
	if said := o.stdout + o.stderr; o.status == 0 || !denied.MatchString(said) {
		tr.t.Errorf("%+v: %v\nwant another status than 0 and %q", op, o, denied)
	}
	if after := tr.r.stored(tr.t); after != before {
		tr.t.Errorf("%+v was refused, but the registry stored\n%s\nand had before\n%s", op, after, before)
	}
}

func (tr *toolRun) checkDone(op operation) {
	tr.t.Helper()
	held := tr.r.tagged(op.repo)
	switch op.verb {
	case "push":
		if held == "" {
			tr.t.Errorf("%+v went well, but the registry has no such image", op)
		}
	case "pull":
		if got := tr.tool.pulled(tr.workspace); got != held || got == "" {
			tr.t.Errorf("%+v brought %q, want %q", op, got, held)
		}
	case "delete":
		if held != "" {
			tr.t.Errorf("%+v went well, but the registry still has %q", op, held)
		}
	}
}

// checkExplained compares with `dockerauth explain`, which looks up groups itself.
func (tr *toolRun) checkExplained(op operation) {
	tr.t.Helper()
	user := tr.name(tr.t, op.as)
	if user == "" {
		user = "anyone"
	}
	args := []string{"explain", "--config", tr.s.configFile, "--from", "127.0.0.1", "--service", tr.s.audience}
	if _, err := osuser.Lookup(user); err != nil {
		args = append(args, "--groups=") // an account of PAM alone
	}
	o := run(tr.t, "", exec.Command(binary(tr.t), append(args, user, op.scope())...))
	if want := map[bool]int{false: 0, true: 1}[op.refused]; o.status != want {
		tr.t.Errorf("%+v: explain: %v\nwant status %d", op, o, want)
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
func (w *workspace) useCredentials(user, password string) {
	w.t.Helper()
	w.writeCredentials(map[string]any{w.host: map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte(user +
		":" + password))}})
}
