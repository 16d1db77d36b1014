package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Two versions of the package, built from this tree. To dpkg and rpm the first is older.
const (
	olderVersion = "1.0.0~e2e"
	newerVersion = "1.0.0"
)

// releaseEnv stands in for packaging/release.env, without a placeholder: such a version is marked.
const releaseEnv = `MAINTAINER_NAME="End to end"
MAINTAINER_EMAIL=e2e@dockerauth.test
HOMEPAGE=https://dockerauth.test/
SECURITY_CONTACT=e2e@dockerauth.test
`

// packages builds deb, rpm and archive once for each version.
var packages = map[string]func() (string, error){
	olderVersion: sync.OnceValues(func() (string, error) { return buildPackages(olderVersion) }),
	newerVersion: sync.OnceValues(func() (string, error) { return buildPackages(newerVersion) }),
}

func buildPackages(version string) (folder string, err error) {
	folder = filepath.Join(workDir, "packages-"+version)
	release := filepath.Join(workDir, "release-"+version)
	if err := os.WriteFile(release, []byte(releaseEnv), 0o644); err != nil {
		return "", err
	}
	cmd := exec.Command("../packaging/scripts/build", folder)
	cmd.Env = append(os.Environ(), "VERSION="+version, "RELEASE_ENV="+release)
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build packages: %v\n%s", err, msg)
	}
	return folder, nil
}

// packageFile is one of the three files of a version, by the end of its name.
func packageFile(t testing.TB, version, ending string) string {
	t.Helper()
	need(t, "packages", "gcc", "objdump", "git", "go")
	folder, err := packages[version]()
	if err != nil {
		t.Fatal(err)
	}
	names := glob(t, filepath.Join(folder, "*"+ending))
	if len(names) != 1 {
		t.Fatalf("files that end in %s: %q, want one", ending, names)
	}
	return names[0]
}

func TestLintianFindsNothingInTheDebianPackage(t *testing.T) {
	t.Parallel()
	need(t, "lintian", "lintian")
	if o := run(t, "", exec.Command("lintian", "--fail-on", "error,warning",
		packageFile(t, olderVersion, ".deb"))); o.status != 0 || o.stdout != "" {
		t.Error(o)
	}
}

// The pages lie beside other files in the package than in the source tree.
func TestLinksInThePackagedPagesLeadSomewhere(t *testing.T) {
	t.Parallel()
	need(t, "dpkg-deb", "dpkg-deb")
	root := t.TempDir()
	run(t, "", exec.Command("dpkg-deb", "-x", packageFile(t, olderVersion, ".deb"), root)).must(t)
	top := filepath.Join(root, "usr/share/doc/dockerauth")
	pages := append(glob(t, top+"/*.md"), glob(t, top+"/docs/*.md")...)
	links := 0
	for _, page := range pages {
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(readFile(t, page),
			-1) {
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), link[1])); err != nil {
				t.Errorf("%s: %v", filepath.Base(page), err)
			}
		}
	}
	if len(pages) < 15 || links < 100 {
		t.Errorf("%d pages with %d links: too few to be all", len(pages), links)
	}
}

// A package with placeholders has no known maintainer, so it is no release.
func TestPlaceholdersMarkTheVersion(t *testing.T) {
	t.Parallel()
	need(t, "packages", "gcc", "objdump", "git", "go")
	for _, tt := range []struct{ name, from, to, version, said string }{
		{"no placeholder", "", "", "1.0", `^$`},
		{"an address", "EMAIL=e2e@dockerauth.test", "EMAIL=e2e@dockerauth.example", "1.0~dev",
			`^build: MAINTAINER_EMAIL in .*\n$`},
		{"a home page", "https://dockerauth.test/", "https://www.example.org/d", "1.0~dev",
			`^build: HOMEPAGE in .*\n$`},
		{"no value", "CONTACT=e2e@dockerauth.test", "CONTACT=", "1.0~dev", `^build: SECURITY_CONTACT in .*\n$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(releaseEnv, tt.from, tt.to, 1)
			release := writeFile(t, filepath.Join(t.TempDir(), "release.env"), text, 0o644)
			cmd := exec.Command("../packaging/scripts/build", "--version")
			cmd.Env = append(os.Environ(), "VERSION=1.0", "RELEASE_ENV="+release)
			if o := run(t, "", cmd); o.status != 0 || o.stdout != tt.version+"\n" ||
				!regexp.MustCompile(tt.said).MatchString(o.stderr) {
				t.Error(o)
			}
		})
	}
}

// An invalid version would make files that cannot be installed.
func TestOnlyVersionsThatDpkgAndRpmKnowAreBuilt(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1.0", "1.0-1", "1.0 beta", "1:1.0", "1.0/../../x", "-1"} {
		cmd := exec.Command("../packaging/scripts/build", t.TempDir())
		cmd.Env = append(os.Environ(), "VERSION="+version)
		if o := run(t, "", cmd); o.status != 2 || !strings.Contains(o.stderr, "VERSION "+version) {
			t.Errorf("%q: %v", version, o)
		}
	}
}

// exposureLimit is on systemd's scale from 0 to 10; 1.5 of it is the network, which modules need
// for directories.
const exposureLimit = 2.0

func TestSystemdCallsTheServiceWellConfined(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze", "systemd-analyze")
	o := run(t, "", exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager",
		"../packaging/systemd/dockerauth.service"))
	m := regexp.MustCompile(`Overall exposure level for dockerauth\.service: ([0-9.]+)`).FindStringSubmatch(o.stdout)
	if m == nil {
		t.Fatal(o)
	}
	if exposure, err := strconv.ParseFloat(m[1], 64); err != nil || exposure >= exposureLimit {
		t.Errorf("exposure %s, want less than %v:\n%s", m[1], exposureLimit, o.stdout)
	}
	for _, setting := range []string{
		"CapabilityBoundingSet", "NoNewPrivileges", "ProtectProc", "ProcSubset", "ProtectSystem", "ProtectHome",
		"PrivateTmp", "PrivateDevices", "RestrictSUIDSGID", "RestrictNamespaces", "MemoryDenyWriteExecute",
		"SystemCallArchitectures", "UMask",
	} {
		if !strings.Contains(o.stdout, "✓ "+setting+"=") || strings.Contains(o.stdout, "✗ "+setting+"=") {
			t.Errorf("%s is not as tight as it can be:\n%s", setting, o.stdout)
		}
	}
}

// Debian's two formatters take the pages without a warning.
func TestManPagesAreWellFormed(t *testing.T) {
	t.Parallel()
	need(t, "man pages (Debian: mandoc, man-db, groff-base)", "mandoc", "man", "groff")
	for _, page := range glob(t, "../packaging/man/*") {
		// Which other pages are installed depends on the machine.
		o := run(t, "", exec.Command("mandoc", "-T", "lint", "-W", "style", page))
		for line := range strings.Lines(o.stdout) {
			if !strings.Contains(line, "referenced manual not found") {
				t.Error(line)
			}
		}
		for _, cmd := range []*exec.Cmd{exec.Command("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page),
			exec.Command("groff", "-mandoc", "-ww", "-z", page)} {
			if o := run(t, "", cmd); o.status != 0 || o.stderr != "" {
				t.Errorf("%s: status %d: %s", cmd.Args[0], o.status, o.stderr)
			}
		}
	}
}
