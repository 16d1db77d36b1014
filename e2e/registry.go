package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// registryKind names a registry that verifies dockerauth's tokens.
type registryKind string

const (
	registry28 registryKind = "registry 2.8" // Debian's docker-registry
	registry31 registryKind = "registry 3.1" // distribution v3, from tools/registry3
)

// registryServer is a registry on a loopback port with its files in a folder of the test's own.
type registryServer struct {
	kind registryKind
	host string // localhost:port, as in image names
	p    *process
}

// trust is what a registry knows about the signing key.
type trust struct {
	bundle string // rootcertbundle
	jwks   string // jwks, 3.x only
}

// toolPath is a program that scripts/build-tools makes, since Debian has no package of it.
func toolPath(name string) string {
	dir := os.Getenv("E2E_TOOLS")
	if dir == "" {
		dir = filepath.Join(".cache", "bin")
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return name
	}
	return path
}

func needRegistry(t testing.TB, kind registryKind) {
	t.Helper()
	if kind == registry28 {
		need(t, "registry 2.8 (Debian: docker-registry)", "docker-registry")
		return
	}
	need(t, "registry 3.1 (run scripts/build-tools)", toolPath("registry3"))
}

// startRegistry starts a registry that sends its clients to realm and accepts the site's tokens.
func startRegistry(t testing.TB, kind registryKind, s *site, realm string, key trust) *registryServer {
	t.Helper()
	r := launchRegistry(t, kind, s, realm, key)
	r.p.ready(t, "tcp", r.host)
	return r
}

// launchRegistry starts it without waiting, since it may refuse its configuration.
func launchRegistry(t testing.TB, kind registryKind, s *site, realm string, key trust) *registryServer {
	t.Helper()
	return launchRegistryWith(t, kind, authSection(s, realm, key))
}

// launchRegistryWith starts a registry whose configuration ends with the section auth.
func launchRegistryWith(t testing.TB, kind registryKind, auth string) *registryServer {
	t.Helper()
	needRegistry(t, kind)
	dir := shortDir(t)
	host := fmt.Sprintf("localhost:%d", freePort(t))
	config := writeFile(t, filepath.Join(dir, "config.yml"), registryConfig(dir, host)+auth, 0o644)
	program := "docker-registry"
	if kind == registry31 {
		program = toolPath("registry3")
	}
	cmd := exec.Command(program, "serve", config)
	// 3.x exports traces to a collector by default, and would wait for it at the end.
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	return &registryServer{kind: kind, host: host, p: start(t, string(kind), cmd)}
}

func registryConfig(dir, host string) string {
	return fmt.Sprintf(`version: 0.1
log:
  level: info
  accesslog: {disabled: true}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http:
  addr: %q
  secret: not-shared-with-another
`, filepath.Join(dir, "storage"), host)
}

func authSection(s *site, realm string, key trust) string {
	var b strings.Builder
	fmt.Fprintf(&b, `auth:
  token:
    realm: %q
    service: %q
    issuer: %q
`, realm, s.audience, s.issuer)
	if key.bundle != "" {
		fmt.Fprintf(&b, "    rootcertbundle: %q\n", key.bundle)
	}
	if key.jwks != "" {
		fmt.Fprintf(&b, "    jwks: %q\n", key.jwks)
	}
	return b.String()
}

// ask sends a request without a body, with a token unless it is empty, and returns the status and
// the challenge.
func (r *registryServer) ask(t testing.TB, method, path, token string) (status int, challenge string) {
	t.Helper()
	q, err := http.NewRequest(method, "http://"+r.host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	return a.StatusCode, a.Header.Get("WWW-Authenticate")
}
