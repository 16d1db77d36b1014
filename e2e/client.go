package e2e

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// registryClient is a program that accesses a registry, with the command for each step.
type registryClient struct {
	name string
	need func(t testing.TB) // skips when it is missing

	// signIn gives it the user's name and this password and makes it use them once.
	signIn func(w *workspace, password string) output
	// refusal matches its message about a wrong password.
	refusal *regexp.Regexp
	// push and pull transfer the workspace's image and fail the test on an error; pull compares the
	// result.
	push, pull func(w *workspace)
	// forget removes what signIn left, where writing an identity token over it is not enough; nil =
	// nothing.
	forget func(w *workspace)
	// postsPassword: it tries POST with the password first and GET only when that is refused; the
	// others GET at once.
	postsPassword bool
	// chunks: its POST of a refresh token has no Content-Length.
	chunks bool
	// after runs what only this client does. It gets the token requests of push and pull; nil =
	// nothing.
	after func(w *workspace, seen []tokenRequest)
}

// workspace is the environment of one client in one test: a home folder, an image and a repository.
type workspace struct {
	t       testing.TB
	dir     string
	env     []string
	daemons *daemons
	tap     *tap
	host    string // of the registry
	user    string // name that it signs in with
	repo    string
	im      *image

	refreshToken string // once the client was given one
	password     string // for clients that remember none
	id           string // of the image, where the client gives it one of its own
}

// newWorkspace makes the folder and an environment with nothing but PATH of this process: no
// configuration, no credentials, no proxy.
func newWorkspace(t testing.TB, host string, tp *tap, dm *daemons) *workspace {
	t.Helper()
	dir := shortDir(t)
	w := &workspace{t: t, dir: dir, daemons: dm, tap: tp, host: host, user: alice, repo: "first/image"}
	w.im = makeImage(t, filepath.Join(dir, "image"))
	for _, sub := range []string{"home", "run", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Join(dir, "home")
	w.env = []string{
		"PATH=" + os.Getenv("PATH"),
		"LC_ALL=C",
		"HOME=" + home,
		"TMPDIR=" + filepath.Join(dir, "tmp"),
		"XDG_RUNTIME_DIR=" + filepath.Join(dir, "run"),
		"XDG_CONFIG_HOME=" + filepath.Join(home, "config"),
		"XDG_CACHE_HOME=" + filepath.Join(home, "cache"),
		"XDG_DATA_HOME=" + filepath.Join(home, "data"),
		// All clients read the format that docker introduced.
		"DOCKER_CONFIG=" + filepath.Dir(w.credentials()),
		"REGISTRY_AUTH_FILE=" + w.credentials(),
		"HELM_REGISTRY_CONFIG=" + w.credentials(),
		"REGCTL_CONFIG=" + filepath.Join(dir, "regctl.json"),
	}
	// Docker looks for the desktop's password store only if there is no entry at all.
	w.writeCredentials(map[string]any{"unused.example": map[string]any{}})
	return w
}

func (w *workspace) credentials() string {
	return filepath.Join(w.dir, "home", "docker", "config.json")
}

func (w *workspace) writeCredentials(auths map[string]any) {
	w.t.Helper()
	writeFile(w.t, w.credentials(), string(jsonOf(w.t, map[string]any{"auths": auths})), 0o600)
}

// useRefreshToken writes what `docker login` writes when the service issues a refresh token: the
// token, and no password.
func (w *workspace) useRefreshToken(token string) {
	w.t.Helper()
	w.refreshToken, w.password = token, ""
	w.writeCredentials(map[string]any{w.host: map[string]any{
		"auth":          base64.StdEncoding.EncodeToString([]byte(w.user + ":")),
		"identitytoken": token,
	}})
}

// ref is the image's name in the registry.
func (w *workspace) ref() string { return w.host + "/" + w.repo + ":" + imageTag }

// path is a path in the workspace.
func (w *workspace) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// fresh is an empty folder for what a client downloads.
func (w *workspace) fresh() string {
	w.t.Helper()
	dir, err := os.MkdirTemp(w.dir, "back-")
	if err != nil {
		w.t.Fatal(err)
	}
	return dir
}

func (w *workspace) typed(stdin, program string, args ...string) output {
	w.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = w.env
	cmd.Dir = w.dir
	return run(w.t, stdin, cmd)
}

// must runs a command that has to succeed.
func (w *workspace) must(program string, args ...string) {
	w.t.Helper()
	w.typed("", program, args...).must(w.t)
}

func (w *workspace) same(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s came back as %q, want %q", what, got, want)
	}
}

// registryClients are all of them; docker once for each docker command on PATH.
func registryClients() []registryClient {
	return append(dockers(), podman, skopeo, crane, oras, regctl, helm, ctr)
}
