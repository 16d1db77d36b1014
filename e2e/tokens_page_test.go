package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/tokens.md says to type makes a token that clients use, until it is taken back.
func TestTheDocumentedTokensAreUsedAndTakenBack(t *testing.T) {
	t.Parallel()
	need(t, "tokens of clients (Debian: docker.io, skopeo)", "docker", "skopeo")
	s := newSite(t, siteOptions{certificate: true, extra: "state: state\n"})
	if err := os.Mkdir(filepath.Join(s.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, realm := s.serveHTTP(t)
	r := startRegistry(t, registry31, s, realm, trust{bundle: s.certFile})
	w := newWorkspace(t, r.host, nil, nil)
	here := strings.NewReplacer(
		"dockerauth token", "'"+binary(t)+"' token",
		"registry.example.com", r.host,
		"skopeo login", "skopeo login --tls-verify=false",
		"skopeo inspect", "skopeo inspect --tls-verify=false",
	)
	typed := func(name string) output {
		text := here.Replace(blockOf(t, "../docs/tokens.md", "run", name))
		text = regexp.MustCompile(`' token \w+`).ReplaceAllString(text, "$0 --config '"+s.configFile+"'")
		return w.typed("", "sh", "-euc", text)
	}
	copyTo := func(repository string) output {
		return w.typed("", "skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:"+w.im.layout+":"+imageTag,
			"docker://"+r.host+"/"+repository+":1")
	}
	id := func(file string) string { return readFile(t, w.path(file))[4:14] }

	typed("issue").must(t)
	if said := typed("docker").must(t); !strings.Contains(said, "Login Succeeded") {
		t.Errorf("docker says %q", said)
	}
	if strings.Contains(readFile(t, w.credentials()), "identitytoken") {
		t.Error("docker was given a refresh token")
	}
	copyTo("ci/app").must(t)
	if o := copyTo("other/app"); o.status == 0 || !strings.Contains(o.stderr, "denied") {
		t.Errorf("a push beyond the scope: %v", o)
	}
	if o := typed("skopeo"); !strings.Contains(o.must(t), `"Digest": "`) {
		t.Error(o)
	}
	typed("pull-secret").must(t)
	if list := typed("list").must(t); !strings.Contains(list, id("jenkins.token")+"  robot  alice+jenkins  ") {
		t.Errorf("the list is\n%s", list)
	}

	old := readFile(t, w.path("jenkins.token"))
	typed("rotate").must(t)
	if readFile(t, w.path("jenkins.token")) == old {
		t.Error("there is no new token")
	}
	typed("skopeo").must(t)
	typed("revoke").must(t)
	if o := typed("skopeo"); o.status == 0 {
		t.Errorf("a revoked token: %v", o)
	}
	if err := os.WriteFile(w.path("jenkins.token"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := typed("rotate"); o.status == 0 || readFile(t, w.path("jenkins.token")) != old {
		t.Errorf("a second rotation of a token: %v", o)
	}
	typed("skopeo").must(t) // for the overlap
	typed("revoke-user").must(t)
	if o := typed("skopeo"); o.status == 0 {
		t.Errorf("a token of an account that had all taken back: %v", o)
	}
	typed("issue").must(t)
	if info, err := os.Stat(w.path("jenkins.token")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the token: %v, %v", info.Mode(), err)
	}
	typed("skopeo").must(t)
	typed("revoke-all").must(t)
	if o := typed("skopeo"); o.status == 0 {
		t.Errorf("a token after all were taken back: %v", o)
	}
	for path, text := range filesBelow(t, s.dir) {
		if strings.Contains(text, readFile(t, w.path("jenkins.token"))[4:41]) {
			t.Errorf("%s has a token", path)
		}
	}
}
