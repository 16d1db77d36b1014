package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/jwtsign"
	"dockerauth/packaging"
	"dockerauth/pamauth"
)

var named = []string{"--issuer", "auth.example.com", "--audience", "registry.example.com"}

// ground is a folder that init will work in, whatever the umask.
func ground(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// asked is an installer for flags and their values.
func asked(dir string, args ...string) *installer {
	o := Options{Dir: dir, CheckPAM: func(service, confdir string) error {
		return pamauth.Stack{Service: service, Confdir: confdir}.Check()
	}}
	fields := map[string]*string{"--issuer": &o.Issuer, "--realm": &o.Realm, "--key-type": &o.KeyType,
		"--group": &o.Group, "--pam-dir": &o.PAMDir, "--accounts": &o.Accounts}
	for len(args) > 0 {
		switch args[0] {
		case "--renew-certificate":
			o.RenewCertificate = true
			args = args[1:]
			continue
		case "--audience":
			o.Audience = append(o.Audience, args[1])
		default:
			*fields[args[0]] = args[1]
		}
		args = args[2:]
	}
	s := newInstaller(o)
	s.system = "/nonexistent" // neither Apache nor nginx nor a package
	return s
}

// initIn runs init in a folder as somebody who is not root.
func initIn(dir string, args ...string) (status int, out, errs string) {
	var stdout, stderr bytes.Buffer
	status = asked(dir, args...).install(cli.Streams{Out: &stdout, Err: &stderr})
	return status, stdout.String(), stderr.String()
}

func mustInit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	status, out, errs := initIn(dir, args...)
	if status != cli.ExitDone {
		t.Fatalf("status %d: %s", status, errs)
	}
	return out
}

func put(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// listing is all that can be seen of the files below a folder; whatever is written, or put in the
// place of something, changes it.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		if d.IsDir() { // making and removing a file is seen in the folder's time, and allowed
			fmt.Fprintf(&b, "%s %s %d:%d\n", path, info.Mode(), owner.Uid, owner.Gid)
			return nil
		}
		content := ""
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(text)
		}
		fmt.Fprintf(&b, "%s %s %d:%d %d %d %s %q\n", path, info.Mode(), owner.Uid, owner.Gid, owner.Ino, owner.Nlink,
			info.ModTime(), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestInitWritesNamesAsTheyAre(t *testing.T) {
	for _, name := range []string{
		"plain", "Docker registry", `two "words"`, "it's", `both ' and "`, `back\slash`, `"`, `'`, "''", `\"`,
		"key: value", "a #comment", "#", "- dash", "[list]", "{a: b}",
		"&anchor", "*alias", "!tag", "%directive", "@at", "`tick", "| block", "> fold", "? key", "null", "~", "yes",
		"1234", "0x1F", "1e3", "2026-01-02", "---", "...",
		"ünïcödé", "漢字", "https://auth.example.com:8443/docker", "a,b", "=", "<<", strings.Repeat("x", 255),
		"\U0001F40B",
	} {
		dir := ground(t)
		audience := strings.ReplaceAll(name, ",", ";") + "?"
		status, _, errs := initIn(dir, "--issuer", name, "--audience", audience)
		if len(name) == 255 {
			if status != cli.ExitUsage || !strings.Contains(errs, "--audience has 256 bytes") {
				t.Errorf("a name of 256 bytes: status %d, %s", status, errs)
			}
			continue
		}
		cfg, err := config.Load(filepath.Join(dir, "config.yml"))
		if status != cli.ExitDone || err != nil {
			t.Errorf("%q: status %d, %s, %v", name, status, errs, err)
			continue
		}
		if cfg.Issuer != name || cfg.Audience[0] != audience {
			t.Errorf("%q became %q and %q", name, cfg.Issuer, cfg.Audience)
		}
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dir := ground(t)
	first := mustInit(t, dir, named...)
	before := listing(t, dir)
	again := mustInit(t, dir)
	if after := listing(t, dir); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	// It says the same a second time, but for what was done.
	if _, rest, _ := strings.Cut(first, "THE REGISTRY"); !strings.HasSuffix(again, rest) ||
		strings.Contains(again, "made") || strings.Count(again, "kept") != 4 {
		t.Error(again)
	}
}

func TestInitRefusesAndLeavesThingsAsTheyAre(t *testing.T) {
	key := func(t *testing.T, dir string) {
		mustInit(t, dir, named...)
	}
	drop := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			key(t, dir)
			for _, name := range names {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	write := func(name, content string, mode fs.FileMode) func(*testing.T, string) {
		return func(t *testing.T, dir string) { put(t, filepath.Join(dir, name), content, mode) }
	}
	edit := func(name, old, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			key(t, dir)
			path := filepath.Join(dir, name)
			put(t, path, strings.Replace(get(t, path), old, text, 1), 0o644)
		}
	}
	for _, c := range []struct {
		name   string
		before func(t *testing.T, dir string)
		args   []string
		status int
		says   []string
	}{
		{"nothing is said", nil, nil, cli.ExitUsage,
			[]string{"--issuer and --audience are missing", "such as: dockerauth init --dir "}},
		{"only the issuer is said", nil, []string{"--issuer", "it's"}, cli.ExitUsage,
			[]string{"--audience is missing: ", `such as: dockerauth init --dir `,
				`--issuer 'it'\''s' --audience registry.example.com`}},
		{"only the audience is said", nil, []string{"--audience", "a", "--audience", "b"}, cli.ExitUsage,
			[]string{"--issuer is missing: ", "--issuer auth.example.com --audience a --audience b\n"}},
		{"an audience that is empty", nil, []string{"--issuer", "a", "--audience", ""}, cli.ExitUsage,
			[]string{"--audience is missing: "}},
		{"audiences with a comma between them", nil, []string{"--issuer", "a", "--audience", "b,c"}, cli.ExitUsage,
			[]string{`--audience "b,c" is one name with a comma`, "--audience b --audience c\n"}},
		{"an audience twice", nil, []string{"--issuer", "a", "--audience", "b", "--audience", "b"}, cli.ExitUsage,
			[]string{`--audience "b" is listed twice`}},
		{"the packaged configuration and nothing said", write("config.yml", packaging.Config, 0o644), nil,
			cli.ExitUsage, []string{"--issuer and --audience are missing"}},
		{"an unknown kind of key", nil, append([]string{"--key-type", "dsa"}, named...), cli.ExitUsage,
			[]string{`--key-type "dsa"`, "p256, rsa, ed25519"}},
		{"an unknown kind of accounts", nil, append([]string{"--accounts", "ldap"}, named...), cli.ExitUsage,
			[]string{`--accounts "ldap"`, "local, sssd, sssd-local, krb5"}},
		{"other accounts than a PAM service of one's own has", func(t *testing.T, dir string) {
			key(t, dir)
			path := filepath.Join(dir, "pam.d", "dockerauth")
			put(t, path, get(t, path)+"auth required pam_warn.so\n", 0o644)
		}, []string{"--accounts", "sssd"}, cli.ExitError,
			[]string{"--accounts sssd: ", "pam.d/dockerauth is not as shipped", "move it away and run this again"}},
		{"an unknown group", nil, append([]string{"--group", "no-such-group-here"}, named...), cli.ExitUsage,
			[]string{"--group", "no such group"}},
		{"a line break in a name", nil, []string{"--issuer", "a\nblacklisted_users: []", "--audience", "b"},
			cli.ExitUsage, []string{"--issuer", "cannot be seen"}},
		{"what is not UTF-8 in a name", nil, []string{"--issuer", "a\xff", "--audience", "b"}, cli.ExitUsage,
			[]string{"--issuer", "cannot be seen"}},
		{"a space at the end of a name", nil, []string{"--issuer", "a ", "--audience", "b"}, cli.ExitUsage,
			[]string{"--issuer begins or ends with a space"}},
		{"the audience of refresh tokens", nil, []string{"--issuer", "a", "--audience", "dockerauth:refresh"},
			cli.ExitUsage, []string{"--audience", "refresh tokens"}},
		{"a key in place of a name", nil, []string{"--issuer", "-----BEGIN PRIVATE KEY-----", "--audience", "b"},
			cli.ExitUsage, []string{"--issuer holds a key"}},
		{"a realm that is no URL", nil, append([]string{"--realm", "auth.example.com"}, named...), cli.ExitUsage,
			[]string{"--realm", "https://HOST/docker/v2/token"}},
		{"a realm with a password", nil, append([]string{"--realm", "https://u:p@auth.example.com/"}, named...),
			cli.ExitUsage, []string{"--realm"}},
		{"a realm that ends its line", nil, append([]string{"--realm", "https://a/\"\nx: y"}, named...), cli.ExitUsage,
			[]string{"--realm"}},

		{"a certificate without its key", drop("privkey.pem"), named, cli.ExitError,
			[]string{"privkey.pem: ", "cert.pem is there already", "move the certificate away"}},
		{"a certificate of another key", func(t *testing.T, dir string) {
			key(t, dir)
			other := ground(t)
			key(t, other)
			put(t, filepath.Join(dir, "cert.pem"), get(t, filepath.Join(other, "cert.pem")), 0o644)
		}, named, cli.ExitError, []string{"cert.pem", "is not for the key", "move it away and run this again"}},
		{"a key that everybody can read", func(t *testing.T, dir string) {
			drop("cert.pem", "config.yml")(t, dir)
			put(t, filepath.Join(dir, "privkey.pem"), get(t, filepath.Join(dir, "privkey.pem")), 0o644)
		}, named, cli.ExitError, []string{"privkey.pem", "gives every user access to the key", "chmod o=,g-w "}},
		{"a key that is none", write("privkey.pem", "hunter2", 0o600), named, cli.ExitError,
			[]string{"privkey.pem", "is not PEM"}},
		{"a link to a key that is not there", func(t *testing.T, dir string) {
			if err := os.Symlink("nowhere", filepath.Join(dir, "privkey.pem")); err != nil {
				t.Fatal(err)
			}
		}, named, cli.ExitError, []string{"privkey.pem", "no such file"}},
		{"another kind than that of the key", drop("config.yml"), append([]string{"--key-type", "rsa"}, named...),
			cli.ExitError, []string{"signs ES256", "--key-type is rsa", "leave --key-type out"}},

		{"another issuer in the configuration", key, []string{"--issuer", "other.example.com"}, cli.ExitError,
			[]string{"config.yml:9: issuer: is \"auth.example.com\"", "--issuer is \"other.example.com\"",
				"edit that line"}},
		{"another audience in the configuration", key, []string{"--audience", "other"}, cli.ExitError,
			[]string{"config.yml:10: audience: ", "--audience is \"other\""}},
		{"one audience more than in the configuration", key,
			[]string{"--audience", "registry.example.com", "--audience", "other"}, cli.ExitError,
			[]string{"config.yml:10: audience: ", "--audience is \"other\""}},
		{"an unknown group for the key that is there", key, []string{"--group", "no-such-group-here"}, cli.ExitUsage,
			[]string{"--group", "no such group"}},
		{"a certificate of another key is to be renewed", func(t *testing.T, dir string) {
			key(t, dir)
			other := ground(t)
			key(t, other)
			put(t, filepath.Join(dir, "cert.pem"), get(t, filepath.Join(other, "cert.pem")), 0o644)
		}, []string{"--renew-certificate"}, cli.ExitError, []string{"cert.pem: it is no certificate for the key in "}},
		{"what is to be renewed is no certificate", func(t *testing.T, dir string) {
			key(t, dir)
			put(t, filepath.Join(dir, "cert.pem"), get(t, filepath.Join(dir, "privkey.pem")), 0o600)
		}, []string{"--renew-certificate"}, cli.ExitError, []string{"cert.pem: it is no certificate for the key in "}},
		{"a link is to be renewed", func(t *testing.T, dir string) {
			key(t, dir)
			path := filepath.Join(dir, "cert.pem")
			if err := errors.Join(os.Rename(path, path+"1"), os.Symlink("cert.pem1", path)); err != nil {
				t.Fatal(err)
			}
		}, []string{"--renew-certificate"}, cli.ExitError, []string{"cert.pem: it is not a regular file"}},
		{"another PAM folder in the configuration", key, []string{"--pam-dir", "/srv/pam.d"}, cli.ExitError,
			[]string{"config.yml:14: pam.confdir: ", "--pam-dir is \"/srv/pam.d\""}},
		{"a configuration with a mistake", edit("config.yml", "issuer:", "isuer:"), named, cli.ExitError,
			[]string{"config.yml:9: isuer: unknown key", "perhaps issuer is meant"}},
		{"a configuration that lacks the two lines", write("config.yml", "private_key: privkey.pem\n", 0o644), named,
			cli.ExitError, []string{"config.yml: is not set up"}},
		{"a configuration without an issuer",
			edit("config.yml", "issuer: \"auth.example.com\"", "issuer: \"\""), named, cli.ExitError,
			[]string{"config.yml:9: issuer: is empty\n  write: issuer: \"auth.example.com\"\n"}},
		{"a configuration without a certificate", edit("config.yml", "certificate: cert.pem\n", ""), named,
			cli.ExitError, []string{"certificate: is missing", "write: certificate: cert.pem"}},
		{"a configuration with a key elsewhere",
			edit("config.yml", "private_key: privkey.pem", "private_key: /srv/other.pem"), named, cli.ExitError,
			[]string{"config.yml:5: private_key: there is no /srv/other.pem"}},
		{"a configuration that everybody can change", write("config.yml", packaging.Config, 0o646), named,
			cli.ExitError, []string{"config.yml: every user can change it"}},
		{"the packaged configuration behind a link", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "elsewhere.yml"), packaging.Config, 0o644)
			if err := os.Symlink("elsewhere.yml", filepath.Join(dir, "config.yml")); err != nil {
				t.Fatal(err)
			}
		}, named, cli.ExitError, []string{"config.yml: it is a symbolic link"}},
		{"a folder where the configuration should be", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "config.yml"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, named, cli.ExitError, []string{"config.yml", "not a regular file"}},

		{"a folder that a group may write to", func(t *testing.T, dir string) { _ = os.Chmod(dir, 0o775) }, named,
			cli.ExitError, []string{"others may write to folder", "chmod go-w"}},
		{"a folder that is like /tmp", func(t *testing.T, dir string) { _ = os.Chmod(dir, 0o777|fs.ModeSticky) }, named,
			cli.ExitError, []string{"others may write to folder"}},
		{"a PAM folder that everybody may write to", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "pam.d"), 0o755); err != nil {
				t.Fatal(err)
			}
			_ = os.Chmod(filepath.Join(dir, "pam.d"), 0o777)
		}, named, cli.ExitError, []string{"others may write to folder", "pam.d"}},
		{"a file where the PAM folder should be", write("pam.d", "", 0o644), named, cli.ExitError, []string{"pam.d"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := ground(t)
			if c.before != nil {
				c.before(t, dir)
			}
			before := listing(t, dir)
			status, out, errs := initIn(dir, c.args...)
			if status != c.status || out != "" || !strings.HasPrefix(errs, "dockerauth") &&
				!strings.HasPrefix(errs, "flag") {
				t.Errorf("status %d, want %d; out %q, errors %q", status, c.status, out, errs)
			}
			for _, part := range c.says {
				if !strings.Contains(errs, part) {
					t.Errorf("does not say %q: %s", part, errs)
				}
			}
			if !regexp.MustCompile(`\A(?:[^\n]+\n  \S[^\n]*\n)+\z`).MatchString(errs) {
				t.Errorf("an error has a second line, which says what to do: %q", errs)
			}
			if strings.Contains(errs, "hunter2") {
				t.Error("what is in a key file is printed")
			}
			if after := listing(t, dir); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

func TestInitWritesThePAMServiceOfTheAccounts(t *testing.T) {
	dir := ground(t)
	path := filepath.Join(dir, "pam.d", "dockerauth")
	for i, kind := range append(packaging.Accounts, packaging.Accounts[0]) {
		want := "replaced"
		if i == 0 {
			want = "made"
		}
		out := mustInit(t, dir, append([]string{"--accounts", kind}, named...)...)
		if got := get(t, path); got != packaging.PAMService(kind) || !strings.Contains(out, want) {
			t.Errorf("%s: the file is\n%s\nprinted is\n%s", kind, got, out)
		}
		if out := mustInit(t, dir, "--accounts", kind); strings.Contains(out, "replaced") ||
			strings.Contains(out, "realm:") || !strings.Contains(out, "dockerauth check --config ") {
			t.Errorf("%s again: %s", kind, out)
		}
	}
}

// A clock that is twenty years behind makes a certificate that has expired, which is found out at
// the very end.
func TestInitTakesBackWhatItHasMade(t *testing.T) {
	for name, before := range map[string]func(dir string){
		"in no folder at all": func(string) {},
		"beside a configuration": func(dir string) {
			put(t, filepath.Join(dir, "config.yml"),
				configText(packaging.Config, "auth.example.com", []string{"registry.example.com"}, "pam.d"), 0o644)
		},
		"with the packaged one": func(dir string) {
			put(t, filepath.Join(dir, "config.yml"), packaging.Config,
				0o644)
		},
		"with an empty PAM folder": func(dir string) { _ = os.MkdirAll(filepath.Join(dir, "pam.d"), 0o755) },
	} {
		root := ground(t)
		dir := filepath.Join(root, "a", "b")
		before(dir)
		was := listing(t, root)
		var out, errs bytes.Buffer
		s := asked(dir, named...)
		s.now = func() time.Time { return time.Now().AddDate(-20, 0, 0) }
		status := s.install(cli.Streams{Out: &out, Err: &errs})
		if status != cli.ExitError ||
			!strings.Contains(errs.String(), filepath.Join(dir, "config.yml")+":6: certificate: ") ||
			!strings.Contains(errs.String(), "expired") {
			t.Errorf("%s: status %d: %s", name, status, &errs)
		}
		if is := listing(t, root); is != was {
			t.Errorf("%s: before\n%s\nafter\n%s", name, was, is)
		}
		mustInit(t, dir, named...)
	}
}

func TestInitRenewsTheCertificateForTheSameKey(t *testing.T) {
	dir := ground(t)
	mustInit(t, dir, named...)
	path := filepath.Join(dir, "cert.pem")
	signing, err := jwtsign.LoadKey(filepath.Join(dir, "privkey.pem"), "", jwtsign.KeyIDUnset)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := signing.SelfSigned("auth.example.com", time.Now().AddDate(-20, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, string(expired), 0o604)
	before := listing(t, dir)
	status, _, errs := initIn(dir)
	if status != cli.ExitError || !strings.HasSuffix(errs,
		"\n  make a new one for the same key: dockerauth init --dir "+dir+" --renew-certificate\n") {
		t.Errorf("an expired certificate: status %d, %s", status, errs)
	}
	// The clock is behind, so the new certificate has expired too: the old one stays.
	s := asked(dir, "--renew-certificate")
	s.now = func() time.Time { return time.Now().AddDate(-20, 0, 0) }
	if status := s.install(cli.Streams{Out: io.Discard, Err: io.Discard}); status != cli.ExitError {
		t.Errorf("with a wrong clock: status %d", status)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}

	out := mustInit(t, dir, "--renew-certificate")
	if !strings.Contains(out, "\nrenewed  "+path+" ") || strings.Count(out, "kept ") != 3 ||
		!strings.Contains(out, "\ninstall -D -m 644 "+path+" "+registryBundle+"\n") ||
		strings.Contains(out, "THE REGISTRY") {
		t.Error(out)
	}
	if get(t, path) == string(expired) {
		t.Error("it is the same certificate")
	}
	if _, err := config.Load(filepath.Join(dir, "config.yml")); err != nil {
		t.Error(err)
	}
	// All else is as it was: names, key and configuration, and the mode of the certificate.
	kept := regexp.MustCompile(`(?m)^.*/cert\.pem (\S+ \S+) .*$`)
	if was, is := kept.ReplaceAllString(before, "$1"), kept.ReplaceAllString(listing(t, dir), "$1"); was != is {
		t.Errorf("before\n%s\nafter\n%s", was, is)
	}
	mustInit(t, dir)
	if renewed := mustInit(t, ground(t), append(named, "--renew-certificate")...); !strings.Contains(renewed,
		"THE REGISTRY") {
		t.Errorf("in an empty folder: %s", renewed)
	}
}

func TestInitMakesSeveralAudiences(t *testing.T) {
	dir := ground(t)
	out := mustInit(t, dir, "--issuer", "i", "--audience", "it's a", "--audience", `"b"`)
	cfg, err := config.Load(filepath.Join(dir, "config.yml"))
	if err != nil || !slices.Equal(cfg.Audience, []string{"it's a", `"b"`}) {
		t.Fatal(cfg, err)
	}
	if !strings.Contains(out, `    service: "it's a"`) ||
		!strings.Contains(out, `Another registry has the same section with service: '"b"'`) {
		t.Error(out)
	}
	if second := mustInit(t, dir, "--audience", `"b"`); !strings.Contains(second, `    service: '"b"'`) ||
		strings.Contains(second, "Another registry") {
		t.Error(second)
	}
}

// A second run changes no file, so it says whether the group can read the key that is there.
func TestInitSaysWhatBecameOfTheGroup(t *testing.T) {
	dir := ground(t)
	mustInit(t, dir, named...)
	path := filepath.Join(dir, "privkey.pem")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	own, err := user.LookupGroupId(strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Gid)))
	if err != nil {
		t.Skip("the group of new files has no name:", err)
	}
	if _, out, errs := initIn(dir, "--group", own.Name); errs != "" ||
		!strings.Contains(out, ", group "+own.Name+"\n") {
		t.Errorf("the group that it has: %s%s", out, errs)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, group := range []string{own.Name, "nogroup"} {
		_, _, errs := initIn(dir, "--group", group)
		want := fmt.Sprintf("that group cannot read it\n  chgrp %s %s && chmod 640 %[2]s\n", group, path)
		if !strings.HasSuffix(errs, want) {
			t.Errorf("%s: %s", group, errs)
		}
	}
}

// By hand it prints one set-up, that of the place, without the steps that are done.
func TestInitPrintsTheSetUpThatFits(t *testing.T) {
	const apache, nginx = "/usr/sbin/apache2", "/usr/sbin/nginx"
	packaged := []string{"/lib/systemd/system/dockerauth.socket", "/etc/apache2/conf-available/dockerauth.conf",
		"/etc/nginx/snippets/dockerauth.conf"}
	byHand := []string{"THE SERVICE, started as", "fastcgi --config"}
	for _, c := range []struct {
		name  string
		files []string // of the system
		dir   string   // "" = another one
		says  []string
		lacks []string
	}{
		{"no web server", nil, "", append(byHand, "neither Apache nor nginx is installed"),
			[]string{"ScriptAlias", "a2enmod", "fastcgi_pass"}},
		{"Apache", []string{apache}, "", append(byHand, packaging.Apache), []string{"NGINX"}},
		{"Apache on Fedora", []string{"/usr/sbin/httpd"}, "", append(byHand, packaging.Apache), []string{"NGINX"}},
		{"nginx", []string{nginx}, "", append(byHand, packaging.Nginx), []string{"APACHE"}},
		{"both", []string{apache, nginx}, "", append(byHand, packaging.Apache, packaging.Nginx), nil},
		{"the program in /usr/lib/cgi-bin", []string{"/usr/lib/cgi-bin/dockerauth", apache}, systemDir,
			[]string{"ScriptAlias", "/usr/lib/cgi-bin/dockerauth\"\n"},
			[]string{"THE SERVICE", "NGINX", "proxy_fcgi"}},
		{"a package", packaged, systemDir,
			[]string{"THE SERVICE is started by dockerauth.socket", "a2enconf dockerauth", "every virtual host",
				"include snippets/dockerauth.conf;", "dockerauth check\n"},
			[]string{"fastcgi --config", "LocationMatch", "fastcgi_pass"}},
		{"a package and nginx", append(packaged, nginx), systemDir, []string{"include snippets/dockerauth.conf;"},
			[]string{"APACHE"}},
		{"a package and Apache that has the file",
			append(packaged, apache, "/etc/apache2/conf-enabled/dockerauth.conf"),
			systemDir, []string{"APACHE has /etc/apache2/conf-enabled/dockerauth.conf"}, []string{"a2enconf", "NGINX"}},
		{"an rpm", []string{"/usr/lib/systemd/system/dockerauth.socket", "/etc/httpd/dockerauth.conf",
			"/etc/nginx/dockerauth.conf"}, systemDir,
			[]string{"Include dockerauth.conf\n", "include dockerauth.conf;"}, []string{"a2enconf", "snippets"}},
		{"a package, and another folder", append(packaged, apache), "", append(byHand, "a2enconf dockerauth"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			system := ground(t)
			for _, file := range c.files {
				put(t, system+file, "", 0o755)
			}
			dir := ground(t)
			if c.dir != "" {
				dir = system + c.dir
			}
			s := asked(dir, named...)
			s.system = system
			out := installed(t, s)
			for _, part := range c.says {
				if !strings.Contains(out, part) {
					t.Errorf("does not say %q:\n%s", part, out)
				}
			}
			for _, part := range c.lacks {
				if strings.Contains(out, part) {
					t.Errorf("says %q:\n%s", part, out)
				}
			}
		})
	}
}

func installed(t *testing.T, s *installer) string {
	t.Helper()
	var out, errs bytes.Buffer
	if status := s.install(cli.Streams{Out: &out, Err: &errs}); status != cli.ExitDone {
		t.Fatalf("status %d: %s", status, &errs)
	}
	return out.String()
}

// The PAM service file has the name of the program.
func TestInitDoesNotTakeThePAMFileForTheProgram(t *testing.T) {
	dir := ground(t)
	for range 2 {
		if out := mustInit(t, dir, append(named, "--pam-dir", dir)...); strings.Contains(out, "ScriptAlias") {
			t.Error(out)
		}
	}
}

// The folder of a web site has its own .htaccess.
func TestInitLeavesOutTheStepsThatAreDone(t *testing.T) {
	dir, system := ground(t), ground(t)
	put(t, filepath.Join(dir, "dockerauth"), "", 0o644)
	again := func() string {
		s := asked(dir, named...)
		s.system = system
		return installed(t, s)
	}
	if out := again(); !strings.Contains(out, "\nchmod 755 "+dir+"/dockerauth\n") ||
		!strings.Contains(out, strings.ReplaceAll(packaging.ApacheCGI, `"/usr/lib/cgi-bin`, `"`+dir)) {
		t.Error(out)
	}
	put(t, filepath.Join(dir, "dockerauth"), "", 0o755)
	put(t, filepath.Join(dir, ".htaccess"), "", 0o644)
	put(t, system+registryBundle, get(t, filepath.Join(dir, "cert.pem")), 0o644)
	out := again()
	if !strings.Contains(out, `<Directory "`+dir+`">`+"\n    AllowOverride ") ||
		!strings.Contains(out, "The bundle is there.") {
		t.Error(out)
	}
	for _, done := range []string{"chmod", "THE PROGRAM", "ScriptAlias", "install -D"} {
		if strings.Contains(out, done) {
			t.Errorf("says %q:\n%s", done, out)
		}
	}
}

func TestInitIsKeptOutWhileAnotherIsAtWork(t *testing.T) {
	dir := ground(t)
	unlock, err := lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	if status, _, errs := initIn(dir, named...); status != cli.ExitError ||
		!strings.Contains(errs, "another dockerauth init") {
		t.Errorf("status %d: %s", status, errs)
	}
	if after := listing(t, dir); after != before {
		t.Error(after)
	}
	unlock()
	// Any user can open the folder, and lock that.
	folder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	mustInit(t, dir, named...)
	if _, err := os.Lstat(filepath.Join(dir, lockName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the lock stays: %v", err)
	}
}

// One that ends removes the file that others may have opened already.
func TestOneRunAtATimeHoldsTheLock(t *testing.T) {
	dir := ground(t)
	var inside atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for got := 0; got < 100; {
				unlock, err := lockFolder(dir)
				if errors.Is(err, syscall.EWOULDBLOCK) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				got++
				runtime.Gosched()
				inside.Add(-1)
				unlock()
			}
		})
	}
	group.Wait()
}

// What comes to be between the look and the writing stays, and what was made is taken back.
func TestInitOverwritesNothingThatAppearsMeanwhile(t *testing.T) {
	for _, name := range []string{"privkey.pem", "cert.pem", "config.yml", "pam.d/dockerauth"} {
		for kind, appear := range map[string]func(path string) error{
			"file": func(path string) error { return os.WriteFile(path, []byte("theirs"), 0o600) },
			"link": func(path string) error { return os.Symlink("nowhere", path) },
		} {
			dir := ground(t)
			if err := os.Mkdir(filepath.Join(dir, "pam.d"), 0o755); err != nil {
				t.Fatal(err)
			}
			s := &installer{dir: dir, issuer: "a", audiences: []string{"b"}, now: time.Now}
			if err := s.plan(); err != nil {
				t.Fatal(err)
			}
			if err := appear(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			before := listing(t, dir)
			err := s.write()
			s.files.undo()
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "file exists") {
				t.Errorf("%s %s: %v", kind, name, err)
			}
			if after := listing(t, dir); after != before {
				t.Errorf("%s %s: before\n%s\nafter\n%s", kind, name, before, after)
			}
		}
	}
}

// Other keys may be written first.
func TestInitFillsInAConfigurationThatWasBegun(t *testing.T) {
	dir := ground(t)
	path := filepath.Join(dir, "config.yml")
	put(t, path, packaging.Config+"pam: {confdir: pam.d}\nlog: {format: json}\n", 0o644)
	mustInit(t, dir, named...)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"\nissuer: \"auth.example.com\"\n", "\naudience: \"registry.example.com\"\n",
		"\nlog: {format: json}\n"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("lacks %q:\n%s", part, text)
		}
	}
}

func TestInitDoesNotFillInWhatIsEditedMeanwhile(t *testing.T) {
	dir := ground(t)
	path := filepath.Join(dir, "config.yml")
	put(t, path, packaging.Config, 0o644)
	s := &installer{dir: dir, issuer: "a", audiences: []string{"b"}, now: time.Now}
	if err := s.plan(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	err := s.write()
	s.files.undo()
	if err == nil || !strings.Contains(err.Error(), "changed just now") {
		t.Error(err)
	}
	_ = os.Remove(filepath.Join(dir, "pam.d"))
	if after := listing(t, dir); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

func TestInitFindsTheRealmInTheIssuer(t *testing.T) {
	for issuer, want := range map[string]string{
		"auth.example.com":           "https://auth.example.com/docker/v2/token",
		"auth.example.com:8443":      "https://auth.example.com:8443/docker/v2/token",
		"https://auth.example.com":   "https://auth.example.com/docker/v2/token",
		"192.0.2.1":                  "https://192.0.2.1/docker/v2/token",
		"[2001:db8::1]:443":          "https://[2001:db8::1]:443/docker/v2/token",
		"Auth":                       placeholderRealm,
		"Docker auth service":        placeholderRealm,
		"auth.example.com/docker":    placeholderRealm,
		"user@auth.example.com":      placeholderRealm,
		"auth..example.com":          placeholderRealm,
		"-auth.example.com":          placeholderRealm,
		"auth.example.com:":          placeholderRealm,
		"1.2":                        placeholderRealm,
		`auth".example.com`:          placeholderRealm,
		"https://auth.example.com/x": placeholderRealm,
	} {
		s := &installer{issuer: issuer}
		if got := s.resolveRealm(); got != want || (len(s.notes) == 1) != (want == placeholderRealm) {
			t.Errorf("%q: %q, want %q; notes %q", issuer, got, want, s.notes)
		}
	}
}

func TestInitQuotesForTheShellAndForApache(t *testing.T) {
	for word, want := range map[string][2]string{
		"/etc/dockerauth": {"/etc/dockerauth", `"/etc/dockerauth"`},
		"/srv/my auth":    {"'/srv/my auth'", `"/srv/my auth"`},
		"/srv/it's":       {`'/srv/it'\''s'`, `"/srv/it's"`},
		`/srv/"$x"`:       {`'/srv/"$x"'`, `"/srv/\"$x\""`},
		"":                {"''", `""`},
	} {
		if shell, apache := jwtsign.ShellWord(word), apacheText(word); shell != want[0] || apache != want[1] {
			t.Errorf("%q: %s %s", word, shell, apache)
		}
	}
}

func TestAFileThatIsNotReplacedLeavesNoCopyBehind(t *testing.T) {
	dir := ground(t)
	path := filepath.Join(dir, "cert.pem")
	put(t, path, "old", 0o644)
	old, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	var files newFiles
	if err := files.swap(path, old, []byte("new")); err == nil || !strings.Contains(err.Error(), "changed just now") {
		t.Fatal(err)
	}
	files.undo()
	if after := listing(t, dir); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}
