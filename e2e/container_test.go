package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// containerImages are the base images, which no test pulls. Substitutes with the same names are
// made of Debian packages, this machine's Go and the registry of tools/registry3. They cannot show
// what the real images have or lack in addition.
const (
	debianImage   = "debian:12.11-slim"
	golangImage   = "golang:1.26.8-bookworm"
	registryImage = "registry:3.1.2"
)

// installFixture is a copy of the source tree, a container engine, and the commands for the folder
// of the container example.
type installFixture struct {
	t       *testing.T
	dir     string // packaging/container in the copy
	env     []string
	address string // address of the service
	realm   string
	images  string // registry, as it stands in image names
}

func TestTheComposeFileIsValid(t *testing.T) {
	need(t, "the compose file", "docker-compose")
	if o := run(t, "", exec.Command("docker-compose", "-f", "../packaging/container/compose.yml", "config",
		"--quiet")); o.status != 0 {
		t.Error(o)
	}
}

// The commands in docs/container.md build the image and start both services, and a docker
// client logs in, pushes and pulls.
func TestTheContainerExampleWorksAsWritten(t *testing.T) {
	t.Parallel()
	needRoot(t, "containers")
	need(t, "containers (Debian: docker.io, docker-compose, mmdebstrap)", "containerd", "dockerd", "docker",
		"docker-compose", "mmdebstrap", "openssl")
	needRegistry(t, registry31)
	leaveAsFound(t, outsidePaths)
	y := newInstallFixture(t)
	y.makeDebian()
	if o := y.typed("docker", "run", "--rm", "--network", "none", debianImage, "true"); o.status != 0 {
		missing(t, "NOT TESTED: this engine cannot run containers, so the example was neither built nor started: %v", o)
	}
	y.makeGolang()
	y.makeRegistry()
	blocks := y.typedBlocks()
	for _, name := range []string{"init", "accounts"} {
		y.shell(blocks[name])
	}
	y.checkImages()
	y.shell(blocks["up"])
	t.Cleanup(func() { y.must("docker-compose", "down", "--volumes") })
	y.awaitHealthy()

	if got := strings.TrimSpace(y.must("docker-compose", "exec", "-T", "dockerauth", "id", "-u")); got != "10001" {
		t.Errorf("the service runs as user %s", got)
	}
	if o := y.login("wrong"); o.status == 0 {
		t.Errorf("a wrong password: %v", o)
	}
	y.login(alicePassword).must(t)
	ref := y.images + "/alice/app:" + imageTag
	y.must("docker", "tag", registryImage, ref)
	y.must("docker", "push", ref)
	y.must("docker", "image", "rm", ref)
	y.must("docker", "pull", ref)
	y.checkRemoval(blocks["accounts"])
}

func newInstallFixture(t *testing.T) *installFixture {
	t.Helper()
	root := shortDir(t)
	run(t, "", exec.Command("sh", "-c",
		`tar -C .. --exclude=./.git --exclude=./e2e --exclude=./dist -cf - . | tar -C "$0" -xf -`,
		root)).must(t)
	dm, dir := &daemons{}, shortDir(t)
	dm.containerdSocket, dm.dockerSocket = filepath.Join(dir, "c.sock"), filepath.Join(dir, "d.sock")
	dm.startContainerd(t, dir)
	dm.startDockerd(t, dir)
	y := &installFixture{t: t, dir: filepath.Join(root, "packaging/container")}
	y.address, y.images = fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("localhost:%d", freePort(t))
	y.realm = "http://" + strings.Replace(y.address, "127.0.0.1", "localhost", 1) + "/docker/v2/token"
	y.compose()
	// The engine's own builder, which needs no plugin.
	y.env = append(os.Environ(), "DOCKER_HOST=unix://"+dm.dockerSocket, "DOCKER_CONFIG="+filepath.Join(dir, "config"),
		"HOME="+dir, "DOCKER_BUILDKIT=0",
		"COMPOSE_DOCKER_CLI_BUILD=0", "COMPOSE_PROJECT_NAME=e2e", "COMPOSE_FILE=compose.yml:test.yml")
	return y
}

// compose changes the ports and lets the build use this machine's network: the engine runs without
// firewall rules, so containers have no network.
func (y *installFixture) compose() {
	file := filepath.Join(y.dir, "compose.yml")
	text := readFile(y.t, file)
	for _, r := range [][2]string{{"127.0.0.1:5002:", y.address + ":"},
		{"127.0.0.1:5000:", strings.Replace(y.images, "localhost", "127.0.0.1", 1) + ":"},
		{"http://localhost:5002/docker/v2/token", y.realm}} {
		if !strings.Contains(text, r[0]) {
			y.t.Fatalf("compose.yml does not say %q", r[0])
		}
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	writeFile(y.t, file, text, 0o644)
	writeFile(y.t, filepath.Join(y.dir, "test.yml"), "services:\n  dockerauth:\n    build:\n      network: host\n",
		0o644)
}

func (y *installFixture) typed(program string, args ...string) output {
	y.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = y.dir, y.env
	return run(y.t, "", cmd)
}

func (y *installFixture) must(program string, args ...string) string {
	y.t.Helper()
	return y.typed(program, args...).must(y.t)
}

func (y *installFixture) shell(text string) {
	y.t.Helper()
	y.must("sh", "-eu", "-c", text)
}

func (y *installFixture) login(password string) output {
	y.t.Helper()
	cmd := exec.Command("docker", "login", "--username", alice, "--password-stdin", y.images)
	cmd.Dir, cmd.Env = y.dir, y.env
	return run(y.t, password, cmd)
}

func (y *installFixture) makeDebian() {
	y.t.Helper()
	tar := filepath.Join(y.dir, "base.tar")
	y.must("mmdebstrap", "--quiet", "--variant=minbase", "bookworm", tar)
	y.must("docker", "import", tar, debianImage)
	if err := os.Remove(tar); err != nil {
		y.t.Fatal(err)
	}
}

// build builds an image from a folder with a Dockerfile.
func (y *installFixture) build(dir, dockerfile, image string) {
	y.t.Helper()
	y.must("docker", "build", "--network", "host", "-q", "-t", image,
		"-f", writeFile(y.t, filepath.Join(shortDir(y.t), "Dockerfile"), dockerfile, 0o644), dir)
}

// makeGolang adds the CA certificates that this machine trusts, since the module proxy may use its
// own CA.
func (y *installFixture) makeGolang() {
	y.t.Helper()
	dir := shortDir(y.t)
	writeFile(y.t, filepath.Join(dir, "ca.crt"), readFile(y.t, "/etc/ssl/certs/ca-certificates.crt"), 0o644)
	y.build(dir, "FROM "+debianImage+`
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
ENV GOPATH=/go PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
`, "gcc")
	y.build(strings.TrimSpace(y.must("go", "env", "GOROOT")), "FROM gcc\nCOPY . /usr/local/go\n", golangImage)
}

func (y *installFixture) makeRegistry() {
	y.t.Helper()
	dir := shortDir(y.t)
	install(y.t, toolPath("registry3"), filepath.Join(dir, "registry"))
	writeFile(y.t, filepath.Join(dir, "config.yml"),
		"version: 0.1\nstorage:\n  filesystem: {rootdirectory: /var/lib/registry}\nhttp:\n  addr: :5000\n", 0o644)
	y.build(dir, "FROM "+debianImage+`
COPY registry /bin/registry
COPY config.yml /etc/distribution/config.yml
ENTRYPOINT ["registry", "serve"]
CMD ["/etc/distribution/config.yml"]
`, registryImage)
}

// typedBlocks is the commands in docs/container.md, with a password where they ask for one.
func (y *installFixture) typedBlocks() map[string]string {
	y.t.Helper()
	blocks := make(map[string]string)
	for _, b := range blocksOf(y.t, "../docs/container.md") {
		blocks[b.name] = strings.ReplaceAll(b.text, "openssl passwd -6", "openssl passwd -6 "+alicePassword)
	}
	if len(blocks) != 3 || !strings.Contains(blocks["accounts"], alicePassword) {
		y.t.Fatalf("docs/container.md has the blocks %v: was one renamed?", blocks)
	}
	return blocks
}

// checkImages looks for keys and accounts: their folder is part of the build context.
func (y *installFixture) checkImages() {
	y.t.Helper()
	if !found(filepath.Join(y.dir, "config/privkey.pem")) {
		y.t.Fatal("there was no key beside the compose file when the image was built")
	}
	envs := y.must("docker", "image", "ls", "-q", "--filter", "dangling=true") // where it was compiled
	final := y.must("docker", "image", "ls", "-q", "--filter", "reference=dockerauth")
	if envs == "" || final == "" {
		y.t.Fatalf("there are no images to look into: %q and %q", envs, final)
	}
	for image := range strings.Lines(envs + final) {
		list := y.typed("docker", "run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "find",
			strings.TrimSpace(image), "/src", "/etc/dockerauth", "/usr/bin/dockerauth", "(",
			"-name", "*.pem", "-o", "-name", "accounts*", "-o", "-path", "*/container/*", ")")
		for name := range strings.Lines(list.stdout) {
			if name != "/src/packaging/container/pam\n" && !strings.HasSuffix(name, ".go\n") {
				y.t.Errorf("an image holds %s", name)
			}
		}
	}
}

func (y *installFixture) awaitHealthy() {
	y.t.Helper()
	id := strings.TrimSpace(y.must("docker-compose", "ps", "-q", "dockerauth"))
	var state string
	err := poll(readyWithin, func() (bool, error) {
		state = strings.TrimSpace(y.must("docker", "inspect", "--format", "{{.State.Health.Status}}", id))
		return state == "healthy", nil
	})
	if err != nil {
		y.t.Fatalf("the container is %q: %v\n%s", state, err, y.must("docker-compose", "logs"))
	}
	err = poll(readyWithin, func() (bool, error) { // the registry has no check of its health
		response, err := http.Get("http://" + y.images + "/v2/")
		if err == nil {
			response.Body.Close()
		}
		return err == nil, nil
	})
	if err != nil {
		y.t.Fatalf("the registry does not answer: %v\n%s", err, y.must("docker-compose", "logs"))
	}
}

// checkRemoval removes the account from the accounts file. Its refresh token is refused once
// pam.cache has expired.
func (y *installFixture) checkRemoval(accounts string) {
	y.t.Helper()
	ask := func(request string) (int, tokenAnswer) {
		answer, body, err := exchange("", y.address, request)
		if err != nil {
			y.t.Fatal(err)
		}
		var got tokenAnswer
		_ = json.Unmarshal(body, &got)
		return answer.StatusCode, got
	}
	form := func(form string) string {
		return fmt.Sprintf("POST /docker/v2/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form)
	}
	status, got := ask(form("grant_type=password&access_type=offline&username=alice&password=" + alicePassword))
	if status != http.StatusOK || got.RefreshToken == nil {
		y.t.Fatalf("no refresh token: status %d", status)
	}
	refresh := form("grant_type=refresh_token&refresh_token=" + *got.RefreshToken)
	if status, _ := ask(refresh); status != http.StatusOK {
		y.t.Fatalf("the refresh token: status %d", status)
	}
	y.shell(strings.Replace(accounts, "echo alice", "echo carol", 1))
	eventually(y.t, readyWithin, "the refresh token of an account that is gone to be refused", func() bool {
		status, _ := ask(refresh)
		return status == http.StatusUnauthorized
	})
}
