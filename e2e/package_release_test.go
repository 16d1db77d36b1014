package e2e

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const releaseVersion = "1.2.3"

// releasedFiles are what "make release VERSION=1.2.3" makes, in the order of SHA256SUMS.
var releasedFiles = []string{
	"dockerauth-1.2.3-1.aarch64.rpm",
	"dockerauth-1.2.3-1.x86_64.rpm",
	"dockerauth-1.2.3-linux-amd64.cdx.json",
	"dockerauth-1.2.3-linux-amd64.tar.gz",
	"dockerauth-1.2.3-linux-arm64.cdx.json",
	"dockerauth-1.2.3-linux-arm64.tar.gz",
	"dockerauth_1.2.3_amd64.deb",
	"dockerauth_1.2.3_arm64.deb",
}

// arm64Root is a folder with the libraries of an arm64 Debian.
func arm64Root() string { return filepath.Join(workDir, "arm64") }

var release = sync.OnceValues(func() (folder string, err error) {
	folder = filepath.Join(workDir, "release")
	env := filepath.Join(workDir, "release.env")
	if err := os.WriteFile(env, []byte(releaseEnv), 0o644); err != nil {
		return "", err
	}
	cmd := exec.Command("../packaging/scripts/build", "--release", folder)
	cmd.Env = append(os.Environ(), "VERSION="+releaseVersion, "RELEASE_ENV="+env, "SYSROOT="+arm64Root())
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build a release: %v\n%s", err, msg)
	}
	return folder, nil
})

// releaseFolder holds a release, which is built once.
func releaseFolder(t testing.TB) string {
	t.Helper()
	need(t, "a release (Debian: gcc-aarch64-linux-gnu, mmdebstrap)", "gcc", "aarch64-linux-gnu-gcc", "mmdebstrap",
		"git", "go")
	folder, err := release()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// The second build has another folder, without git, and another time zone and umask. For arm64 its
// compiler has an empty cache: each architecture would take a minute.
func TestAReleaseIsTheSameBytesTwice(t *testing.T) {
	t.Parallel()
	first := releaseFolder(t)
	sums := readFile(t, filepath.Join(first, "SHA256SUMS"))
	var names []string
	for line := range strings.Lines(sums) {
		names = append(names, strings.Fields(line)[1])
	}
	if !slices.Equal(names, releasedFiles) {
		t.Errorf("a release is %q, want %q", names, releasedFiles)
	}
	checked := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	checked.Dir = first
	run(t, "", checked).must(t)

	dir := shortDir(t)
	again := exec.Command("sh", "-euc", `umask 077
		git ls-files -coz --exclude-standard | xargs -0 cp -P --parents -t "$DIR"
		export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) PATH="$BIN:$PATH"
		cd "$DIR"
		exec packaging/scripts/build --release "$DIR/dist"`)
	again.Dir = ".."
	compiler, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	bin := shortDir(t)
	script := fmt.Sprintf("#!/bin/sh\n[ \"$GOARCH\" != arm64 ] || export GOCACHE=%q\nexec %q \"$@\"\n",
		filepath.Join(bin, "cache"), compiler)
	writeFile(t, filepath.Join(bin, "go"), script, 0o755)
	again.Env = append(os.Environ(), "DIR="+dir, "BIN="+bin, "TZ=Asia/Tokyo", "LANG=de_DE.UTF-8",
		"VERSION="+releaseVersion, "RELEASE_ENV="+filepath.Join(workDir, "release.env"))
	run(t, "", again).must(t)
	if got := readFile(t, filepath.Join(dir, "dist", "SHA256SUMS")); got != sums {
		t.Errorf("built again:\n%s\nthe first time:\n%s", got, sums)
	}
}

// releasedProgram unpacks the program from a release's archive.
func releasedProgram(t *testing.T, arch string) string {
	t.Helper()
	name := "dockerauth-" + releaseVersion + "-linux-" + arch
	f, err := os.Open(filepath.Join(releaseFolder(t), name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("there is no program in %s", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Name != name+"/dockerauth" {
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return writeFile(t, filepath.Join(shortDir(t), "dockerauth"), string(content), 0o755)
	}
}

func TestAReleaseListsTheModulesOfItsPrograms(t *testing.T) {
	t.Parallel()
	for _, arch := range []string{"amd64", "arm64"} {
		program := releasedProgram(t, arch)
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"std " + info.GoVersion}
		for _, module := range info.Deps {
			want = append(want, module.Path+" "+module.Version)
		}
		var list struct {
			BOMFormat    string
			SerialNumber string
			Metadata     struct {
				Timestamp  string
				Component  struct{ Name, Version string }
				Properties []struct{ Name, Value string }
			}
			Components []struct{ Name, Version string }
		}
		file := filepath.Join(releaseFolder(t), "dockerauth-"+releaseVersion+"-linux-"+arch+".cdx.json")
		if err := json.Unmarshal([]byte(readFile(t, file)), &list); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range list.Components {
			got = append(got, c.Name+" "+c.Version)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || len(info.Deps) < 3 {
			t.Errorf("%s: the list has %q, the program %q", arch, got, want)
		}
		if list.BOMFormat != "CycloneDX" || list.Metadata.Component.Name != "dockerauth" ||
			list.Metadata.Component.Version != releaseVersion {
			t.Errorf("%s: the list is %+v", arch, list.Metadata)
		}
		if list.SerialNumber != "" || list.Metadata.Timestamp != "" {
			t.Errorf("%s: the list differs from build to build", arch)
		}
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(readFile(t, program))))
		if !slices.ContainsFunc(list.Metadata.Properties, func(p struct{ Name, Value string }) bool {
			return p.Name == "cdx:gomod:binary:hash:SHA-256" && p.Value == sum
		}) {
			t.Errorf("%s: the list is not that of the program with the sum %s", arch, sum)
		}
	}
}

func TestTheArm64PackagesAreForArm64(t *testing.T) {
	t.Parallel()
	need(t, "packages (Debian: dpkg, lintian, rpm)", "dpkg-deb", "lintian", "rpm")
	deb := filepath.Join(releaseFolder(t), "dockerauth_1.2.3_arm64.deb")
	fields := run(t, "", exec.Command("dpkg-deb", "-f", deb, "Architecture", "Version", "Depends"))
	const want = "Architecture: arm64\nVersion: 1.2.3\n" +
		"Depends: adduser, libc6 (>= 2.34), libpam-modules, libpam0g (>= 1.4.0)\n"
	if fields.stdout != want {
		t.Errorf("got\n%s\nwant\n%s", fields.stdout, want)
	}
	if o := run(t, "", exec.Command("lintian", "--fail-on", "error,warning", deb)); o.status != 0 || o.stdout != "" {
		t.Error(o)
	}
	rpm := filepath.Join(releaseFolder(t), "dockerauth-1.2.3-1.aarch64.rpm")
	if o := run(t, "", exec.Command("rpm", "-qp", "--qf", "%{ARCH}", rpm)); o.stdout != "aarch64" {
		t.Error(o)
	}
}

// The emulator cannot start the process that asks PAM, so this is a request without a password.
func TestTheArm64ProgramAnswers(t *testing.T) {
	t.Parallel()
	need(t, "arm64 (Debian: qemu-user)", "qemu-aarch64")
	program := releasedProgram(t, "arm64")
	emulated := func(env []string, args ...string) output {
		cmd := exec.Command("qemu-aarch64", append([]string{"-L", arm64Root(), program}, args...)...)
		cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, env...)
		return run(t, "", cmd)
	}
	if o := emulated(nil, "version"); o.stdout != "dockerauth "+releaseVersion+"\n" {
		t.Fatal(o)
	}
	if o := emulated(nil, "check", "--help"); o.status != 0 || !strings.Contains(o.stdout, "--registry-config") {
		t.Error(o)
	}

	s := newSite(t, siteOptions{
		extra: "access:\n  - allow: [pull]\n    repositories: [\"public/**\"]\n    to: [anyone]\n",
	})
	mustRun(t, "cp", program, filepath.Join(s.dir, "dockerauth")) // beside config.yml
	program = filepath.Join(s.dir, "dockerauth")
	query := "service=" + s.audience + "&scope=repository:public/app:pull"
	o := emulated([]string{"GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1", "REQUEST_METHOD=GET",
		"SERVER_NAME=auth.example", "SERVER_PORT=443", "SCRIPT_NAME=/dockerauth", "PATH_INFO=/docker/v2/token",
		"REQUEST_URI=/dockerauth/docker/v2/token?" + query, "QUERY_STRING=" + query, "REMOTE_ADDR=127.0.0.1"})
	head, body, _ := strings.Cut(strings.ReplaceAll(o.stdout, "\r\n", "\n"), "\n\n")
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || !strings.HasPrefix(head, "Status: 200") ||
		strings.Count(answer.Token, ".") != 2 {
		t.Error(o)
	}
}
